package sink

import (
	"context"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
)

// Run writes queued records to the destination until ctx ends. Then Write returns ErrClosed, and Run
// delivers the rest of the queue for up to DrainTimeout. It returns nil if everything was delivered, else an
// *UndeliveredError. It may be called once; another call returns ErrStarted.
//
// The destination sees a context with the values of ctx that ends with the drain, not with ctx.
func (b *Buffer) Run(ctx context.Context) error {
	b.mu.Lock()
	started := b.started
	b.started = true
	b.mu.Unlock()
	if started {
		return ErrStarted
	}
	defer b.setEnded()
	stop := context.AfterFunc(ctx, b.setEnding)
	defer stop()
	ctx, cancel := linger(ctx, b.cfg.DrainTimeout)
	defer cancel()

	var batch []marketprism.Record
	for {
		batch = b.next(batch)
		if len(batch) == 0 {
			return nil
		}
		if err := b.deliver(ctx, batch); err != nil {
			b.mu.Lock()
			defer b.mu.Unlock()
			return &UndeliveredError{Records: b.queue.records(), Err: err}
		}
		clear(batch) // frees the memory that the records point to
	}
}

// linger returns a context that ends d after ctx does.
func linger(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		if backoff.Sleep(longer, d) == nil {
			cancel()
		}
	})
	return longer, func() {
		stop()
		cancel()
	}
}

// setEnding closes the Buffer to Write.
func (b *Buffer) setEnding() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ending {
		b.ending = true
		close(b.end)
		b.broadcast()
	}
}

// setEnded wakes every Flush, since Run writes no more. It closes the Buffer too, as
// Run may return, or panic with its destination, before ctx ends.
func (b *Buffer) setEnded() {
	b.setEnding()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	b.broadcast()
}

// next blocks until a batch is due and takes it, into the memory of batch. It returns an empty one when
// the Buffer is closed and its queue is empty.
func (b *Buffer) next(batch []marketprism.Record) []marketprism.Record {
	for {
		var dropped []marketprism.Record
		batch = batch[:0]
		b.mu.Lock()
		wait, ready := b.untilReady(time.Now())
		if ready {
			batch, dropped = b.queue.take(time.Now(), b.cfg.MaxBatch, batch, nil)
			b.count(dropped)
			if len(dropped) > 0 {
				b.broadcast()
			}
		}
		over := b.ending && b.queue.pending.n == 0
		b.mu.Unlock()
		b.reportDropped(dropped)
		if len(batch) > 0 || over {
			return batch
		}
		if ready {
			continue // all records taken were useless
		}
		select {
		case <-b.due:
		case <-b.end:
		case <-wait:
		}
	}
}

// untilReady reports whether a batch is due, or returns when one will be: nil, if nothing is queued.
func (b *Buffer) untilReady(now time.Time) (wait <-chan time.Time, ready bool) {
	if b.batchReady() {
		return nil, true
	}
	if b.queue.pending.n == 0 {
		return nil, false
	}
	left := b.queue.since.Add(b.cfg.MaxDelay).Sub(now)
	if left <= 0 {
		return nil, true
	}
	return time.After(left), false
}

// batchReady reports whether a batch is due whatever the time. It is due long before the queue is full,
// or once a Write found no room, so that no Write waits while the destination is idle.
func (b *Buffer) batchReady() bool {
	q := &b.queue
	switch {
	case q.pendingGaps() > 0:
		return true
	case q.pending.n == 0:
		return false
	}
	return b.ending || b.flushTo > q.completed() ||
		q.pending.n >= min(b.cfg.MaxBatch, b.cfg.MaxRecords/2) || q.bytes >= b.cfg.MaxBytes/2
}

// deliver writes batch until the destination has accepted or refused every record, or ctx ends: then it returns the
// last error. If the destination refuses records without naming them, deliver halves the part that it writes until one
// is alone.
func (b *Buffer) deliver(ctx context.Context, batch []marketprism.Record) error {
	part, start, attempt := len(batch), time.Now(), 1
	delays := backoff.Backoff{Min: b.cfg.RetryMin, Max: b.cfg.RetryMax}
	end := b.end
	for len(batch) > 0 {
		err := b.dst.Write(ctx, batch[:part])
		refused := Refused(err, part)
		switch {
		case err == nil:
			b.written(batch[:part], WrittenInfo{Records: part, Attempts: attempt, Elapsed: time.Since(start)})
			batch = batch[part:]
		case len(refused) > 0:
			batch = b.refuse(batch, refused)
		case Permanent(err) && part > 1:
			part /= 2
			continue
		case Permanent(err):
			batch = b.refuse(batch, []Refusal{{Err: err}})
		default:
			delay := delays.Next()
			b.failed(FailedInfo{Records: part, Attempts: attempt, Err: err, Delay: delay})
			select {
			case <-time.After(delay):
			case <-end: // little time is left: try at once, and start the back-off again
				end = nil
				delays.Reset()
			case <-ctx.Done():
			}
			if ctx.Err() != nil {
				return err
			}
			attempt++
			continue
		}
		part, start, attempt = len(batch), time.Now(), 1
		delays.Reset()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue.complete()
	b.broadcast()
	return nil
}

func (b *Buffer) written(recs []marketprism.Record, info WrittenInfo) {
	b.mu.Lock()
	b.queue.delivered(recs)
	b.stats.Batches++
	b.stats.Written += uint64(info.Records)
	b.mu.Unlock()
	if b.cfg.Hooks.Written != nil {
		b.cfg.Hooks.Written(info)
	}
}

// refuse leaves out records that the destination refused, and returns the others, with a Gap for each book that has lost
// one.
func (b *Buffer) refuse(batch []marketprism.Record, refused []Refusal) []marketprism.Record {
	b.mu.Lock()
	rest, useless := b.queue.refuse(batch, refused)
	b.stats.Refused += uint64(len(refused))
	b.count(useless)
	b.mu.Unlock()
	if b.cfg.Hooks.Refused != nil {
		for _, f := range refused {
			b.cfg.Hooks.Refused(RefusedInfo{Record: &batch[f.Index], Err: f.Err})
		}
	}
	b.reportDropped(useless)
	return rest
}

func (b *Buffer) failed(info FailedInfo) {
	b.mu.Lock()
	b.stats.Retries++
	b.mu.Unlock()
	if b.cfg.Hooks.Failed != nil {
		b.cfg.Hooks.Failed(info)
	}
}
