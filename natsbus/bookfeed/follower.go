package bookfeed

import (
	"context"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/orderbook"
)

// A follower applies one instrument's messages to its book, on one goroutine.
type follower struct {
	feed *Feed
	book *feedBook
	ctx  context.Context // of the handler

	reading reading

	ahead bool        // a snapshot waits for updates to decide on it
	late  *time.Timer // runs while ahead, for Config.CatchUp
}

func newFollower(f *Feed, b *feedBook, handling context.Context) *follower {
	late := time.NewTimer(0)
	late.Stop()
	return &follower{feed: f, book: b, ctx: handling, late: late}
}

// step changes the book by act and emits its events. rec is the record that caused them.
func (w *follower) step(rec *marketprism.Record, act func(*orderbook.Joiner) orderbook.Output) error {
	out, was, is := w.book.change(act)
	w.time()
	if out.Audit != nil {
		hook.Call(w.feed.cfg.Hooks.Audited, AuditInfo{w.book.instrument, *out.Audit})
	}
	var gap orderbook.Gap
	for i := range out.Events {
		if g := out.Events[i].Gap; g != nil {
			gap = *g
		}
	}
	if was == orderbook.Synced && is == orderbook.Synced && gap.Reason != 0 { // a snapshot has synced it again
		w.report(was, orderbook.Buffering, gap)
		was = orderbook.Buffering
	}
	w.report(was, is, gap)
	for i := range out.Events {
		if err := w.emit(rec, &out.Events[i]); err != nil {
			return err
		}
	}
	return nil
}

// time starts or stops the timer of a snapshot that waits.
func (w *follower) time() {
	switch ahead := w.book.joiner.Ahead(); {
	case ahead && !w.ahead:
		w.ahead = true
		w.late.Reset(w.feed.cfg.CatchUp)
	case !ahead && w.ahead:
		w.ahead = false
		w.late.Stop()
	}
}

// reached records a position in the stream, and whether the bus has been read to its end.
func (w *follower) reached(sequence, behind uint64, live bool) {
	was, is := w.book.reached(sequence, behind, live)
	w.report(was, is, orderbook.Gap{})
}

// report calls the hooks of a book that has become synced, or is not synced any more because of a gap; the zero Gap is an
// outage of the bus.
func (w *follower) report(was, is orderbook.State, gap orderbook.Gap) {
	last := w.book.joiner.Book().LastID() // only this goroutine changes it
	switch {
	case was != orderbook.Synced && is == orderbook.Synced:
		hook.Call(w.feed.cfg.Hooks.Synced, SyncedInfo{w.book.instrument, last, w.book.sequence})
		w.feed.books.Changed()
	case was == orderbook.Synced && is != orderbook.Synced:
		if gap.Reason != 0 {
			last = gap.After
		}
		hook.Call(w.feed.cfg.Hooks.Lost, LostInfo{Instrument: w.book.instrument, LastID: last, Gap: gap})
	}
}

func (w *follower) emit(cause *marketprism.Record, ev *orderbook.Event) error {
	rec := marketprism.Record{
		Instrument: w.book.instrument, ReceivedAt: cause.ReceivedAt, Origin: cause.Origin,
		Update: ev.Update, Snapshot: ev.Snapshot, Gap: ev.Gap,
	}
	switch {
	case ev.Update != nil:
		rec.EventTime = ev.Update.EventTime
	case ev.Snapshot != nil:
		rec.EventTime = ev.Snapshot.EventTime
	default:
		rec.EventTime = cause.EventTime
	}
	return w.feed.books.Handle(w.ctx, w.feed.cfg.Handler, &rec)
}

// apply applies a record to the book. The Joiner gets no ReceivedAt: the order of the stream counts, not
// the clocks of several collectors.
func (w *follower) apply(rec *marketprism.Record) error {
	e := orderbook.Event{Update: rec.Update, Snapshot: rec.Snapshot, Gap: rec.Gap}
	if e.Snapshot != nil && rec.Origin.Sequence < w.reading.joinAt || e == (orderbook.Event{}) {
		return nil
	}
	return w.step(rec, func(j *orderbook.Joiner) orderbook.Output { return j.Join(e) })
}

// jump gives up a book that has not reached a snapshot on the bus in time: the collector that published
// it has begun from it, and no other one has the updates before.
func (w *follower) jump() error {
	if !w.book.live { // the updates may be on the bus
		w.late.Reset(w.feed.cfg.CatchUp)
		return nil
	}
	return w.step(&marketprism.Record{ReceivedAt: time.Now().UTC()}, (*orderbook.Joiner).Jump)
}

// reset forgets the pending updates. A synced book ends with a Gap. offline says whether the book is Offline from then
// on.
func (w *follower) reset(offline bool, cause error) error {
	rec := &marketprism.Record{ReceivedAt: time.Now().UTC()}
	return w.step(rec, func(j *orderbook.Joiner) orderbook.Output {
		w.book.offline = offline
		return j.Reset(orderbook.Gap{Reason: orderbook.GapDisconnect, Err: cause})
	})
}
