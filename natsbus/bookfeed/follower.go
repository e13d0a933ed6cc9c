package bookfeed

import (
	"context"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/orderbook"
)

// A follower brings one instrument's messages to its book, on one goroutine.
type follower struct {
	feed *Feed
	book *feedBook
	ctx  context.Context // what the handler gets

	reading reading

	now   time.Time         // of the last step; Syncer's time, which increases with each
	fetch orderbook.FetchID // the snapshot that the Syncer waits for; 0 if none

	// mendable says that the book stopped being known by a Gap record alone, which another collector's
	// update may refute: if it follows the book as it stands, nothing is missing.
	mendable bool

	// ahead is a snapshot beyond the known book. Either the updates up to it are about to come, or
	// nobody has published them.
	ahead *orderbook.Snapshot
	late  *time.Timer // runs while there is an ahead
}

func newFollower(f *Feed, b *feedBook) *follower {
	late := time.NewTimer(0)
	late.Stop()
	return &follower{feed: f, book: b, late: late}
}

// step lets act change the book, and hands on what came of it as brought about by rec.
func (w *follower) step(rec *marketprism.Record, act func(s *orderbook.Syncer, now time.Time) orderbook.Output) error {
	next := time.Now()
	if least := w.now.Add(2); next.Before(least) { // the Syncer asks again a nanosecond after it refused
		next = least
	}
	w.now = next
	out, was, is := w.book.change(func(s *orderbook.Syncer) orderbook.Output { return act(s, next) })
	if out.Fetch != 0 {
		w.fetch = out.Fetch
	}
	w.tell(out, was, is)
	for i := range out.Events {
		if err := w.handOn(rec, &out.Events[i]); err != nil {
			return err
		}
	}
	return nil
}

// tell calls the hooks.
func (w *follower) tell(out orderbook.Output, was, is orderbook.State) {
	if out.Audit != nil && out.Audit.Err == nil {
		hook.Call(w.feed.cfg.Hooks.Audited, AuditInfo{w.book.instrument, *out.Audit})
	}
	w.turned(was, is)
}

// turned tells that the book has become known, or has stopped being so.
func (w *follower) turned(was, is orderbook.State) {
	if (was == orderbook.Synced) == (is == orderbook.Synced) {
		return
	}
	book := w.book.syncer.Book() // nobody else changes it
	if is == orderbook.Synced {
		hook.Call(w.feed.cfg.Hooks.Synced, SyncedInfo{w.book.instrument, book.LastID(), w.book.sequence})
		w.feed.changed()
		return
	}
	lost := LostInfo{Instrument: w.book.instrument, LastID: book.LastID()}
	if w.book.syncer.State() != orderbook.Synced {
		lost.Gap = w.book.lastGap
	}
	hook.Call(w.feed.cfg.Hooks.Lost, lost)
}

func (w *follower) handOn(cause *marketprism.Record, ev *orderbook.Event) error {
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
	return w.feed.handle(w.ctx, &rec)
}

func (w *follower) known() bool { return w.book.syncer.State() == orderbook.Synced }

// take brings a record to the book.
func (w *follower) take(rec *marketprism.Record) error {
	switch {
	case rec.Update != nil:
		return w.update(rec)
	case rec.Snapshot != nil && rec.Origin.Sequence >= w.reading.joinAt:
		return w.snapshot(rec)
	case rec.Gap != nil:
		return w.gap(rec)
	}
	return nil
}

func (w *follower) update(rec *marketprism.Record) error {
	u, known := rec.Update, w.known()
	follows := w.mendable && w.book.instrument.Market.Continuity().Follows(w.book.syncer.Book().LastID(), u)
	if err := w.step(rec, func(s *orderbook.Syncer, now time.Time) orderbook.Output { return s.Update(now, u) }); err != nil {
		return err
	}
	last := w.book.syncer.Book().LastID()
	switch {
	case w.known():
		if w.ahead != nil && last >= w.ahead.LastID {
			w.forgetAhead()
		}
	case known: // the update showed that some before it are missing
		return w.answerAhead(rec)
	case follows:
		held := w.book.syncer.Book().Snapshot()
		return w.answer(rec, &held)
	case u.LastID > last:
		w.mendable = false // this one waits; what fits the book later would not fit this one
	}
	return nil
}

