package sink

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/internal/wal"
)

// Write passes recs to the destination, within DirectTimeout, or else puts them on the disk. It first waits, for as long,
// while Run delivers the rest of the queue. Under Block it blocks until there is room. Apart from the error of ctx, its
// errors are ErrFull, ErrClosed, *DiskError, wrapped, a *RefusedError with those of Encode and ErrTooLarge, and any of
// the destination that is Permanent. A prefix of recs may be accepted then; writing all of them again is safe. Whether
// records are valid is left to the destination and to Encode.
func (s *Spill) Write(ctx context.Context, recs []marketprism.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(recs) == 0 {
		return nil
	}
	if err := s.awaitLastBatch(ctx); err != nil {
		return err
	}
	to, err := s.route(recs)
	if err != nil {
		return err
	}
	if to.direct {
		err := s.writeDirect(ctx, recs, to)
		if err == nil || ctx.Err() != nil || Permanent(err) {
			return err
		}
		s.setAway(true)
		s.mu.Lock()
		s.beginAppend(SpillingInfo{Records: len(recs), Err: err})
	}
	defer s.endAppend()
	dropped, full, err := s.store(ctx, recs, to.direct, false)
	if full {
		s.full()
		if s.cfg.Overflow == Block {
			_, _, err = s.store(ctx, recs, to.direct, true)
		}
	}
	if to.direct {
		s.mu.Lock()
		s.unsure = s.queue.Tail()
		s.mu.Unlock()
	}
	s.dropped(dropped)
	return err
}

