package binance

import (
	"context"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/orderbook"
)

// obey does what a Syncer asks for. at is when the data that caused it was received.
func (f *shard) obey(ctx context.Context, y *symbolBook, out orderbook.Output, at time.Time) error {
	if out.Fetch != 0 {
		limit, priority := f.terms(y)
		f.syncer.snapshots.ask(y, f, out.Fetch, limit, priority)
	}
	for i := range out.Events {
		ev := &out.Events[i]
		f.rec = marketprism.Record{Instrument: y.instrument, ReceivedAt: at, Update: ev.Update, Snapshot: ev.Snapshot, Gap: ev.Gap}
		switch {
		case ev.Update != nil:
			f.count.updates.Add(1)
			f.rec.EventTime = ev.Update.EventTime
			f.rec.ReceivedAt = ev.ReceivedAt
		case ev.Snapshot != nil:
			f.rec.EventTime = ev.Snapshot.EventTime
			f.count.snapshots.Add(1)
			if out.Audit == nil {
				f.known(y, ev.Snapshot, out.Events[i+1:])
			}
		case ev.Gap != nil:
			f.lost(y, *ev.Gap)
		}
		if err := f.syncer.handle(ctx, &f.rec); err != nil {
			return err
		}
	}
	f.plan(y, &out)
	if len(out.Events) > 0 {
		f.check(y)
	}
	if out.Audit != nil {
		return f.overtaken(ctx, y, out.Audit)
	}
	return nil
}

// known reports that a book is known; then are the events after its snapshot.
func (f *shard) known(y *symbolBook, snap *orderbook.Snapshot, then []orderbook.Event) {
	applied := 0
	for applied < len(then) && then[applied].Update != nil {
		applied++
	}
	y.wasKnown = true
	f.startPlan(y)
	f.syncer.books.Changed()
	hook.Call(f.syncer.client.hooks.Synced, SyncInfo{Instrument: y.instrument, LastID: snap.LastID, Applied: applied, Elapsed: f.now.Sub(y.lostAt)})
}

// lost reports that a book is no longer known, or that what waited for its snapshot is gone.
func (f *shard) lost(y *symbolBook, gap orderbook.Gap) {
	f.count.gaps.Add(1)
	y.lostAt = f.now
	hook.Call(f.syncer.client.hooks.Gap, GapInfo{Instrument: y.instrument, Gap: gap})
}