// snapshot makes a snapshot the book if that is not known, and compares it with the book if it is.
func (w *follower) snapshot(rec *marketprism.Record) error {
	snap := rec.Snapshot
	if !w.known() {
		return w.answer(rec, snap)
	}
	switch last := w.book.syncer.Book().LastID(); {
	case snap.LastID > last:
		if w.ahead == nil {
			w.late.Reset(w.feed.cfg.CatchUp)
		}
		w.ahead = snap.Clone()
	case snap.LastID == last:
		err := w.step(rec, func(s *orderbook.Syncer, now time.Time) orderbook.Output { return s.Refresh(now) })
		if err != nil {
			return err
		}
		return w.answer(rec, snap)
	}
	return nil
}

// answer gives the Syncer a snapshot that it waits for. One that is too old changes nothing.
func (w *follower) answer(rec *marketprism.Record, snap *orderbook.Snapshot) error {
	if w.fetch == 0 {
		err := w.step(rec, func(s *orderbook.Syncer, now time.Time) orderbook.Output { return s.Tick(now) })
		if err != nil {
			return err
		}
	}
	id := w.fetch
	w.fetch = 0
	err := w.step(rec, func(s *orderbook.Syncer, now time.Time) orderbook.Output { return s.Snapshot(now, id, snap) })
	if w.known() {
		w.mendable = false
	}
	return err
}

func (w *follower) answerAhead(rec *marketprism.Record) error {
	snap := w.ahead
	if snap == nil {
		return nil
	}
	w.forgetAhead()
	return w.answer(rec, snap)
}

func (w *follower) forgetAhead() {
	w.ahead = nil
	w.late.Stop()
}

// overtaken gives up a book that has not reached a snapshot on the bus in time: the collector that
// published it has begun anew, and nobody has the updates before it.
func (w *follower) overtaken() error {
	switch {
	case w.ahead == nil || !w.known():
		return nil
	case !w.book.live: // the updates may be on the bus
		w.late.Reset(w.feed.cfg.CatchUp)
		return nil
	}
	rec := &marketprism.Record{ReceivedAt: time.Now().UTC()}
	missing := &orderbook.SequenceError{Want: w.book.syncer.Book().LastID() + 1, Got: w.ahead.LastID}
	if err := w.resync(rec, orderbook.Gap{Reason: orderbook.GapSequence, Err: missing}); err != nil {
		return err
	}
	return w.answerAhead(rec)
}

// gap takes a collector's word that it has lost the book. Another collector may have it still: if the
// book is past the hole already, or its next update follows it, nothing is lost.
//
// Where the venue's ids went back, or the symbol is not followed any more, ids prove nothing: what
// waits is of the time before.
func (w *follower) gap(rec *marketprism.Record) error {
	proves := rec.Gap.Reason != orderbook.GapRegressed && rec.Gap.Reason != orderbook.GapRemoved
	switch {
	case w.known() && (!proves || rec.Gap.After >= w.book.syncer.Book().LastID()):
		w.mendable = proves
		if w.ahead != nil && (!proves || w.ahead.LastID <= rec.Gap.After) {
			w.forgetAhead()
		}
		if err := w.resync(rec, *rec.Gap); err != nil {
			return err
		}
		return w.answerAhead(rec)
	case !w.known() && !proves:
		return w.restart(rec, rec.Gap.Err)
	}
	return nil
}

// resync ends a known book with a Gap.
func (w *follower) resync(rec *marketprism.Record, g orderbook.Gap) error {
	return w.step(rec, func(s *orderbook.Syncer, now time.Time) orderbook.Output { return s.Resync(now, g) })
}

// restart forgets the updates that wait for a snapshot. A known book ends with a Gap.
func (w *follower) restart(rec *marketprism.Record, cause error) error {
	w.mendable, w.fetch = false, 0
	w.forgetAhead()
	err := w.step(rec, func(s *orderbook.Syncer, now time.Time) orderbook.Output { return s.Disconnected(now, cause) })
	if err != nil {
		return err
	}
	return w.step(rec, func(s *orderbook.Syncer, now time.Time) orderbook.Output { return s.Connected(now) })
}