// awaitLastBatch blocks while Run delivers the last batch of the queue, so that the Write can go directly, for up to
// DirectTimeout. It returns the error of ctx.
func (s *Spill) awaitLastBatch(ctx context.Context) error {
	var late <-chan time.Time
	for {
		s.mu.Lock()
		waiting, changed := s.lastBatch && !s.closed, s.changed
		s.mu.Unlock()
		if !waiting {
			return nil
		}
		if late == nil {
			timer := time.NewTimer(s.cfg.DirectTimeout)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-changed:
		case <-late:
			s.setAway(true)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A route is where a Write goes. A direct one leaves out useless Updates, and adds a Gap for each book that
// may have lost a record to damage.
type route struct {
	direct bool
	broken bool // as damageTracker.broken was

	recs           []marketprism.Record
	useless, later []marketprism.Record // dropped after a Gap at the end of the queue, and after damage in it
}

// route decides where recs go. It does not change the trackers, since a Write that fails is repeated.
func (s *Spill) route(recs []marketprism.Record) (route, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return route{}, ErrClosed
	}
	gapPending := s.accepted != nil && len(s.accepted.gaps) > 0
	if s.spilling || gapPending || s.cfg.DirectTimeout == 0 {
		s.beginAppend(SpillingInfo{Records: len(recs)})
		return route{}, nil
	}
	defer s.mu.Unlock()
	to := route{direct: true, broken: s.passed.broken, recs: recs}
	if s.accepted != nil {
		to.recs, to.useless = s.accepted.useful(to.recs)
	}
	if to.broken {
		to.recs, to.later = s.passed.useful(to.recs)
	}
	return to, nil
}

// writeDirect writes to the destination, and then notes in the trackers that recs were taken.
func (s *Spill) writeDirect(ctx context.Context, recs []marketprism.Record, to route) error {
	if len(to.recs) > 0 {
		ctx, cancel := context.WithTimeout(ctx, s.cfg.DirectTimeout)
		defer cancel()
		if err := s.dst.Write(ctx, to.recs); err != nil {
			if Permanent(err) { // a refusal is an answer
				s.setAway(false)
			}
			return inWhole(err, recs, to.recs)
		}
	}
	s.mu.Lock()
	s.away = s.away && len(to.recs) == 0
	s.stats.Direct += uint64(len(to.recs))
	if to.broken {
		s.passed.passAll(recs)
	} else {
		s.passed.tracker.passAll(to.recs)
	}
	if s.accepted != nil {
		s.accepted.passAll(to.recs)
	}
	s.mu.Unlock()
	s.dropped(to.useless)
	s.dropped(to.later)
	return nil
}

// beginAppend counts a Write that goes to the queue: until endAppend, Run cannot find the queue
// empty and let others pass directly. s.mu must be held, and is unlocked.
func (s *Spill) beginAppend(info SpillingInfo) {
	began := !s.spilling
	if began {
		s.spilling, s.since = true, time.Now()
	}
	s.writers++
	s.mu.Unlock()
	if began {
		hook.Call(s.cfg.Hooks.Spilling, info)
	}
}

func (s *Spill) endAppend() {
	s.mu.Lock()
	s.writers--
	s.mu.Unlock()
	s.wake()
}

// An encoder encodes records, in memory that it reuses.
type encoder struct {
	encode   func(dst []byte, r *marketprism.Record) ([]byte, error)
	buf      []byte
	payloads [][]byte
}

// all sets e.payloads to those of recs. Its error is a *RefusedError with what cannot be encoded, or has no room in a
// queue of maxBytes.
func (e *encoder) all(recs []marketprism.Record, maxBytes int64) error {
	e.buf, e.payloads = e.buf[:0], e.payloads[:0]
	return refuse(recs, func(r *marketprism.Record) error {
		payload, err := e.one(r)
		if err != nil {
			return err
		}
		e.payloads = append(e.payloads, payload)
		if size := wal.FrameSize(len(payload)); size > maxBytes || len(payload) > wal.MaxPayload {
			return fmt.Errorf("%w: it has %d bytes, MaxBytes is %d", ErrTooLarge, size, maxBytes)
		}
		return nil
	})
}

// one returns the payload of r. It is valid until the next call of all.
func (e *encoder) one(r *marketprism.Record) ([]byte, error) {
	buf, err := e.encode(e.buf, r)
	if err != nil {
		return nil, err
	}
	start := len(e.buf)
	e.buf = buf
	return buf[start:len(buf):len(buf)], nil
}

// store puts recs on the disk. full reports that there was no room for some; under Block nothing is stored then, unless
// wait is set. tried says that the destination may have them already. It returns the records that were dropped. The hooks are the caller's to call: store holds s.lock, which a
// Write in a hook needs.
func (s *Spill) store(ctx context.Context, recs []marketprism.Record, tried, wait bool) (dropped []marketprism.Record, full bool, err error) {
	select {
	case s.lock <- struct{}{}:
		defer func() { <-s.lock }()
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	if err := s.enc.all(recs, s.cfg.MaxBytes); err != nil {
		return nil, false, err
	}
	if s.cfg.Overflow == DropNewest {
		return s.storeSome(recs, tried)
	}
	full, err = s.storeAll(ctx, wait)
	return nil, full, err
}

// storeAll stores the encoded records, and waits for room if wait is set. Otherwise it stores nothing if not all have
// room, and full is true; under Fail that is ErrFull.
func (s *Spill) storeAll(ctx context.Context, wait bool) (full bool, err error) {
	rest := s.enc.payloads
	for {
		s.mu.Lock()
		changed, closed := s.changed, s.closed
		s.mu.Unlock()
		if closed {
			return false, ErrClosed
		}
		n := fitting(rest, s.room())
		switch {
		case n == len(rest) || wait:
		case s.cfg.Overflow == Fail:
			return true, fmt.Errorf("%w: %d bytes are on disk, MaxBytes is %d", ErrFull, s.queue.Stats().Bytes, s.cfg.MaxBytes)
		default:
			return true, nil
		}
		if err := s.append(rest[:n]); err != nil {
			return false, err
		}
		if rest = rest[n:]; len(rest) == 0 {
			return false, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false, fmt.Errorf("sink: no room for %d of %d records: %w", len(rest), len(s.enc.payloads), ctx.Err())
		}
	}
}

// fitting returns how many of payloads fit into room.
func fitting(payloads [][]byte, room int64) (n int) {
	for _, p := range payloads {
		if room -= wal.FrameSize(len(p)); room < 0 {
			break
		}
		n++
	}
	return n
}

// storeSome stores those of recs for which there is room, and Gaps for the others, which always have
// room. It returns the records that were dropped, and whether room was lacking.
func (s *Spill) storeSome(recs []marketprism.Record, tried bool) (dropped []marketprism.Record, full bool, err error) {
	s.mu.Lock()
	chosen := s.choose(recs)
	s.mu.Unlock()
	if tried {
		chosen.endAfter(recs)
	}
	stored, err := s.storeChosen(chosen)
	if err != nil {
		s.mu.Lock()
		// A Gap must not be lost with the Write that made it.
		s.accepted.gaps = append(chosen.gapsFrom(stored), s.accepted.gaps...)
		s.mu.Unlock()
		return nil, false, err
	}
	return chosen.dropped, chosen.full, nil
}

// A choice says which records of one Write are kept under DropNewest.
type choice struct {
	kept    []keptRecord
	dropped []marketprism.Record
	full    bool
}

// A keptRecord is the payload of a record, or a Gap without one yet.
type keptRecord struct {
	payload []byte
	gap     *marketprism.Record
}

// choose returns the choice for recs, whose payloads are encoded. s.mu must be held.
func (s *Spill) choose(recs []marketprism.Record) (c choice) {
	c.addGaps(s.accepted)
	room := s.room()
	for i := range recs {
		r, size := &recs[i], wal.FrameSize(len(s.enc.payloads[i]))
		switch {
		case size > room:
			c.full = true
			if !s.accepted.lose(r, 0) {
				c.dropped = append(c.dropped, *r)
			}
			c.addGaps(s.accepted)
		case !s.accepted.pass(r):
			c.dropped = append(c.dropped, *r)
		default:
			room -= size
			c.kept = append(c.kept, keptRecord{payload: s.enc.payloads[i]})
		}
	}
	return c
}

// endAfter makes the Gaps made here end the books also of readers that have recs, from a Write that was not confirmed.
func (c *choice) endAfter(recs []marketprism.Record) {
	for _, kept := range c.kept {
		if kept.gap == nil || kept.gap.Gap.Err != ErrFull {
			continue
		}
		for i := range recs {
			if u := recs[i].Update; u != nil && recs[i].Instrument == kept.gap.Instrument {
				kept.gap.Gap.After = max(kept.gap.Gap.After, u.LastID)
			}
		}
	}
}

// addGaps moves pending gaps to c.
func (c *choice) addGaps(g *gapTracker) {
	for _, gap := range g.takeGaps(nil) {
		c.kept = append(c.kept, keptRecord{gap: &gap})
	}
}

// gapsFrom returns the gaps from the nth record on.
func (c *choice) gapsFrom(n int) (gaps []marketprism.Record) {
	for _, kept := range c.kept[n:] {
		if kept.gap != nil {
			gaps = append(gaps, *kept.gap)
		}
	}
	return gaps
}

// storeChosen stores the kept records, and returns how many of them are on disk.
func (s *Spill) storeChosen(c choice) (stored int, err error) {
	payloads := make([][]byte, len(c.kept))
	for i, kept := range c.kept {
		payloads[i] = kept.payload
		if kept.gap == nil {
			continue
		}
		if payloads[i], err = s.enc.one(kept.gap); err != nil {
			return 0, fmt.Errorf("sink: the Gap of %v: %w", kept.gap.Instrument, err)
		}
	}
	return s.appendPayloads(payloads)
}

// room returns how many bytes may be appended.
func (s *Spill) room() int64 { return s.cfg.MaxBytes - s.queue.Stats().Bytes }

// full counts and reports a Write that found no room.
func (s *Spill) full() {
	s.mu.Lock()
	s.stats.Full++
	s.mu.Unlock()
	queued := s.queue.Stats()
	hook.Call(s.cfg.Hooks.Full, FullInfo{Overflow: s.cfg.Overflow, Records: queued.Payloads, Bytes: int(queued.Bytes)})
}

func (s *Spill) append(payloads [][]byte) error {
	_, err := s.appendPayloads(payloads)
	return err
}

func (s *Spill) appendPayloads(payloads [][]byte) (n int, err error) {
	n, err = s.queue.Append(payloads)
	if n > 0 {
		s.mu.Lock()
		s.stats.Spilled += uint64(n)
		s.mu.Unlock()
		s.wake()
	}
	switch {
	case errors.Is(err, wal.ErrClosed):
		err = ErrClosed
	case err != nil:
		err = &DiskError{err}
	}
	return n, err
}
