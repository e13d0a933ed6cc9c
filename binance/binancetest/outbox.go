package binancetest

import "sync"

// A frame is something to be written to a connection.
type frame struct {
	kind frameKind
	data []byte // of a text, a binary, a ping or a pong

	code   int // of a close frame
	reason string
}

type frameKind uint8

const (
	textFrame frameKind = iota
	pingFrame
	pongFrame
	closeFrame
	binaryFrame
)

// An outbox is the bounded queue between the exchange and a connection's writer.
type outbox struct {
	mu      sync.Mutex
	changed *sync.Cond
	frames  []frame
	bound   int
	closed  bool
}

func newOutbox(bound int) *outbox {
	o := &outbox{bound: bound}
	o.changed = sync.NewCond(&o.mu)
	return o
}

// push adds a frame; false means that the queue is full. What is pushed after close is forgotten.
func (o *outbox) push(f frame) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return true
	}
	if len(o.frames) >= o.bound {
		return false
	}
	o.frames = append(o.frames, f)
	o.changed.Broadcast()
	return true
}

// take waits for frames and moves all of them to into. It returns none once the outbox is closed.
func (o *outbox) take(into []frame) []frame {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.frames) == 0 && !o.closed {
		o.changed.Wait()
	}
	if o.closed {
		return nil
	}
	into = append(into[:0], o.frames...)
	clear(o.frames)
	o.frames = o.frames[:0]
	o.changed.Broadcast()
	return into
}

// drained waits until fewer than n frames wait, or the outbox is closed.
func (o *outbox) drained(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.frames) >= n && !o.closed {
		o.changed.Wait()
	}
}

// close forgets what waits and ends take and drained.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed, o.frames = true, nil
	o.changed.Broadcast()
}
