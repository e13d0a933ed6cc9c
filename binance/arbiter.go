package binance

import (
	"cmp"
	"slices"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

const (
	maxConns = 4 // connections of a shard at a time: two that share its streams, and a replacement of each

	// settleTime is after how long a new connection carries a stream that is silent on every
	// connection: what happened before its subscription has arrived on the others by then.
	settleTime = 10 * time.Second

	// afterAck is how long after the acknowledgement of a subscription an event from before it may
	// still come on another connection.
	afterAck = 2 * time.Second

	// Events that are ahead of their stream stay pending for at most pendingTime, and at most
	// maxPending of a stream.
	pendingTime = 3 * time.Second
	maxPending  = 512
)

// An idRange is the place of an event in its stream: the ids after one id up to another one.
type idRange struct{ after, last int64 }

// add adds an id. One that does not follow begins a new range.
func (r *idRange) add(id int64) {
	if id != r.last+1 {
		r.after = id - 1
	}
	r.last = id
}

// before returns the first id of the range, if it ends just before an id; else 0.
func (r *idRange) before(id int64) int64 {
	if r.last == 0 || r.last != id-1 {
		return 0
	}
	return r.after + 1
}

// noPredecessor is the after of events that need no event before them.
const noPredecessor = -1 << 63

// An arbiter makes one sequence of a stream that several connections carry, each in order and each with
// its own delay. The first connection to bring an event wins. An event ahead of the sequence stays
// pending while another connection may bring those before it; ids are missing only once every
// connection has passed them. So a connection may join, lag or end at any moment, and whatever any
// of them brings is used.
type arbiter struct {
	lastID  int64 // of the sequence, once started
	started bool
	legs    [maxConns]leg

	newest      depthEvent // with the highest id, of every leg that there was; it outlives them
	belowSince  time.Time  // exchange clock, from when events end below newest; zero if they do not
	regressedAt time.Time  // exchange clock, when the venue's ids last went back
	newestTrade time.Time  // the latest exchange time of the trades used; the clock may have gone back since

	others idRange // the latest ids in a row that are no trades of the market: after one up to another; futures only

	backfill  *backfill   // the missing trades that are being fetched; nil if there are none
	backfills []*backfill // those to be fetched next, whose followers were used already

	pending      []pendingEvent // by id
	pendingSince time.Time      // local clock, when the first of them came
}

// A depthEvent is the last id of an event, and when the venue sent it.
type depthEvent struct {
	lastID int64
	sentAt time.Time
}

// serverSkew bounds how far the clocks of the venue's own servers are taken to be apart, as the archive has it.
const serverSkew = 5 * time.Second

// A leg is one connection's part in a stream.
type leg struct {
	acked bool      // the connection carries the stream
	since time.Time // local clock, when it began to
	whole bool      // the sequence started after since, so nothing is missing before it

	heard   bool      // the leg has brought an event since then
	lastID  int64     // of its latest event
	heardAt time.Time // local clock, of its latest event
	sentAt  time.Time // exchange clock, of its latest depth event

	reportedAt time.Time // local clock, when its silence was last reported
	regressed  bool      // the venue's ids have gone back and are still below the sequence
	outdated   bool      // another leg has shown that they have gone back, this one brings events from before
}

// aliveAt returns since when the leg has been silent, or when its silence was reported.
func (l *leg) aliveAt() time.Time {
	latest := l.since
	for _, t := range [...]time.Time{l.heardAt, l.reportedAt} {
		if t.After(latest) {
			latest = t
		}
	}
	return latest
}

// A pendingEvent is ahead of the sequence. One of update and trade is set.
type pendingEvent struct {
	idRange
	receivedAt time.Time
	update     *orderbook.Update
	trade      *marketprism.Trade
	eventTime  time.Time // of the trade
	other      string    // the type of a trade that is none of the market; "" for one that is
}

// A decision is what happens to an event.
type decision uint8

const (
	decisionUse       decision = iota // it is next, or no connection can bring what is missing before it
	decisionPend                      // it is ahead
	decisionDuplicate                 // another connection has brought it
	decisionRestart                   // it is the first since the venue's ids went back
)

// decide decides about an event of a leg. Each leg brings its events in order, so ids that go back on
// one leg are the venue's doing: such events are used, since they are news.
func (a *arbiter) decide(from int, r idRange, now time.Time) decision {
	l := &a.legs[from]
	l.regressed = a.started && r.last <= a.lastID && (l.regressed || l.heard && r.last < l.lastID)
	l.heard, l.lastID, l.heardAt = true, r.last, now
	switch {
	case !a.started:
		return decisionUse
	case r.after > a.lastID:
		if a.mayBringNext() || len(a.pending) > 0 {
			return decisionPend
		}
	case r.last <= a.lastID && !l.regressed && !a.alone(from):
		return decisionDuplicate
	}
	return decisionUse
}

// regress decides about a depth event of a leg before decide does, by the time at which the venue sent it. If it ends
// before the leg's event before it, and was sent later, the venue's ids have gone back: a repeated
// event, or one out of order, has its old time. The ids of a wiped testnet begin again at 0, and those of a young
// symbol reach the book's id again before MaxStale events have come. What other legs then still bring from
// before is a duplicate.
//
// A venue that is wiped closes its connections. So an event of any leg counts, also of the first one after all had ended,
// if it ends below the highest id and was sent more than serverSkew after that.
func (a *arbiter) regress(from int, last int64, sentAt time.Time) decision {
	l := &a.legs[from]
	back, before := l.heard && last < l.lastID, l.sentAt
	l.sentAt = sentAt
	switch {
	case l.outdated && !back && sentAt.Before(a.regressedAt) && !a.alone(from):
		return decisionDuplicate
	case l.outdated:
		l.outdated, l.heard = false, false
		return decisionUse
	case back && sentAt.After(before):
		a.regressedAt = sentAt
	case a.staysBelow(last, sentAt):
		a.regressedAt = a.belowSince
	default:
		return decisionUse
	}
	for i := range a.legs {
		a.legs[i].outdated = i != from && a.legs[i].heard
	}
	a.forgetNewest()
	return decisionRestart
}

// staysBelow reports whether events end below the highest id for longer than clocks are apart.
func (a *arbiter) staysBelow(last int64, sentAt time.Time) bool {
	switch {
	case sentAt.Before(a.regressedAt): // of a leg that was not heard before
		return false
	case last >= a.newest.lastID:
		a.newest, a.belowSince = depthEvent{last, sentAt}, time.Time{}
		return false
	case a.belowSince.IsZero() && sentAt.After(a.newest.sentAt):
		a.belowSince = sentAt
	}
	return sentAt.Sub(a.newest.sentAt) > serverSkew
}

// forgetNewest says that the ids of the venue have begun again.
func (a *arbiter) forgetNewest() { a.newest, a.belowSince = depthEvent{}, time.Time{} }

// alone reports whether no other leg carries the stream.
func (a *arbiter) alone(leg int) bool {
	for i := range a.legs {
		if i != leg && a.legs[i].acked {
			return false
		}
	}
	return true
}

// mayBringNext reports whether some leg has not passed the end of the sequence, and so may bring what
// follows it.
func (a *arbiter) mayBringNext() bool {
	for i := range a.legs {
		if l := &a.legs[i]; l.acked && (!l.heard || l.lastID <= a.lastID) {
			return true
		}
	}
	return false
}

// awaitsBackfill reports whether trades that follow the sequence are being fetched.
func (a *arbiter) awaitsBackfill() bool { return a.backfill != nil && a.backfill.last > a.lastID }

// advance sets the end of the sequence.
func (a *arbiter) advance(lastID int64) { a.started, a.lastID = true, lastID }

// pend keeps an event that is ahead. It reports whether there is room for more.
func (a *arbiter) pend(e pendingEvent) (room bool) {
	i, found := slices.BinarySearchFunc(a.pending, e.last, func(p pendingEvent, last int64) int { return cmp.Compare(p.last, last) })
	if found {
		return true // of another leg
	}
	if len(a.pending) == 0 {
		a.pendingSince = e.receivedAt
	}
	a.pending = slices.Insert(a.pending, i, e)
	return len(a.pending) < maxPending
}

// next removes and returns the first pending event that can be used now; with force, the first one.
func (a *arbiter) next(force bool) (pendingEvent, bool) {
	for len(a.pending) > 0 {
		e := a.pending[0]
		if !force && a.started && e.after > a.lastID && (a.mayBringNext() || a.awaitsBackfill()) {
			return pendingEvent{}, false
		}
		a.pending = slices.Delete(a.pending, 0, 1)
		if len(a.pending) > 0 {
			a.pendingSince = a.pending[0].receivedAt
		}
		if !a.started || e.last > a.lastID {
			return e, true
		}
	}
	a.pending = nil
	return pendingEvent{}, false
}

// restart forgets the sequence; the next event starts a new one, of which every leg carries all.
func (a *arbiter) restart() {
	a.started, a.pending = false, nil
	for i := range a.legs {
		a.legs[i].whole = true
	}
}

// addLeg says that a connection carries the stream from now on.
func (a *arbiter) addLeg(i int, now time.Time) {
	l := &a.legs[i]
	l.acked, l.since, l.whole = true, now, false
}

// removeLeg says that a connection no longer carries the stream.
func (a *arbiter) removeLeg(i int) { a.legs[i] = leg{} }

// legLost says that a connection has lost events. It carries those that come after.
func (a *arbiter) legLost(i int, now time.Time) {
	a.legs[i] = leg{acked: a.legs[i].acked, since: now}
}

// carried reports whether some leg carries the stream.
func (a *arbiter) carried() bool {
	return slices.ContainsFunc(a.legs[:], func(l leg) bool { return l.acked })
}

// continued reports whether some leg continues the sequence.
func (a *arbiter) continued(now time.Time) bool {
	for i := range a.legs {
		if a.continues(i, now) {
			return true
		}
	}
	return false
}

// continues reports whether the events of a leg follow the sequence without a missing range: they have
// met it, or all from before the leg must have arrived by now.
func (a *arbiter) continues(i int, now time.Time) bool {
	l := &a.legs[i]
	return l.acked && (l.whole || a.met(l) || now.Sub(l.since) >= settleTime)
}

// met reports whether a leg has brought an event that lies within the sequence.
func (a *arbiter) met(l *leg) bool { return l.heard && a.started && l.lastID <= a.lastID }

// canReplace reports whether the leg to can take over from the leg from: its own events have met the
// sequence, or the stream is silent on both.
func (a *arbiter) canReplace(from, to int, now time.Time) bool {
	t, f := &a.legs[to], &a.legs[from]
	switch {
	case !t.acked:
		return false
	case t.heard:
		return a.met(t)
	}
	return now.Sub(t.since) >= settleTime && f.heardAt.Before(t.since.Add(afterAck))
}
