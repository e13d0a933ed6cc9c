package sink

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/internal/wal"
)

// drainBytes bounds the encoded size of a batch.
const drainBytes = 4 << 20

// Run hands what is queued to the destination until ctx ends, and returns nil; what is queued then
// stays on disk for the next start. It may be called once; again it returns ErrStarted. It returns
// ErrClosed if the Spill is closed before ctx ends.
func (s *Spill) Run(ctx context.Context) error {
	s.mu.Lock()
	started := s.started
	s.started = true
	s.mu.Unlock()
	if started {
		return ErrStarted
	}
	var syncing sync.WaitGroup
	defer syncing.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if s.cfg.SyncInterval > 0 {
		syncing.Go(func() { s.repeat(ctx, s.cfg.SyncInterval, s.queue.Sync) })
	}
	syncing.Go(func() { s.repeat(ctx, saveEvery, s.queue.SaveRead) })
	d := drain{Spill: s, retry: s.backoff()}
	for s.await(ctx) {
		if err := d.next(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *Spill) backoff() backoff.Backoff {
	return backoff.Backoff{Min: s.cfg.RetryMin, Max: s.cfg.RetryMax}
}

// saveEvery bounds what is handed on once more after a crash.
const saveEvery = time.Second

// repeat does something with the queue now and then, until ctx ends.
func (s *Spill) repeat(ctx context.Context, every time.Duration, do func() error) {
	for backoff.Sleep(ctx, every) == nil {
		if err := do(); err != nil {
			s.diskFailed(err)
		}
	}
}

func (s *Spill) diskFailed(err error) {
	hook.Call(s.cfg.Hooks.DiskFailed, SpillDiskFailedInfo{&DiskError{err}})
}

// await waits until there is something in the queue; false if ctx ends. Where the queue is empty and
// no Write is on its way there, records go directly from here on.
func (s *Spill) await(ctx context.Context) bool {
	for ctx.Err() == nil {
		s.mu.Lock()
		empty := s.queue.Empty()
		live := empty && s.spilling && s.writers == 0
		if live {
			s.spilling = false
		}
		since := s.since
		closed := s.closed
		s.mu.Unlock()
		if live {
			hook.Call(s.cfg.Hooks.Live, SpillLiveInfo{Elapsed: time.Since(since)})
		}
		if !empty || closed {
			return true
		}
		select {
		case <-s.due:
		case <-ctx.Done():
		}
	}
	return false
}

// A drain is what Run works with.
type drain struct {
	*Spill
	retry backoff.Backoff
	batch wal.Batch
	recs  []marketprism.Record
}

// next hands on one batch. Its only error is ErrClosed; a failure of the disk is told of, and waited for.
func (d *drain) next(ctx context.Context) error {
	err := d.queue.Read(&d.batch, d.cfg.MaxBatch, drainBytes)
	if errors.Is(err, wal.ErrClosed) {
		return ErrClosed
	}
	if err != nil {
		d.diskFailed(err)
		backoff.Sleep(ctx, d.retry.Next()) // await sees the end of ctx
		return nil
	}
	if !d.decode(ctx) || !d.deliver(ctx) {
		return nil // ctx has ended
	}
	d.retry.Reset()
	switch err := d.queue.Commit(&d.batch); {
	case errors.Is(err, wal.ErrClosed):
		return ErrClosed
	case err != nil:
		d.diskFailed(err)
	}
	clear(d.recs) // let go of what the records point to
	d.broadcast()
	return nil
}

// decode turns the batch into records, and puts Gaps where something is missing; false if ctx ends.
func (d *drain) decode(ctx context.Context) bool {
	d.recs = d.recs[:0]
	var (
		damage  *CorruptError // waits for the first record behind it
		dropped []marketprism.Record
	)
	for i := range d.batch.Entries {
		var r marketprism.Record
		switch found, ok := d.decodeEntry(ctx, &d.batch.Entries[i], &r); {
		case !ok:
			return false
		case found != nil:
			damage = found
			continue
		}
		if damage != nil {
			d.lose(damage, &r)
			damage = nil
		}
		if !d.pass(&r) {
			dropped = append(dropped, r)
		}
	}
	if damage != nil {
		d.lose(damage, &marketprism.Record{ReceivedAt: time.Now()})
	}
	d.dropped(dropped)
	return true
}

// decodeEntry decodes one record into r, or returns the damage that is in its place; false if ctx ends.
func (d *drain) decodeEntry(ctx context.Context, entry *wal.Entry, r *marketprism.Record) (_ *CorruptError, ok bool) {
	damage := entry.Damage
	if damage == nil {
		err := d.cfg.Decode(entry.Payload, r)
		if err == nil {
			err = r.Validate()
		}
		if err == nil {
			return nil, true
		}
		if damage, ok = d.reject(ctx, entry, err); !ok {
			return nil, false
		}
	}
	found := &CorruptError{Segment: damage.Segment, Kept: damage.Kept, From: damage.From, To: damage.To, Err: damage.Reason}
	d.mu.Lock()
	d.stats.Corrupt++
	d.mu.Unlock()
	hook.Call(d.cfg.Hooks.Corrupt, SpillCorruptInfo{Err: found})
	return found, true
}

// reject makes damage of a record that cannot be decoded; false if ctx ends.
func (d *drain) reject(ctx context.Context, entry *wal.Entry, cause error) (damage *wal.Damage, ok bool) {
	ok = d.insist(ctx, func() (err error) {
		damage, err = d.queue.Reject(&d.batch, entry, cause)
		return err
	})
	return damage, ok
}

// insist repeats what needs the disk until it succeeds; false if ctx ends, or the queue is closed.
func (d *drain) insist(ctx context.Context, do func() error) bool {
	for {
		err := do()
		switch {
		case err == nil:
			return true
		case errors.Is(err, wal.ErrClosed):
			return false
		}
		d.diskFailed(err)
		if backoff.Sleep(ctx, d.retry.Next()) != nil {
			return false
		}
	}
}

// lose puts in the Gaps for a damage.
func (d *drain) lose(damage error, at *marketprism.Record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.recs = d.passed.lose(damage, at, d.recs)
}

func (d *drain) pass(r *marketprism.Record) (ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.recs, ok = d.passed.pass(r, d.recs)
	return ok
}
