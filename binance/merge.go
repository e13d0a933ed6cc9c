package binance

import (
	"slices"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

const (
	maxConns = 4 // connections of a feed at a time: two that share its streams, and a replacement of each

	// settleTime is after how long a new connection carries a stream that has said nothing on any
	// connection meanwhile: what happened before its subscription has arrived on the others by then.
	settleTime = 10 * time.Second

	// Events that are ahead wait so long, and so many of a stream, for a connection that brings those
	// before them.
	holdTime = 3 * time.Second
	maxHeld  = 512
)

// An idRange is where an event lies in its stream: it follows what reaches up to the id after, and itself
// reaches up to the id last.
type idRange struct{ after, last int64 }

// noPredecessor is the after of events that need nothing before them.
const noPredecessor = -1 << 63

// An arbiter makes one sequence of a stream that several connections carry, each in order and each with
// its own delay. The first to bring an event wins. An event ahead of the sequence, whose predecessors
// another connection may still bring, is held; it shows a hole only once every connection has passed
// the place. So a connection may join, lag or die at any moment, and nothing is missed that any of
// them has brought.
type arbiter struct {
	at    int64 // the sequence reaches up to this id, once begun
	begun bool
	legs  [maxConns]leg

	newest time.Time // of the trades that have passed; exchange clock

	filling *backfill // what is being fetched of a stream of trades; nil if nothing is

	held  []pendingEvent // in order of id
	since time.Time      // when the oldest of them came; local clock
}

// A leg is what one connection carries of a stream.
type leg struct {
	acked bool      // it carries the stream
	since time.Time // all from this time on; local clock
	whole bool      // what was before is no concern: the sequence began after it

	heard bool      // since then it has brought something,
	seen  int64     // lately up to this id,
	last  time.Time // at this time; local clock

	watched time.Time // when its silence was acted on last; local clock
	back    bool      // the venue's ids have gone back on it, and not yet come up to the sequence again
}

// A pendingEvent is ahead of the sequence. One of update and trade is set.
type pendingEvent struct {
	idRange
	receivedAt time.Time
	update     *orderbook.Update
	trade      *marketprism.Trade
	eventTime  time.Time // of the trade
}

// A decision is what to do with an event.
type decision uint8

const (
	pass      decision = iota // it is next, or nobody can bring what is missing before it
	wait                      // it is ahead: hold it
	duplicate                 // another connection has brought it
)

// decide rules on an event that a lane has brought. What a lane brings is in order, so ids that go back
// on one lane are the venue's doing: such events pass, for they must not be missed.
func (m *arbiter) decide(from int, s idRange, now time.Time) decision {
	l := &m.legs[from]
	l.back = m.begun && s.last <= m.at && (l.back || l.heard && s.last < l.seen)
	l.heard, l.seen, l.last = true, s.last, now
	switch {
	case !m.begun:
		return pass
	case s.after > m.at:
		if m.mayFill() || len(m.held) > 0 {
			return wait
		}
	case s.last <= m.at && !l.back && !m.alone(from):
		return duplicate
	}
	return pass
}

// alone tells whether no other lane carries the stream.
func (m *arbiter) alone(lane int) bool {
	for i := range m.legs {
		if i != lane && m.legs[i].acked {
			return false
		}
	}
	return true
}

// mayFill tells whether some lane has not passed the end of the sequence and may bring what follows it.
func (m *arbiter) mayFill() bool {
	for i := range m.legs {
		if l := &m.legs[i]; l.acked && (!l.heard || l.seen <= m.at) {
			return true
		}
	}
	return false
}

// reach says that the sequence now ends at that id.
func (m *arbiter) reach(at int64) { m.begun, m.at = true, at }

// hold keeps an event that is ahead. It is false if there are too many; the event is kept all the same.
func (m *arbiter) hold(h pendingEvent) bool {
	i, found := slices.BinarySearchFunc(m.held, h.last, func(a pendingEvent, last int64) int {
		switch {
		case a.last < last:
			return -1
		case a.last > last:
			return 1
		}
		return 0
	})
	if found {
		return true // of another lane
	}
	if len(m.held) == 0 {
		m.since = h.receivedAt
	}
	m.held = slices.Insert(m.held, i, h)
	return len(m.held) < maxHeld
}

// next takes the oldest held event if its turn has come; with force, in any case.
func (m *arbiter) next(force bool) (pendingEvent, bool) {
	for len(m.held) > 0 {
		h := m.held[0]
		if !force && m.begun && h.after > m.at && (m.mayFill() || m.filling != nil) {
			return pendingEvent{}, false
		}
		m.held = slices.Delete(m.held, 0, 1)
		if len(m.held) > 0 {
			m.since = m.held[0].receivedAt
		}
		if !m.begun || h.last > m.at {
			return h, true
		}
	}
	m.held = nil
	return pendingEvent{}, false
}

// restart forgets the sequence; the next event begins it anew, and every lane carries all of it.
func (m *arbiter) restart() {
	m.begun, m.held = false, nil
	for i := range m.legs {
		m.legs[i].whole = true
	}
}

// join says that a lane carries the stream from now on.
func (m *arbiter) join(i int, now time.Time) {
	l := &m.legs[i]
	l.acked, l.since, l.whole = true, now, false
}

// leave ends a lane.
func (m *arbiter) leave(i int) { m.legs[i] = leg{} }

// skip says that a lane has lost something. It carries all that comes after.
func (m *arbiter) skip(i int, now time.Time) {
	m.legs[i] = leg{acked: m.legs[i].acked, since: now}
}

// carried tells whether some lane carries the stream.
func (m *arbiter) carried() bool {
	for i := range m.legs {
		if m.legs[i].acked {
			return true
		}
	}
	return false
}

// sound tells whether some lane is known to carry the stream without a hole before it.
func (m *arbiter) sound(now time.Time) bool {
	for i := range m.legs {
		if m.joined(i, now) {
			return true
		}
	}
	return false
}

// joined tells whether what a lane brings continues the sequence: its events have met it, or so much
// time has passed that nothing from before it can be missing.
func (m *arbiter) joined(i int, now time.Time) bool {
	l := &m.legs[i]
	return l.acked && (l.whole || l.heard && m.begun && l.seen <= m.at || now.Sub(l.since) >= settleTime)
}
