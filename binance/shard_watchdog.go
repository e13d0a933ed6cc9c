package binance

import (
	"errors"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

const (
	watchEvery = 5 * time.Second // between two looks at all streams

	// A tick of a shard is due after beatEvery at the latest. One that is late by pauseBound ends a pause.
	beatEvery  = time.Second / 2
	pauseBound = time.Second

	// longPause is how late a tick must be so that all bounds start over. Shorter pauses are far below them, and a
	// Handler that is slow now and then must not keep a watchdog from what it is for.
	longPause = 5 * time.Second

	// provenSilence is how long after a bookTicker beyond a book's id the depth event that contains the
	// id may still come. Both are of one book, and depth events leave at least once a second.
	provenSilence = 10 * time.Second
)

// A WatchReason is what a watchdog found.
type WatchReason uint8

// What watchdogs find.
const (
	WatchNoPing    WatchReason = 1 // a connection brings events but no ping; it is replaced
	WatchNoEvents  WatchReason = 2 // a connection brings pings but no event; it is replaced
	WatchQuiet     WatchReason = 3 // a stream is silent while others of its connection are not; it is subscribed again, and its book refreshed
	WatchDeadDepth WatchReason = 4 // bookTicker, or on spot a snapshot, shows changes that a depth stream does not; it is subscribed again, and its book resynced
)

var watchReasons = [...]string{WatchNoPing: "no ping", WatchNoEvents: "no events", WatchQuiet: "quiet", WatchDeadDepth: "dead depth"}

// String returns the reason in one or two words, "unknown" for a value that is none of the constants.
func (r WatchReason) String() string {
	if r == 0 || int(r) >= len(watchReasons) {
		return "unknown"
	}
	return watchReasons[r]
}

// A tickerLag is a bookTicker's update id that a book has not reached.
type tickerLag struct {
	id    int64
	since time.Time // zero if there is none
}

// A finding is one thing that the watchdog found dead.
type finding struct {
	conn   *conn         // nil of a depth stream
	sub    *subscription // nil of a whole connection
	reason WatchReason
	silent time.Duration
}

// A watchdog finds what is open and acknowledged, and not alive. A subscription of a stream that does
// not exist, or that is served on another route, is acknowledged and stays silent, and so may one that
// the exchange has lost. Time in which nothing could be read, since the process was stopped, the Handler
// took long or a queue was full, is no silence: every bound starts over after it.
type watchdog struct {
	market *market
	bound  time.Duration // of the silence of streams and connections; not positive means any
	at     time.Time     // of the next look
	beat   time.Time     // when the shard's next tick is due at the latest
	woken  time.Time     // end of the last pause; zero if there was none
	afresh time.Time     // the same of a long one
}

// tick notes that the shard's goroutine has got to a tick, and returns how long it was kept from it; 0 if it
// was in time.
func (w *watchdog) tick(now time.Time) (pause time.Duration) {
	if late := now.Sub(w.beat); late >= pauseBound {
		pause, w.woken = late, now
		if late >= longPause {
			w.afresh = now
		}
	}
	if !now.Before(w.beat) {
		w.beat = now.Add(beatEvery)
	}
	return pause
}

// readSince returns since when nothing has kept the frames of a connection from being read for long.
func (w *watchdog) readSince(now time.Time, c *conn) time.Time {
	return later(c.stream.readSince(now), w.afresh)
}

// readAllSince is readSince for all connections.
func (w *watchdog) readAllSince(now time.Time, conns *connSet) time.Time {
	since := w.afresh
	for c := range conns.all {
		since = later(since, w.readSince(now, c))
	}
	return since
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// look returns what is dead, if the time for it has come.
func (w *watchdog) look(now time.Time, conns *connSet, streams *streamSet) (found []finding) {
	if now.Before(w.at) {
		return nil
	}
	w.at = now.Add(watchEvery)
	for c := range conns.all {
		found = w.lookAtConn(now, c, streams, found)
	}
	since := w.readAllSince(now, conns)
	for _, sub := range streams.ordered {
		if !sub.depth {
			continue
		}
		ticker := streams.byName[StreamName(sub.book.instrument.Symbol, w.market.ticker)]
		if ticker == nil {
			break // no symbol has one
		}
		if silent, dead := sub.behindTicker(now, since, ticker.arbiter.lastID); dead {
			found = append(found, finding{sub: sub, reason: WatchDeadDepth, silent: silent})
		}
	}
	return found
}

func (w *watchdog) lookAtConn(now time.Time, c *conn, streams *streamSet, found []finding) []finding {
	replaceable := c == c.slot.current && !c.slot.rotating()
	since := w.readSince(now, c)
	switch unpinged, silent := now.Sub(later(c.stream.pingedAt(), since)), now.Sub(later(c.heardAt, since)); {
	case replaceable && unpinged > w.market.silence:
		return append(found, finding{conn: c, reason: WatchNoPing, silent: unpinged})
	case replaceable && w.bound > 0 && silent > w.bound && len(streams.byName) > 0:
		return append(found, finding{conn: c, reason: WatchNoEvents, silent: silent})
	case w.bound <= 0 || silent >= watchEvery:
		return found
	}
	// The connection is alive; some of its streams may not be.
	for _, sub := range streams.ordered {
		l := &sub.arbiter.legs[c.index]
		if silent := now.Sub(later(l.aliveAt(), since)); l.acked && silent > w.bound {
			l.reportedAt = now
			found = append(found, finding{conn: c, sub: sub, reason: WatchQuiet, silent: silent})
		}
	}
	return found
}

// behindTicker reports whether the book has stayed behind the update id of its symbol's bookTicker, and
// for how long since a time.
func (sub *subscription) behindTicker(now, since time.Time, tickerID int64) (silent time.Duration, dead bool) {
	if !sub.book.synced() {
		sub.lag = tickerLag{}
		return 0, false
	}
	at := sub.book.syncer.Book().LastID()
	if lag := sub.lag; !lag.since.IsZero() && at < lag.id {
		if silent = now.Sub(later(lag.since, since)); silent < provenSilence {
			return 0, false
		}
		sub.lag = tickerLag{}
		return silent, true
	}
	sub.lag = tickerLag{}
	if tickerID > at {
		sub.lag = tickerLag{tickerID, now}
	}
	return 0, false
}

// refutes reports whether a refresh has shown a depth stream to be dead: snapshot after snapshot had ids
// that its updates do not reach. Only on spot: futures ids are shared by all symbols, and those of a
// quiet one's snapshots run ahead of its updates.
func (w *watchdog) refutes(audit *orderbook.Audit) bool {
	return w.market.name.Continuity() == orderbook.Contiguous && errors.Is(audit.Err, orderbook.ErrRefreshAhead)
}
