package orderbook_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// simFaults are the chances of each fault, in a thousand.
type simFaults struct {
	loss, reported, duplicate, swap, invalid int // per frame; reported is a loss that the driver noticed
	fail, hang, late, stale, cut, twice      int // per snapshot
	disconnect, overlap, reset, silly        int // per second
	quiet, burst                             int // per change: a pause of seconds, many changes at once
	refresh                                  int // per second; no fault, but it may come at any moment
}

// honest tells whether nothing is lost behind the driver's back.
func (f *simFaults) honest() bool {
	return f.loss == 0 && f.swap == 0 && f.stale == 0 && f.reset == 0
}

// rollFaults selects the faults of a run: few in each, so that every fault also occurs without most
// others, which could hide what it does.
func rollFaults(roll dice) simFaults {
	var f simFaults
	for _, chance := range []*int{
		&f.loss, &f.reported, &f.duplicate, &f.swap, &f.invalid, &f.fail, &f.hang, &f.late, &f.stale, &f.cut,
		&f.twice, &f.disconnect, &f.overlap, &f.reset, &f.silly, &f.quiet, &f.burst,
		&f.refresh,
	} {
		if roll(3) == 2 {
			*chance = []int{10, 40, 150, 400}[roll(4)]
		}
	}
	if roll(2) == 1 {
		f.loss, f.swap, f.stale, f.reset = 0, 0, 0, 0
	}
	return f
}

var errSim = errors.New("simulated fault")

// trade makes the venue's changes.
func (s *sim) trade() {
	pause := time.Duration(20+s.roll(150)) * time.Millisecond
	s.venue.change()
	switch {
	case s.roll.chance(s.faults.quiet / 8):
		pause = time.Duration(1+s.roll(8)) * time.Second
	case s.roll.chance(s.faults.burst / 4):
		for range s.roll(40) {
			s.transmit(0, s.venue.flush(0))
			s.venue.change()
		}
	}
	s.after(pause, s.trade)
}

// send ends a batch of a connection every period.
func (s *sim) send(connection int, period time.Duration) {
	s.transmit(connection, s.venue.flush(connection))
	s.after(period, func() { s.send(connection, period) })
}

// eachSecond lets something happen to the connection, the ids, or the driver's reason.
func (s *sim) eachSecond() {
	s.after(time.Second, s.eachSecond)
	switch {
	case s.online && s.roll.chance(s.faults.disconnect):
		s.disconnect()
	case s.online && s.roll.chance(s.faults.overlap):
		s.overlap = !s.overlap
	case s.roll.chance(s.faults.reset) && s.venue.reset():
		s.logf("the ids go back to %d", s.venue.counter)
	case s.roll.chance(s.faults.silly):
		s.beSilly()
	}
	if s.roll.chance(s.faults.refresh) {
		s.after(time.Duration(s.roll(1000))*time.Millisecond, func() { s.obey("refresh")(s.refreshNow(s.now)) })
	}
	if s.honest && s.synced && s.inFlight == 0 && !s.current() {
		s.fail("a synced book at %d; all up to %d was sent, and no loss went unreported", s.book.lastID, s.venue.sent())
	}
}

func (s *sim) connect() {
	s.online = true
	s.obey("connected")(s.connected(s.now))
}

// disconnect loses what is on its way, and connects again some time later.
func (s *sim) disconnect() {
	s.online, s.overlap, s.held, s.inFlight = false, false, nil, 0
	s.generation++
	s.obey("disconnected")(s.disconnected(s.now, errSim))
	s.after(time.Duration(s.roll(4000))*time.Millisecond, func() {
		if !s.online {
			s.connect()
		}
	})
}

// beSilly makes calls that have no reason and must have no effect.
func (s *sim) beSilly() {
	if s.online {
		s.obey("connected again")(s.connected(s.now))
		s.obey("early tick")(s.tick(s.now))
		return
	}
	s.obey("disconnected again")(s.disconnected(s.now, errSim))
	s.obey("update without a connection")(s.update(s.now, &orderbook.Update{FirstID: 1, LastID: s.venue.counter + 5}))
	s.obey("resync without a connection")(s.resync(s.now, orderbook.Gap{Reason: orderbook.GapInvalid}))
}

