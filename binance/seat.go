package binance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/hook"
)

// checkEvery is how often it is looked whether a replacement carries every stream.
const checkEvery = 200 * time.Millisecond

// A connSlot is one place for a connection in a feed: the connection that fills it, and the one that is to
// replace it. A connection is replaced before it ends: the new one carries every stream before the old
// one is closed, so that no book notices.
//
// web-socket-streams.md: "A single connection to stream.binance.com is only valid for 24 hours; expect
// to be disconnected at the 24 hour mark." Connections opened together must not be replaced together,
// hence their ages differ.
type connSlot struct {
	number int

	current, next *conn // nil if there is none; both may be still opening
	dialAt        time.Time
	attempt       int
	delays        backoff.Backoff

	replaceAt   time.Time // when next is to be dialled; zero if current is to stay
	why         RotateReason
	nextAttempt int
	nextDelays  backoff.Backoff
	maxAge      time.Duration
	random      *rand.Rand // of its delays and ages
}

func newConnSlot(number int, cfg *DepthConfig, now time.Time) *connSlot {
	random := cfg.random(uint64(number))
	delays := backoff.Backoff{Min: cfg.ReconnectMin, Max: cfg.ReconnectMax, Rand: random}
	return &connSlot{number: number, dialAt: now, delays: delays, nextDelays: delays, maxAge: cfg.MaxConnAge, random: random}
}

// plan decides when a connection that was opened at that time is replaced.
func (s *connSlot) plan(opened time.Time) {
	s.replaceAt, s.nextAttempt = time.Time{}, 0
	s.nextDelays.Reset()
	if s.maxAge > 0 {
		s.replaceAt = opened.Add(s.maxAge - time.Duration(s.random.Int64N(int64(s.maxAge/8+1))))
		s.why = RotateAge
	}
}

// want asks for a replacement, unless one is under way.
func (s *connSlot) want(why RotateReason, now time.Time) {
	if s.next == nil && s.nextAttempt == 0 {
		s.replaceAt, s.why = now, why
	}
}

// staff dials what is missing and due, and says when to look again.
func (f *shard) staff(ctx context.Context) {
	for _, s := range f.seats {
		switch {
		case s.current == nil && !f.now.Before(s.dialAt):
			s.attempt++
			s.current = f.dial(ctx, s, s.attempt)
		case s.current == nil:
			f.arm(s.dialAt)
		case s.current.stream == nil || s.next != nil || s.replaceAt.IsZero():
		case !f.now.Before(s.replaceAt):
			s.nextAttempt++
			s.next = f.dial(ctx, s, s.nextAttempt)
		default:
			f.arm(s.replaceAt)
		}
	}
}

// handOver closes the old connections whose replacements carry every stream, and gives up
// replacements that do not in time.
func (f *shard) handOver(ctx context.Context) error {
	for _, s := range f.seats {
		if s.next == nil || s.next.stream == nil {
			continue
		}
		if !s.next.acks.due.IsZero() {
			continue
		}
		waiting := f.waitingFor(s)
		if waiting == "" {
			if err := f.replace(ctx, s); err != nil {
				return err
			}
			continue
		}
		if f.now.Sub(s.next.acks.last) > handoverPatience {
			if err := f.drop(ctx, s.next, fmt.Errorf("%w: nothing of %s", ErrHandover, waiting)); err != nil {
				return err
			}
			continue
		}
		f.arm(f.now.Add(checkEvery))
	}
	return nil
}

// waitingFor returns a stream that the replacement does not carry yet; "" if there is none.
func (f *shard) waitingFor(s *connSlot) string {
	for _, st := range f.ordered {
		if !st.merge.continues(s.current.slot, s.next.slot, f.now) {
			return st.name
		}
	}
	return ""
}

func (f *shard) replace(ctx context.Context, s *connSlot) error {
	old, next, why := s.current, s.next, s.why
	s.current, s.next = next, nil
	s.attempt = 0
	s.delays.Reset()
	s.plan(next.opened)
	f.count.rotations.Add(1)
	err := f.drop(ctx, old, ErrReplaced)
	hook.Call(f.syncer.client.hooks.Rotated, RotateInfo{
		Conn: s.number, Reason: why, Streams: len(f.streams), Age: f.now.Sub(old.opened), Overlap: f.now.Sub(next.opened),
	})
	return err
}

// vacate takes a connection that has ended, or could not be opened, out of its seat.
func (f *shard) vacate(l *conn) {
	s := l.seat
	f.links[l.slot] = nil
	f.queues[l.slot].Store(nil)
	switch l {
	case s.next:
		s.next = nil
		s.replaceAt = f.now.Add(s.nextDelays.Next())
		f.arm(s.replaceAt)
	case s.current:
		if !l.opened.IsZero() && f.now.Sub(l.opened) > f.syncer.cfg.ReconnectMax {
			s.delays.Reset()
			s.attempt = 0
		}
		s.current, s.next = s.next, nil
		if s.current == nil {
			s.dialAt = f.now.Add(s.delays.Next())
			f.arm(s.dialAt)
		} else if s.current.stream != nil {
			s.plan(s.current.opened)
			f.arm(s.replaceAt)
		}
	}
}
