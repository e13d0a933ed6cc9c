package binance

import (
	"context"
	"sync"
	"time"
)

// Frames lie one behind the other in blocks of memory, so that a short frame takes no more than its bytes.
const (
	blockSize  = 64 << 10
	blockSpare = 8 << 10 // room that is left unused at the end of a block, so that a frame rarely outgrows it
	keptBlocks = 2       // empty blocks that a queue keeps; others are given back
)

// A frame is one frame of a connection on its way to the books.
type frame struct {
	data  []byte
	at    time.Time // local clock right after it was read
	drops drops     // of the frames between the one before it and this one
}

// drops says which streams have lost frames; nil is for those whose stream is not known.
type drops map[*subscription]drop

// A drop is the frames of one stream that were dropped.
type drop struct {
	frames uint64
	more   bool // those that follow are dropped too, until another drop says otherwise
}

// A block is memory of a frameQueue with the frames in it.
type block struct {
	data   []byte // the used part
	frames []frame
	popped int // of frames
	next   *block
}

// A frameQueue connects the reader of a connection to the goroutine of its shard, which may be slow. It
// is bounded in frames and in bytes. Frames that the reader drops are reported at their place in the order.
// Memory that a full queue needed is given back when it is empty again.
type frameQueue struct {
	maxFrames, maxBytes int
	ready               chan struct{} // gets a token when there is something to pop; the queues of a shard share it
	room                chan struct{} // gets a token when a queue that was full has room again
	tail                *block        // the reader's

	mu     sync.Mutex
	head   *block // of the oldest frame
	free   []*block
	count  int
	bytes  int
	full   bool  // the reader has found no room
	drops  drops // since the newest frame
	closed error
}

func newFrameQueue(maxFrames, maxBytes int, ready chan struct{}) *frameQueue {
	b := new(block)
	return &frameQueue{maxFrames: maxFrames, maxBytes: maxBytes, ready: ready, room: make(chan struct{}, 1), head: b, tail: b}
}

// space returns the memory for the next frame, of length 0. Only the reader calls it.
func (q *frameQueue) space() []byte {
	b := q.tail
	if cap(b.data)-len(b.data) < blockSpare {
		b = q.extend()
	}
	return b.data[len(b.data):]
}

// extend adds an empty block.
func (q *frameQueue) extend() *block {
	q.mu.Lock()
	defer q.mu.Unlock()
	var b *block
	if n := len(q.free); n > 0 {
		b, q.free = q.free[n-1], q.free[:n-1]
	} else {
		b = &block{data: make([]byte, 0, blockSize)}
	}
	q.tail.next, q.tail = b, b
	return b
}

// push takes over data, which is in the memory of space or has outgrown it. It returns false if the queue
// is full; then room gets a token once a quarter of it is free. With reserve an eighth more fits.
func (q *frameQueue) push(data []byte, at time.Time, reserve bool) bool {
	q.mu.Lock()
	frames, bytes := q.maxFrames, q.maxBytes
	if reserve {
		frames, bytes = frames+frames/8+1, bytes+bytes/8
	}
	if q.count >= frames || q.count > 0 && q.bytes+len(data) > bytes {
		q.full = true
		q.mu.Unlock()
		return false
	}
	b := q.tail
	if cap(data) == cap(b.data)-len(b.data) { // not moved, since it would have more room elsewhere
		b.data = b.data[:len(b.data)+len(data)]
	}
	if b.popped == len(b.frames) {
		b.frames, b.popped = b.frames[:0], 0
	}
	b.frames = append(b.frames, frame{data: data[:len(data):len(data)], at: at, drops: q.drops})
	q.drops = nil
	q.count++
	q.bytes += len(data)
	q.mu.Unlock()
	wake(q.ready)
	return true
}

// hasRoom reports whether the queue takes frames, as it does again when a quarter of it is free.
func (q *frameQueue) hasRoom() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.full
}

// length returns the number of queued frames.
func (q *frameQueue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count
}

// drop notes that frames of the subscription were dropped; nil if it is not known.
func (q *frameQueue) drop(sub *subscription, frames uint64, more bool) {
	q.mu.Lock()
	if q.drops == nil {
		q.drops = make(drops)
	}
	q.drops[sub] = drop{q.drops[sub].frames + frames, more}
	q.mu.Unlock()
	wake(q.ready)
}

// close ends the queue with its cause. Frames in it can still be popped.
func (q *frameQueue) close(cause error) {
	q.mu.Lock()
	q.closed = cause
	q.mu.Unlock()
	wake(q.ready)
}

// pop sets f to the oldest frame, whose data is valid until the next pop. A frame without data carries the drops
// at the end of the queue. ok is false if the queue is empty; err is then the cause of close, if any.
func (q *frameQueue) pop(f *frame) (ok bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	*f = frame{}
	b := q.oldest()
	if b == nil {
		if q.drops != nil {
			f.drops, q.drops = q.drops, nil
			return true, nil
		}
		return false, q.closed
	}
	*f, b.frames[b.popped] = b.frames[b.popped], frame{}
	b.popped++
	q.count--
	q.bytes -= len(f.data)
	if q.full && q.count <= q.maxFrames*3/4 && q.bytes <= q.maxBytes/4*3 {
		q.full = false
		wake(q.room)
	}
	return true, nil
}

// oldest returns the block of the oldest frame, nil if there is none, and takes the blocks before it out of
// the queue. It is called with mu held.
func (q *frameQueue) oldest() *block {
	for q.head.popped == len(q.head.frames) {
		b := q.head
		if b.next == nil {
			return nil
		}
		q.head = b.next
		if cap(b.data) > 0 && len(q.free) < keptBlocks {
			*b = block{data: b.data[:0], frames: b.frames[:0]}
			q.free = append(q.free, b)
		}
	}
	return q.head
}

// A taskQueue holds what other goroutines want the goroutine of a shard to do. It is safe for concurrent
// use.
type taskQueue struct {
	ready chan struct{} // holds a token while there may be tasks

	mu   sync.Mutex
	list []task
}

// A task runs on the goroutine of a shard, with the Handler's context. Its error ends the shard.
type task func(ctx context.Context, now time.Time) error

func (q *taskQueue) post(t task) {
	q.mu.Lock()
	q.list = append(q.list, t)
	q.mu.Unlock()
	wake(q.ready)
}

// take empties the queue.
func (q *taskQueue) take() []task {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := q.list
	q.list = nil
	return list
}

// An alarm wakes the goroutine of a shard at the earliest time it is set to.
type alarm struct {
	timer *time.Timer
	due   time.Time // zero if it is not set
}

// set asks for a wake-up at due; zero asks for none.
func (a *alarm) set(now, due time.Time) {
	if !due.IsZero() && (a.due.IsZero() || due.Before(a.due)) {
		a.due = due
		a.timer.Reset(due.Sub(now))
	}
}

// wake puts a token into a channel of one.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