// transmit puts a frame on a connection, which takes its time and keeps its order.
func (s *sim) transmit(connection int, u *orderbook.Update) {
	if u == nil || !s.online || connection == 1 && !s.overlap {
		return
	}
	at := s.now.Add(time.Duration(1+s.roll(60)) * time.Millisecond)
	if at.Before(s.arrival) {
		at = s.arrival
	}
	s.arrival = at
	s.inFlight++
	generation := s.generation
	s.after(at.Sub(s.now), func() {
		if generation == s.generation {
			s.inFlight--
			s.receive(u)
		}
	})
}

// receive is a frame's arrival, with whatever befalls it.
func (s *sim) receive(u *orderbook.Update) {
	f := &s.faults
	switch {
	case s.roll.chance(f.loss):
		s.logf("update %d-%d is lost", u.FirstID, u.LastID)
	case s.roll.chance(f.reported):
		s.obey("update %d-%d is lost and reported", u.FirstID, u.LastID)(
			s.resync(s.now, orderbook.Gap{Reason: orderbook.GapOverflow, Err: errSim}))
	case s.roll.chance(f.invalid / 4):
		s.deliver(&orderbook.Update{FirstID: u.LastID + 1, LastID: u.LastID, PrevLastID: u.PrevLastID, Bids: u.Bids, Asks: u.Asks})
	case s.held == nil && s.roll.chance(f.swap):
		s.held = u
	case s.roll.chance(f.duplicate):
		s.deliver(u)
		generation := s.generation
		s.after(time.Duration(s.roll(2000))*time.Millisecond, func() {
			if generation == s.generation {
				s.deliver(u)
			}
		})
	default:
		s.deliver(u)
		if held := s.held; held != nil {
			s.held = nil
			s.deliver(held)
		}
	}
}

// deliver gives the Syncer a copy that is spoilt afterwards, since it must not be kept.
func (s *sim) deliver(u *orderbook.Update) {
	u = u.Clone()
	s.obey("update %d-%d (pu %d) %s", u.FirstID, u.LastID, u.PrevLastID, sideCounts(u.Bids, u.Asks))(s.update(s.now, u))
	spoil(u.Bids, u.Asks)
}

// request is the REST service: it takes the snapshot after a while, and the answer takes another.
func (s *sim) request(id orderbook.FetchID) {
	f := &s.faults
	s.after(time.Duration(1+s.roll(40))*time.Millisecond, func() {
		delay := time.Duration(1+s.roll(40)) * time.Millisecond
		book := s.venue.snapshot(s.roll.chance(f.stale))
		depth := 0
		switch {
		case s.roll.chance(f.hang):
			s.logf("fetch %d hangs", id)
			return
		case s.roll.chance(f.fail):
			s.after(delay, func() { s.obey("fetch %d fails", id)(s.snapshotFailed(s.now, id, errSim)) })
			return
		case s.roll.chance(f.late):
			delay += time.Duration(s.roll(5000)) * time.Millisecond
		case s.roll.chance(f.cut):
			depth = 1 + s.roll(10)
		}
		s.after(delay, func() { s.answer(id, book, depth) })
		if s.roll.chance(f.twice) {
			s.after(delay+time.Duration(s.roll(3000))*time.Millisecond, func() { s.answer(id, book, depth) })
		}
	})
}

func (s *sim) answer(id orderbook.FetchID, book *oracleBook, depth int) {
	snap := book.snapshot(depth)
	s.obey("fetch %d: snapshot %d %s", id, snap.LastID, sideCounts(snap.Bids, snap.Asks))(s.snapshot(s.now, id, snap))
	spoil(snap.Bids, snap.Asks)
}

// spoil makes garbage of levels that nobody may hold on to.
func spoil(sides ...[]orderbook.Level) {
	for _, side := range sides {
		for i := range side {
			side[i] = orderbook.Level{Price: -7, Quantity: -7}
		}
	}
}

type sideCount struct{ bids, asks int }

func sideCounts(bids, asks []orderbook.Level) sideCount { return sideCount{len(bids), len(asks)} }

func (c sideCount) String() string { return fmt.Sprintf("with %d bids, %d asks", c.bids, c.asks) }
