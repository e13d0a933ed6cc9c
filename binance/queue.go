package binance

import (
	"sync"
	"time"
)

// keptBuffer bounds the buffers that a frameQueue keeps for reuse: rare huge frames give theirs back.
const keptBuffer = 64 << 10

// A frame is one frame of a connection on its way to the books.
type frame struct {
	data []byte
	at   time.Time // local clock right after it was read
	lost losses    // what was dropped between the frame before it and this one
}

// losses counts the frames dropped, per stream; the key nil stands for frames that did not tell theirs.
type losses map[*stream]uint64

// A frameQueue lies between the reader of a connection, which must never wait, and the owner of its
// books, which may be slow. It is bounded in frames and in bytes. When it is full the reader drops
// frames, and the owner learns which streams lost some at that very place in the order.
type frameQueue struct {
	maxBytes int
	ready    chan struct{} // gets a token when there is something to pop; the queues of a feed share it

	mu     sync.Mutex
	ring   []frame
	head   int // the oldest
	count  int
	bytes  int
	free   [][]byte
	lost   losses // since the newest frame
	closed error
}

func newFrameQueue(maxFrames, maxBytes int, ready chan struct{}) *frameQueue {
	return &frameQueue{maxBytes: maxBytes, ready: ready, ring: make([]frame, maxFrames)}
}

// push takes over data and returns a buffer in its place. If the queue is full it returns false, and
// data stays the caller's.
func (q *frameQueue) push(data []byte, at time.Time) (spare []byte, ok bool) {
	q.mu.Lock()
	if q.count == len(q.ring) || q.count > 0 && q.bytes+len(data) > q.maxBytes {
		q.mu.Unlock()
		return data, false
	}
	q.ring[(q.head+q.count)%len(q.ring)] = frame{data: data, at: at, lost: q.lost}
	q.lost = nil
	q.count++
	q.bytes += len(data)
	if n := len(q.free); n > 0 {
		spare, q.free = q.free[n-1], q.free[:n-1]
	}
	q.mu.Unlock()
	wake(q.ready)
	return spare, true
}

// length returns how many frames wait.
func (q *frameQueue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count
}

// drop notes that a frame of that stream was dropped; nil if the frame does not tell.
func (q *frameQueue) drop(st *stream) {
	q.mu.Lock()
	if q.lost == nil {
		q.lost = make(losses)
	}
	q.lost[st]++
	q.mu.Unlock()
	wake(q.ready)
}

// close says that nothing more will come, and why. What is queued can still be popped.
func (q *frameQueue) close(cause error) {
	q.mu.Lock()
	q.closed = cause
	q.mu.Unlock()
	wake(q.ready)
}

// pop exchanges f for the oldest frame; f's buffer is reused. A frame without data stands for losses
// at the end of the queue. ok is false if there is nothing; err is then the cause of close, if closed.
func (q *frameQueue) pop(f *frame) (ok bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if f.data != nil && cap(f.data) <= keptBuffer {
		q.free = append(q.free, f.data[:0])
	}
	*f = frame{}
	if q.count == 0 {
		if q.lost != nil {
			f.lost, q.lost = q.lost, nil
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
