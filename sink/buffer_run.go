package sink

import (
	"context"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
)

// Run writes to the destination what comes in, until ctx ends. Then Write returns ErrClosed, and Run
// goes on for up to DrainTimeout with what is queued. It returns nil if all was delivered, or else an
// *UndeliveredError. It may be called once; again it returns ErrStarted.
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
		clear(batch) // let go of what the records point to
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

// setEnded tells those who wait in Flush that no more will be written. It closes the Buffer too, as
// Run may return, or panic with its destination, before setEnding had its turn.
func (b *Buffer) setEnded() {
	b.setEnding()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	b.broadcast()
}

// next waits for a batch to be due and takes it, into the memory of batch. It returns none when
// there is nothing left to wait for.
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
		over := b.ending && b.queue.waiting.n == 0
		b.mu.Unlock()
		b.tellDropped(dropped)
		if len(batch) > 0 || over {
			return batch
		}
		if ready {
			continue // all that was taken was useless
		}
		select {
		case <-b.due:
		case <-b.end:
		case <-wait:
		}
	}
}

// untilReady reports whether a batch is due, or what to wait for: never, if nothing is queued.
func (b *Buffer) untilReady(now time.Time) (wait <-chan time.Time, ready bool) {
	if b.batchReady() {
		return nil, true
	}
	if b.queue.waiting.n == 0 {
		return nil, false
	}
	left := b.queue.since.Add(b.cfg.MaxDelay).Sub(now)
	if left <= 0 {
		return nil, true
	}
	return time.After(left), false
}

// batchReady reports whether a batch is due whatever the time. One is long before the queue is full,
// and where a Write has found no room, so that none has to wait while the destination is idle.
func (b *Buffer) batchReady() bool {
	q := &b.queue
	switch {
	case q.gaps() > 0:
		return true
	case q.waiting.n == 0:
		return false
	}
	return b.ending || b.flushTo > q.settled() ||
		q.waiting.n >= min(b.cfg.MaxBatch, b.cfg.MaxRecords/2) || q.bytes >= b.cfg.MaxBytes/2
}

// deliver writes batch until the destination accepts it, or ctx ends: then it returns the last error.
func (b *Buffer) deliver(ctx context.Context, batch []marketprism.Record) error {
	start := time.Now()
	delays := backoff.Backoff{Min: b.cfg.RetryMin, Max: b.cfg.RetryMax}
	end := b.end
	for attempt := 1; ; attempt++ {
		err := b.dst.Write(ctx, batch)
		if err == nil {
			b.settle(len(batch))
			if b.cfg.Hooks.Written != nil {
				b.cfg.Hooks.Written(WrittenInfo{Records: len(batch), Attempts: attempt, Elapsed: time.Since(start)})
			}
			return nil
		}
		delay := delays.Next()
		b.failed(FailedInfo{Records: len(batch), Attempts: attempt, Err: err, Delay: delay})
		select {
		case <-time.After(delay):
		case <-end: // the time left is short: try at once, and from short delays up
			end = nil
			delays.Reset()
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return err
		}
	}
}

func (b *Buffer) settle(records int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue.settle()
	b.stats.Batches++
	b.stats.Written += uint64(records)
	b.broadcast()
}

func (b *Buffer) failed(info FailedInfo) {
	b.mu.Lock()
	b.stats.Retries++
	b.mu.Unlock()
	if b.cfg.Hooks.Failed != nil {
		b.cfg.Hooks.Failed(info)
	}
}
