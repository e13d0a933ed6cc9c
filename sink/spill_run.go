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
const drainBytes = 8 << 20

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
	syncing.Go(func() { s.repeat(ctx, saveEvery, s.queue.SaveProgress) })
	defer s.releaseWrites()
	d := drain{Spill: s, retry: s.backoff(), most: s.cfg.MaxBatch}
	for s.await(ctx) {
		if err := d.next(ctx); err != nil {
			return err
		}
	}
	return nil
}

// releaseWrites lets Writes pass that wait for the last batch of the queue.
func (s *Spill) releaseWrites() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastBatch = false
	s.signal()
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
	hook.Call(s.cfg.Hooks.DiskFailed, &DiskError{err})
}

// await blocks until the queue is not empty, and returns false if ctx ends. If the queue is empty and
// no Write is about to append, later ones go directly. Since the queue would never be empty while records keep coming,
// Writes wait once the rest is one batch and the destination accepts records.
func (s *Spill) await(ctx context.Context) bool {
	for ctx.Err() == nil {
		s.mu.Lock()
		queued := s.queue.Stats()
		empty := queued.Bytes == 0
		live := empty && s.spilling && s.writers == 0
		switch {
		case live:
			s.spilling, s.lastBatch = false, false
			s.signal()
		case s.spilling && !s.away && s.cfg.DirectTimeout > 0:
			s.lastBatch = queued.Payloads <= s.cfg.MaxBatch && queued.Bytes <= drainBytes
		}
		since := s.since
		closed := s.closed
		s.mu.Unlock()
		if live {
			hook.Call(s.cfg.Hooks.Live, time.Since(since))
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
	retry  backoff.Backoff
	most   int                  // records of the next Write to the destination
	recs   []marketprism.Record // of the current batch, as they are delivered
	bodies [][]byte             // of recs, see EncodedSink
	loads  [2]load              // the current batch, and the one behind it
	loaded bool                 // loads[0] was read behind the batch before
}

// next delivers one batch, while it reads and decodes the one behind it. Its only error is ErrClosed; after a failure of
// the disk it reports that and waits.
func (d *drain) next(ctx context.Context) error {
	current, behind := &d.loads[0], &d.loads[1]
	if !d.loaded {
		current.after(&wal.Batch{}, d.queue, &d.cfg)
	}
	d.loaded = false
	if errors.Is(current.err, wal.ErrClosed) {
		return ErrClosed
	}
	if current.err != nil {
		d.diskFailed(current.err)
		backoff.Sleep(ctx, d.retry.Next()) // await sees the end of ctx
		return nil
	}
	var loading sync.WaitGroup
	loading.Go(func() { behind.after(&current.batch, d.queue, &d.cfg) })
	delivered := d.decode(current) && d.deliver(ctx, current)
	loading.Wait()
	if !delivered {
		return nil // ctx has ended
	}
	d.retry.Reset()
	switch err := d.queue.Commit(&current.batch); {
	case errors.Is(err, wal.ErrClosed):
		return ErrClosed
	case err != nil:
		d.diskFailed(err)
	}
	clear(d.recs)
	clear(d.bodies)
	current.free()
	d.broadcast()
	// If there was nothing behind it then, there may be something now. An error is one of the next attempt.
	d.loaded = behind.err == nil && len(behind.batch.Entries) > 0
	d.loads[0], d.loads[1] = d.loads[1], d.loads[0]
	return nil
}

// decode takes the records of a batch, with Gaps for damage. It returns false if the queue is closed.
func (d *drain) decode(l *load) bool {
	d.recs, d.bodies = d.recs[:0], d.bodies[:0]
	d.mu.Lock()
	d.passed.begin()
	d.mu.Unlock()
	var (
		damage  *CorruptError // pending until the first record behind it
		dropped []marketprism.Record
	)
	for i := range l.recs {
		switch found, ok := d.damageAt(l, i); {
		case !ok:
			return false
		case found != nil:
			damage = found
			continue
		}
		if damage != nil {
			d.lose(damage, &l.recs[i])
			damage = nil
		}
		ok := d.pass(&l.recs[i])
		if !ok {
			dropped = append(dropped, *l.whole(&l.recs[i], &d.cfg))
		}
		if d.bodies = withoutBodies(d.bodies, len(d.recs)); ok {
			d.bodies[len(d.bodies)-1] = l.batch.Entries[i].Payload
		}
	}
	if damage != nil {
		d.lose(damage, &marketprism.Record{ReceivedAt: time.Now()})
	}
	d.mu.Lock()
	if !d.queue.Passed(d.unsure) {
		d.recs = d.passed.repeat(dropped, d.recs)
	}
	d.mu.Unlock()
	d.bodies = withoutBodies(d.bodies, len(d.recs))
	d.dropped(dropped)
	return true
}

// damageAt returns the damage in the place of a record; nil if there is none. ok is false if the queue is closed.
func (d *drain) damageAt(l *load, i int) (_ *CorruptError, ok bool) {
	entry := &l.batch.Entries[i]
	damage := entry.Damage
	if damage == nil && l.errs[i] == nil {
		return nil, true
	}
	if damage == nil {
		var err error
		if damage, err = d.queue.Reject(&l.batch, entry, l.errs[i]); err != nil {
			return nil, false
		}
	}
	if damage.KeepErr != nil {
		d.diskFailed(damage.KeepErr)
	}
	found := &CorruptError{Segment: damage.Segment, Kept: damage.Kept, From: damage.From, To: damage.To, Err: damage.Reason}
	d.mu.Lock()
	d.stats.Corrupt++
	d.mu.Unlock()
	hook.Call(d.cfg.Hooks.Corrupt, found)
	return found, true
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
// refuses some permanently without naming them, deliver halves the part that it writes until the refused record is
// alone. After another failure it writes half as much, and after each success twice as much: a destination that is slow, or comes back, gets
// what it can take within WriteTimeout.
func (d *drain) deliver(ctx context.Context, l *load) bool {
	rest, bodies, part := d.recs, d.bodies, d.most
	start, attempts := time.Now(), 0
	delays := d.backoff()
	for len(rest) > 0 {
		part = min(part, len(rest))
		err := d.attempt(ctx, rest[:part], bodies[:part])
		attempts++
		switch {
		case err == nil:
			d.delivered(rest[:part], part < len(rest), WrittenInfo{Records: part, Attempts: attempts, Elapsed: time.Since(start)})
			rest, bodies = rest[part:], bodies[part:]
			d.most = min(2*d.most, d.cfg.MaxBatch)
		case ctx.Err() != nil:
			return false
		case !Permanent(err):
			if !d.wait(ctx, FailedInfo{Records: part, Attempts: attempts, Err: err, Delay: delays.Next()}) {
				return false
			}
			d.most = max(part/2, 1)
			part = d.most
			continue
		default:
			refused := Refused(err, part)
			if len(refused) == 0 && part > 1 {
				part /= 2
				continue
			}
			if len(refused) == 0 {
				refused = []Refusal{{Err: err}}
			}
			left, ok := d.refuse(l, rest, refused)
			if !ok {
				return false
			}
			bodies = bodiesOf(left, rest, bodies)
			rest = left
		}
		part = d.most
		start, attempts = time.Now(), 0
		delays.Reset()
	}
	return true
}

func (d *drain) attempt(ctx context.Context, recs []marketprism.Record, bodies [][]byte) error {
	if d.cfg.WriteTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.cfg.WriteTimeout)
		defer cancel()
	}
	if d.encoded != nil {
		return d.encoded.WriteEncoded(ctx, recs, bodies)
	}
	return d.dst.Write(ctx, recs)
}

// delivered notes that the destination has accepted recs. left says whether some of the batch are left, which it may refuse.
func (d *drain) delivered(recs []marketprism.Record, left bool, info WrittenInfo) {
	d.mu.Lock()
	d.away = false
	if left {
		d.passed.delivered(recs)
	}
	d.stats.Drained += uint64(info.Records)
	d.mu.Unlock()
	hook.Call(d.cfg.Hooks.Drained, info)
}

// wait reports a failure and waits out its delay. It returns false if ctx ends.
func (d *drain) wait(ctx context.Context, info FailedInfo) bool {
	d.setAway(true)
	d.mu.Lock()
	d.stats.Retries++
	d.mu.Unlock()
	hook.Call(d.cfg.Hooks.Failed, info)
	return backoff.Sleep(ctx, info.Delay) == nil
}

// refuse drops refused records and keeps their encoded form. It returns the others, with a Gap for each book that has
// lost one and without the Updates that are useless now, and false if the queue is closed.
func (d *drain) refuse(l *load, recs []marketprism.Record, refused []Refusal) ([]marketprism.Record, bool) {
	kept := make([]string, len(refused))
	for i, f := range refused {
		entry := l.entryOf(&recs[f.Index])
		if entry == nil {
			continue
		}
		var err error
		switch kept[i], err = d.queue.Refuse(&l.batch, entry); {
		case errors.Is(err, wal.ErrClosed):
			return nil, false
		case err != nil:
			d.diskFailed(err)
		}
	}
	d.mu.Lock()
	d.away = false // it has answered
	d.stats.Refused += uint64(len(refused))
	rest, useless := d.passed.refuse(recs, refused)
	d.mu.Unlock()
	for i, f := range refused {
		hook.Call(d.cfg.Hooks.Refused, SpillRefusedInfo{Record: l.whole(&recs[f.Index], &d.cfg), Err: f.Err, Kept: kept[i]})
	}
	for i := range useless {
		useless[i] = *l.whole(&useless[i], &d.cfg)
	}
	d.dropped(useless)
	return rest, true
}
