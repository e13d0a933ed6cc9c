package bookfeed

import (
	"context"
	"time"

	"github.com/marketprism/marketprism/natsbus"
)

const (
	// maxWorkers bounds the goroutines that apply messages. There are more than a machine has processors, so that a
	// Handler that waits holds up few books.
	maxWorkers = 16
	// workerQueue bounds the messages that wait for a worker. Then its readers wait too, and the rest stays on the bus.
	workerQueue = 64
)

// A worker applies the messages of some instruments to their books, on one goroutine, in the order of its queue.
type worker struct {
	ctx     context.Context // of Run; when it ends, the messages in the queue are left out
	catchUp time.Duration   // Config.CatchUp
	failed  func(error)     // ends Run

	queue   chan task
	late    *time.Timer // for the first of waiting
	waiting []waitingBook
	decoder natsbus.Decoder
}

// A task is a message for a book, or a call.
type task struct {
	book    *follower
	message message
	call    func() // nil for a message; it is made also after the end of ctx
}

// A waitingBook has a snapshot that waits for updates until then.
type waitingBook struct {
	book  *follower
	until time.Time // the follower's late, unless the snapshot waits no more
}

// newWorkers returns workers for n instruments.
func newWorkers(ctx context.Context, n int, cfg Config, failed func(error)) []*worker {
	workers := make([]*worker, min(n, maxWorkers))
	for i := range workers {
		late := time.NewTimer(0)
		late.Stop()
		workers[i] = &worker{ctx: ctx, catchUp: cfg.CatchUp, failed: failed, queue: make(chan task, workerQueue), late: late}
	}
	return workers
}

// run carries out tasks until the queue is closed.
func (k *worker) run() {
	defer k.late.Stop()
	for {
		select {
		case t, ok := <-k.queue:
			if !ok {
				return
			}
			k.do(t)
		case <-k.late.C:
			k.decide(time.Now())
		}
	}
}

func (k *worker) do(t task) {
	switch {
	case t.call != nil:
		t.call()
	case k.ctx.Err() == nil:
		k.failed(t.book.receive(&k.decoder, t.message))
		k.watch(t.book)
	}
}

// watch starts or ends the wait of a book's snapshot for updates.
func (k *worker) watch(w *follower) {
	switch ahead := w.book.joiner.Ahead(); {
	case !ahead:
		w.late = time.Time{}
	case w.late.IsZero():
		k.wait(w, time.Now())
	}
}

// wait makes a book's snapshot wait for CatchUp.
func (k *worker) wait(w *follower, now time.Time) {
	w.late = now.Add(k.catchUp)
	k.waiting = append(k.waiting, waitingBook{w, w.late})
	if len(k.waiting) == 1 {
		k.late.Reset(k.catchUp)
	}
}

// decide gives up the books whose snapshots have waited long enough.
func (k *worker) decide(now time.Time) {
	for len(k.waiting) > 0 && !k.waiting[0].until.After(now) && k.ctx.Err() == nil {
		w, until := k.waiting[0].book, k.waiting[0].until
		k.waiting = k.waiting[1:]
		switch {
		case !w.late.Equal(until): // decided
		case !w.book.live: // the updates may be on the bus
			k.wait(w, now)
		default:
			k.failed(w.jump())
			k.watch(w)
		}
	}
	if len(k.waiting) > 0 && k.ctx.Err() == nil {
		k.late.Reset(time.Until(k.waiting[0].until))
	}
}
