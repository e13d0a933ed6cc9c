package binance

import (
	"context"
	"errors"
	"time"

	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/orderbook"
)

const (
	watchEvery = 5 * time.Second // between two looks at all streams

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

// A suspicion is a bookTicker's update id that a book has not reached.
type suspicion struct {
	id    int64
	since time.Time // zero if there is none
}

// watch looks whether what is open and acknowledged is alive, every watchEvery. It acts on what is
// dead and on nothing else.
//
// A subscription of a stream that does not exist, or that is served on another route, is acknowledged
// and stays silent, and so may one that the exchange has lost.
func (f *shard) watch(ctx context.Context) error {
	if f.now.Before(f.watchAt) {
		f.arm(f.watchAt)
		return nil
	}
	f.watchAt = f.now.Add(watchEvery)
	f.arm(f.watchAt)
	for _, l := range f.links {
		if l != nil && l.stream != nil {
			f.watchLink(l)
		}
	}
	for _, st := range f.ordered {
		if !st.book {
			continue
		}
		ticker := f.streams[StreamName(st.symbol.instrument.Symbol, f.syncer.client.market.ticker)]
		if ticker == nil {
			break // no symbol has one
		}
		if err := f.watchDepth(ctx, st, ticker); err != nil {
			return err
		}
	}
	return nil
}

func (f *shard) watchLink(l *conn) {
	bound := f.syncer.cfg.StreamTimeout
	replaceable := l == l.seat.current && l.seat.next == nil && l.seat.nextAttempt == 0
	switch unpinged, silent := f.now.Sub(l.stream.pingedAt()), f.now.Sub(l.heardAt); {
	case replaceable && unpinged > f.syncer.client.market.silence:
		f.bark(WatchInfo{Conn: l.seat.number, Reason: WatchNoPing, Silent: unpinged})
		l.seat.want(RotateSilent, f.now)
		f.arm(f.now)
	case replaceable && bound > 0 && silent > bound && len(f.streams) > 0:
		f.bark(WatchInfo{Conn: l.seat.number, Reason: WatchNoEvents, Silent: silent})
		l.seat.want(RotateSilent, f.now)
		f.arm(f.now)
	case bound > 0 && silent < watchEvery:
		f.watchStreams(l, bound)
	}
}

// watchStreams subscribes the streams again that are silent on a connection that is not.
func (f *shard) watchStreams(l *conn, bound time.Duration) {
	var quiet []string
	for _, st := range f.ordered {
		lane := &st.merge.legs[l.slot]
		silent := f.now.Sub(lane.heardOrJoined())
		if !lane.acked || silent <= bound {
			continue
		}
		quiet = append(quiet, st.name)
		lane.watched = f.now
		f.bark(WatchInfo{Conn: l.seat.number, Stream: st.name, Reason: WatchQuiet, Silent: silent})
		if st.book && st.symbol.syncer.State() == orderbook.Synced {
			f.refresh(st.symbol)
		}
	}
	if len(quiet) > 0 {
		requests, err := l.stream.replan(quiet)
		f.request(l, requests, err)
	}
}

// heardOrJoined returns since when the lane has been silent, as far as that was not acted on.
func (l *leg) heardOrJoined() time.Time {
	latest := l.since
	for _, t := range [...]time.Time{l.last, l.watched} {
		if t.After(latest) {
			latest = t
		}
	}
	return latest
}

// watchDepth resyncs a book that has stayed behind its symbol's bookTicker.
func (f *shard) watchDepth(ctx context.Context, st, ticker *stream) error {
	if st.symbol.syncer.State() != orderbook.Synced {
		st.behind = suspicion{}
		return nil
	}
	at, told := st.symbol.syncer.Book().LastID(), ticker.merge.at
	switch {
	case !st.behind.since.IsZero() && at < st.behind.id && f.now.Sub(st.behind.since) >= provenSilence:
		f.bark(WatchInfo{Conn: f.number, Stream: st.name, Reason: WatchDeadDepth, Silent: f.now.Sub(st.behind.since)})
		st.behind = suspicion{}
		return f.revive(ctx, st)
	case !st.behind.since.IsZero() && at < st.behind.id:
	case told > at:
		st.behind = suspicion{told, f.now}
	default:
		st.behind = suspicion{}
	}
	return nil
}

// overtaken resyncs a book whose refresh has shown, by snapshot after snapshot, ids that its updates do not come to.
// On spot alone: futures ids are shared by all symbols, and those of a quiet one's snapshots run ahead of its updates.
func (f *shard) overtaken(ctx context.Context, y *symbolBook, audit *orderbook.Audit) error {
	st := f.books[y.instrument.Symbol]
	if st == nil || f.syncer.client.market.name.Continuity() != orderbook.Contiguous || !errors.Is(audit.Err, orderbook.ErrRefreshAhead) {
		return nil
	}
	f.bark(WatchInfo{Conn: f.number, Stream: st.name, Reason: WatchDeadDepth, Silent: f.now.Sub(y.UpdatedAt)})
	return f.revive(ctx, st)
}

// revive gives a book up and subscribes its stream anew; the acknowledgement lets it begin again.
func (f *shard) revive(ctx context.Context, st *stream) error {
	if err := f.resync(ctx, st, orderbook.Gap{Reason: orderbook.GapStale}); err != nil {
		return err
	}
	if err := f.offline(ctx, st, nil); err != nil {
		return err
	}
	for _, l := range f.links {
		if l == nil || !st.merge.legs[l.slot].acked {
			continue
		}
		st.merge.leave(l.slot)
		for _, method := range [...]string{"UNSUBSCRIBE", "SUBSCRIBE"} {
			requests, err := l.stream.plan(method, []string{st.name})
			f.request(l, requests, err)
		}
	}
	return nil
}

// request sends planned requests on an open connection, in the order in which they come here.
func (f *shard) request(l *conn, requests []request, err error) {
	if err != nil {
		f.running.Go(func() { l.stream.closeWith(err) })
		return
	}
	l.acks.add(requests, f.now)
	f.arm(l.acks.due)
	l.outbox.put(requests)
}

func (f *shard) bark(info WatchInfo) {
	f.count.watchdogs.Add(1)
	hook.Call(f.syncer.client.hooks.Watchdog, info)
}
