package sink

import (
	"context"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
)

// Write hands recs to the destination, waiting up to DirectTimeout, or else puts them on the disk. Under
// Block it waits for room there. Apart from the error of ctx, its errors are marketprism.ErrKind,
// that of Encode, ErrTooLarge, ErrFull, ErrClosed, *DiskError, wrapped, and what Permanent is true for. A
// prefix of recs may be accepted then; writing all of them again is safe.
func (s *Spill) Write(ctx context.Context, recs []marketprism.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := validate(recs); err != nil {
		return err
	}
	if len(recs) == 0 {
		return nil
	}
	e, err := s.enter(recs)
	if err != nil {
		return err
	}
	if e.direct {
		err := s.writeDirect(ctx, recs, e)
		if err == nil || ctx.Err() != nil || Permanent(err) {
			return err
		}
		s.mu.Lock()
		s.queueUp(SpillingInfo{Records: len(recs), Err: err})
	}
	defer s.leave()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.store(ctx, recs)
}

// An entry is where a Write goes. One that goes directly goes without what a hole has made useless, and
// with a Gap for each book of which a damage may have taken something.
type entry struct {
	direct bool
	broken bool // as delivery.broken was

	recs           []marketprism.Record
	useless, later []marketprism.Record // behind holes at the end of the queue, and behind damage in it
}

// enter decides where recs go, and notes nothing but that: a Write that fails is written again.
func (s *Spill) enter(recs []marketprism.Record) (entry, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return entry{}, ErrClosed
	}
	gapWaits := s.accepted != nil && len(s.accepted.gaps) > 0
	if s.spilling || gapWaits || s.cfg.DirectTimeout == 0 {
		s.queueUp(SpillingInfo{Records: len(recs)})
		return entry{}, nil
	}
	defer s.mu.Unlock()
	e := entry{direct: true, broken: s.passed.broken, recs: recs}
	if s.accepted != nil {
		e.recs, e.useless = s.accepted.useful(e.recs)
	}
	if e.broken {
		e.recs, e.later = s.passed.useful(e.recs)
	}
	return e, nil
}

// writeDirect hands recs on as e says, and then notes that they were taken.
func (s *Spill) writeDirect(ctx context.Context, recs []marketprism.Record, e entry) error {
	if len(e.recs) > 0 {
		ctx, cancel := context.WithTimeout(ctx, s.cfg.DirectTimeout)
		defer cancel()
		if err := s.dst.Write(ctx, e.recs); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.stats.Direct += uint64(len(e.recs))
	if e.broken {
		s.passed.passAll(recs)
	} else {
		s.passed.holes.passAll(e.recs)
	}
	if s.accepted != nil {
		s.accepted.passAll(e.recs)
	}
	s.mu.Unlock()
	s.dropped(e.useless)
	s.dropped(e.later)
	return nil
}

// queueUp counts a Write that is on its way to the queue: until it leaves, Run cannot find the queue
// empty and send others directly. s.mu is held, and unlocked.
func (s *Spill) queueUp(info SpillingInfo) {
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

// leave ends what queueUp began.
func (s *Spill) leave() {
	s.mu.Lock()
	s.writers--
	s.mu.Unlock()
	s.wake()
}
