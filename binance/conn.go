package binance

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/internal/backoff"
)

// A RotateReason is why a connection is replaced by a new one.
type RotateReason uint8

// The reasons to replace a connection.
const (
	RotateAge      RotateReason = 1 // it approaches the age at which the exchange ends it
	RotateShutdown RotateReason = 2 // the exchange has announced that it ends it
	RotateRequest  RotateReason = 3 // DepthSyncer.Rotate was called
	RotateSilent   RotateReason = 4 // a watchdog found it silent, though it is open
)

var rotateReasons = [...]string{RotateAge: "age", RotateShutdown: "shutdown", RotateRequest: "request", RotateSilent: "silent"}

// String returns the reason's one-word name, "unknown" for a value that is none of the constants.
func (r RotateReason) String() string {
	if r == 0 || int(r) >= len(rotateReasons) {
		return "unknown"
	}
	return rotateReasons[r]
}

// A conn is one websocket connection of a shard, from the attempt to open it to its end.
type conn struct {
	slot   *connSlot
	index  int // in connSet.conns, and in the legs of every arbiter
	cancel context.CancelFunc
	queue  *frameQueue
	outbox *outbox

	// Set once it is open. Only the shard's goroutine uses these.
	stream     *Stream
	opened     time.Time
	heardAt    time.Time // local clock, of the last event
	subscribed bool      // all streams were acknowledged
}

// isOpen reports whether the connection exists and is open.
func (c *conn) isOpen() bool { return c != nil && c.stream != nil }

// handledUntil reports whether every frame that was read before t has been handled.
func (c *conn) handledUntil(t time.Time) bool {
	return !c.heardAt.Before(t) || c.queue.length() == 0
}

// A connSlot is the place of one connection of a shard: the connection that fills it, and its
// replacement. A rotation is make-before-break: the replacement carries every stream before the old
// connection is closed, so the books never lose an event.
//
// web-socket-streams.md: "A single connection to stream.binance.com is only valid for 24 hours; expect
// to be disconnected at the 24 hour mark." Connections that were opened together must not be rotated
// together, so their ages differ.
type connSlot struct {
	number int

	current, next *conn // nil if there is none; both may be still opening
	dialAt        time.Time
	attempt       int
	delays        backoff.Backoff

	rotateAt    time.Time // when next is dialled; zero if current stays
	reason      RotateReason
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

// schedule sets when a connection that was opened at that time is rotated.
func (s *connSlot) schedule(opened time.Time) {
	s.rotateAt, s.nextAttempt = time.Time{}, 0
	s.nextDelays.Reset()
	if s.maxAge > 0 {
		s.rotateAt = opened.Add(s.maxAge - time.Duration(s.random.Int64N(int64(s.maxAge/8+1))))
		s.reason = RotateAge
	}
}

// rotating reports whether a replacement is on its way.
func (s *connSlot) rotating() bool { return s.next != nil || s.nextAttempt != 0 }

// rotate asks for a replacement, unless one is on its way.
func (s *connSlot) rotate(reason RotateReason, now time.Time) {
	if !s.rotating() {
		s.rotateAt, s.reason = now, reason
	}
}

// due returns when to dial a connection for the slot; zero if there is nothing to dial.
func (s *connSlot) due() time.Time {
	switch {
	case s.current == nil:
		return s.dialAt
	case !s.current.isOpen() || s.next != nil:
		return time.Time{}
	}
	return s.rotateAt
}

// fill puts a new connection into the slot and returns the number of the attempt to open it.
func (s *connSlot) fill(c *conn) (attempt int) {
	if s.current == nil {
		s.current = c
		s.attempt++
		return s.attempt
	}
	s.next = c
	s.nextAttempt++
	return s.nextAttempt
}

// replace makes the replacement the current connection and returns the old one.
func (s *connSlot) replace() (old *conn) {
	old = s.current
	s.current, s.next = s.next, nil
	s.attempt = 0
	s.delays.Reset()
	s.schedule(s.current.opened)
	return old
}

// free removes a connection that has ended, or could not be opened. One that was open for longer than
// lasted starts the delays over.
func (s *connSlot) free(c *conn, now time.Time, lasted time.Duration) {
	switch c {
	case s.next:
		s.next = nil
		s.rotateAt = now.Add(s.nextDelays.Next())
	case s.current:
		if !c.opened.IsZero() && now.Sub(c.opened) > lasted {
			s.delays.Reset()
			s.attempt = 0
		}
		s.current, s.next = s.next, nil
		switch {
		case s.current == nil:
			s.dialAt = now.Add(s.delays.Next())
		case s.current.isOpen():
			s.schedule(s.current.opened)
		}
	}
}

// A connSet is the connections of a shard. The shard's goroutine alone uses it, but for queueStats.
type connSet struct {
	slots   []*connSlot
	conns   [maxConns]*conn                      // nil where there is none
	queues  [maxConns]atomic.Pointer[frameQueue] // of those that are open
	running sync.WaitGroup                       // the goroutines of the connections, and of backfills
}

// reset makes the slots of a run.
func (cs *connSet) reset(shard int, cfg *DepthConfig, now time.Time) {
	cs.slots, cs.conns = nil, [maxConns]*conn{}
	for i := range cs.queues {
		cs.queues[i].Store(nil)
	}
	for i := range cfg.Redundancy {
		cs.slots = append(cs.slots, newConnSlot(shard*cfg.Redundancy+i, cfg, now))
	}
}

// add returns a connection for the slot, not yet open, and the number of the attempt to open it.
func (cs *connSet) add(s *connSlot, queue *frameQueue, outbox *outbox) (c *conn, attempt int) {
	c = &conn{slot: s, index: slices.Index(cs.conns[:], nil), outbox: outbox, queue: queue}
	cs.conns[c.index] = c
	return c, s.fill(c)
}

// remove removes a connection that has ended, or could not be opened.
func (cs *connSet) remove(c *conn, now time.Time, lasted time.Duration) {
	cs.conns[c.index] = nil
	cs.queues[c.index].Store(nil)
	c.slot.free(c, now, lasted)
}

// all iterates over the open connections.
func (cs *connSet) all(yield func(*conn) bool) {
	for _, c := range cs.conns {
		if c.isOpen() && !yield(c) {
			return
		}
	}
}

// connected reports whether any connection is open.
func (cs *connSet) connected() bool { return slices.ContainsFunc(cs.conns[:], (*conn).isOpen) }

// queueStats adds what is queued between the connections and their books. It is safe for concurrent use.
func (cs *connSet) queueStats(s *Stats) {
	for i := range cs.queues {
		if q := cs.queues[i].Load(); q != nil {
			s.Queued += q.length()
			s.QueueFrames += q.maxFrames
		}
	}
}
