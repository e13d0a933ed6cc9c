package binance

import (
	"context"
	"sync"
	"time"
)

// keptBuffer bounds the buffers that a frameQueue reuses: those of rare huge frames are dropped.
const keptBuffer = 64 << 10

// A frame is one frame of a connection on its way to the books.
type frame struct {
	data  []byte
	at    time.Time // local clock right after it was read
	drops drops     // of the frames between the one before it and this one
}

// drops counts dropped frames by subscription; nil counts those whose subscription is not known.
type drops map[*subscription]uint64

// A frameQueue connects the reader of a connection, which must never wait, to the goroutine of its
// shard, which may be slow. It is bounded in frames and in bytes. When it is full the reader drops
// frames, and the shard receives the drops at their place in the order.
type frameQueue struct {
	maxBytes int
	ready    chan struct{} // gets a token when there is something to pop; the queues of a shard share it

	mu     sync.Mutex
	ring   []frame
	head   int // the oldest
	count  int
	bytes  int
	free   [][]byte
	drops  drops // since the newest frame
	closed error
}

func newFrameQueue(maxFrames, maxBytes int, ready chan struct{}) *frameQueue {
	return &frameQueue{maxBytes: maxBytes, ready: ready, ring: make([]frame, maxFrames)}
}

// push takes over data and returns a buffer in its place. It returns false if the queue is full; data
// stays the caller's then.
func (q *frameQueue) push(data []byte, at time.Time) (spare []byte, ok bool) {
	q.mu.Lock()
	if q.count == len(q.ring) || q.count > 0 && q.bytes+len(data) > q.maxBytes {
		q.mu.Unlock()
		return data, false
	}
	q.ring[(q.head+q.count)%len(q.ring)] = frame{data: data, at: at, drops: q.drops}
	q.drops = nil
	q.count++
	q.bytes += len(data)
	if n := len(q.free); n > 0 {
		spare, q.free = q.free[n-1], q.free[:n-1]
	}
	q.mu.Unlock()
	wake(q.ready)
	return spare, true
}

// length returns the number of queued frames.
func (q *frameQueue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count
}

// drop notes that a frame of the subscription was dropped; nil if it is not known.
func (q *frameQueue) drop(sub *subscription) {
	q.mu.Lock()
	if q.drops == nil {
		q.drops = make(drops)
	}
	q.drops[sub]++
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

// pop exchanges f for the oldest frame; f's buffer is reused. A frame without data carries the drops
// at the end of the queue. ok is false if the queue is empty; err is then the cause of close, if any.
func (q *frameQueue) pop(f *frame) (ok bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if f.data != nil && cap(f.data) <= keptBuffer {
		q.free = append(q.free, f.data[:0])
	}
	*f = frame{}
	if q.count == 0 {
		if q.drops != nil {
			f.drops, q.drops = q.drops, nil
			return true, nil
		}
		return false, q.closed
	}
	*f, q.ring[q.head] = q.ring[q.head], frame{}
	q.head = (q.head + 1) % len(q.ring)
	q.count--
	q.bytes -= len(f.data)
	return true, nil
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
