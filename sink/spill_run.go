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

// Run delivers the queue to the destination until ctx ends, and returns nil; the rest of the queue
// stays on disk for the next start. It may be called once; another call returns ErrStarted. It returns
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

// saveEvery bounds how much is delivered again after a crash.
const saveEvery = time.Second

// repeat calls do at intervals until ctx ends.
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

// await blocks until the queue is not empty, and returns false if ctx ends. If the queue is empty and
// no Write is about to append, later ones go directly.
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

// A drain is the state of Run.
type drain struct {
	*Spill
	retry backoff.Backoff
	batch wal.Batch
	recs  []marketprism.Record
}

// next delivers one batch. Its only error is ErrClosed; after a failure of the disk it reports that and waits.
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
	clear(d.recs) // frees the memory that the records point to
	d.broadcast()
	return nil
}

// decode decodes the batch into records, with Gaps for damage. It returns false if ctx ends.
func (d *drain) decode(ctx context.Context) bool {
	d.recs = d.recs[:0]
	var (
		damage  *CorruptError // pending until the first record behind it
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

// decodeEntry decodes one record into r, or returns the damage in its place. ok is false if ctx ends.
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

// reject turns a record that cannot be decoded into damage. ok is false if ctx ends.
func (d *drain) reject(ctx context.Context, entry *wal.Entry, cause error) (damage *wal.Damage, ok bool) {
	ok = d.retryDisk(ctx, func() (err error) {
		damage, err = d.queue.Reject(&d.batch, entry, cause)
		return err
	})
	return damage, ok
}

// retryDisk repeats do until it succeeds. It returns false if ctx ends or the queue is closed.
func (d *drain) retryDisk(ctx context.Context, do func() error) bool {
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

// lose appends the Gaps for a damage.
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

// deliver writes d.recs until the destination accepts them, and returns false if ctx ends. If the destination
// refuses some permanently, deliver halves the part that it writes until the refused record is alone.
func (d *drain) deliver(ctx context.Context) bool {
	rest, part := d.recs, len(d.recs)
	start, attempts := time.Now(), 0
	delays := d.backoff()
	for len(rest) > 0 {
		err := d.attempt(ctx, rest[:part])
		attempts++
		switch {
		case err == nil:
			d.delivered(WrittenInfo{Records: part, Attempts: attempts, Elapsed: time.Since(start)})
			rest = rest[part:]
		case ctx.Err() != nil:
			return false
		case !Permanent(err):
			if !d.wait(ctx, FailedInfo{Records: part, Attempts: attempts, Err: err, Delay: delays.Next()}) {
				return false
			}
			continue
		case part > 1:
			part /= 2
			continue
		default:
			var ok bool
			if rest, ok = d.refuse(ctx, rest, err); !ok {
				return false
			}
		}
		part = len(rest)
		start, attempts = time.Now(), 0
		delays.Reset()
	}
	return true
}

func (d *drain) attempt(ctx context.Context, recs []marketprism.Record) error {
	if d.cfg.WriteTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.cfg.WriteTimeout)
		defer cancel()
	}
	return d.dst.Write(ctx, recs)
}

func (d *drain) delivered(info WrittenInfo) {
	d.mu.Lock()
	d.stats.Drained += uint64(info.Records)
	d.mu.Unlock()
	hook.Call(d.cfg.Hooks.Drained, info)
}

// wait reports a failure and waits out its delay. It returns false if ctx ends.
func (d *drain) wait(ctx context.Context, info FailedInfo) bool {
	d.mu.Lock()
	d.stats.Retries++
	d.mu.Unlock()
	hook.Call(d.cfg.Hooks.Failed, info)
	return backoff.Sleep(ctx, info.Delay) == nil
}

// refuse drops the first of recs and keeps a copy of its segment. It returns the others, with a Gap in
// front and without the Updates that it makes useless, and false if ctx ends.
func (d *drain) refuse(ctx context.Context, recs []marketprism.Record, cause error) ([]marketprism.Record, bool) {
	info := SpillRefusedInfo{Record: &recs[0], Err: cause}
	ok := d.retryDisk(ctx, func() (err error) {
		info.Kept, err = d.queue.Keep(&d.batch)
		return err
	})
	if !ok {
		return nil, false
	}
	d.mu.Lock()
	d.stats.Refused++
	rest, useless := d.passed.refuse(&recs[0], recs[1:], cause)
	d.mu.Unlock()
	hook.Call(d.cfg.Hooks.Refused, info)
	d.dropped(useless)
	return rest, true
}
