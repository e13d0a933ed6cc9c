package sink

import (
	"context"
	"fmt"
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
	for i := range recs {
		if err := recs[i].Validate(); err != nil {
			return fmt.Errorf("sink: record %d of %d: %w", i, len(recs), err)
		}
	}
	if len(recs) == 0 {
		return nil
	}
	recs, direct, err := s.enter(recs)
	if err != nil || len(recs) == 0 {
		return err
	}
	if direct {
		err := s.writeDirect(ctx, recs)
		if err == nil || ctx.Err() != nil || s.permanent(err) {
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

// enter decides where recs go. Those that go directly it returns without what a hole has made useless.
func (s *Spill) enter(recs []marketprism.Record) (kept []marketprism.Record, direct bool, err error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, false, ErrClosed
	}
	gapWaits := s.accepted != nil && len(s.accepted.gaps) > 0
	if s.spilling || gapWaits || s.cfg.DirectTimeout == 0 {
		s.queueUp(SpillingInfo{Records: len(recs)})
		return recs, false, nil
	}
	var useless, lost []marketprism.Record
	if s.accepted != nil {
		recs, useless = s.accepted.useful(recs)
	}
	if s.passed.broken {
		recs, lost = s.passed.passAll(recs)
	}
	s.mu.Unlock()
	s.dropped(useless)
	s.dropped(lost)
	return recs, true, nil
}

func (s *Spill) writeDirect(ctx context.Context, recs []marketprism.Record) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.DirectTimeout)
	defer cancel()
	if err := s.dst.Write(ctx, recs); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Direct += uint64(len(recs))
	s.passed.holes.passAll(recs)
	if s.accepted != nil {
		s.accepted.passAll(recs)
	}
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
