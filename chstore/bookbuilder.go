package chstore

import (
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A bookBuilder applies stored updates to a stored snapshot, with the state machine that keeps live books.
type bookBuilder struct {
	sync    *orderbook.Syncer
	began   time.Time     // the Syncer's only clock: nothing here waits
	last    time.Time     // of the last update that changed the book
	missing *missingRange // nil while the updates follow one another
}

// A missingRange is a range of update ids that are not stored.
type missingRange struct {
	after, next int64     // the ids before and after the range; next is 0 where it is not known
	from        time.Time // when the book was last synced
}

func newBookBuilder(market marketprism.Market, snapshot *orderbook.Snapshot, at time.Time) (*bookBuilder, error) {
	sync, err := orderbook.NewSyncer(orderbook.SyncerConfig{Continuity: market.Continuity(), MaxStale: -1})
	if err != nil {
		return nil, err
	}
	sync.Snapshot(at, sync.Connected(at).Fetch, snapshot)
	return &bookBuilder{sync: sync, began: at, last: at}, nil
}

// apply applies the next update. It returns false, and sets missing, if updates before it are missing.
func (b *bookBuilder) apply(u *orderbook.Update, at time.Time) bool {
	after := b.sync.Book().LastID()
	for _, event := range b.sync.Update(b.began, u).Events {
		if event.Gap != nil {
			b.missing = &missingRange{after: after, next: u.FirstID, from: b.last}
			return false
		}
		b.last = at
	}
	return true
}

// applyAll applies the pending updates up to a time in nanoseconds. It returns false if updates are missing.
func (b *bookBuilder) applyAll(pending *reorder, until int64) bool {
	for u := pending.next(until); u != nil; u = pending.next(until) {
		if !b.apply(&u.update, time.Unix(0, u.ts).UTC()) {
			return false
		}
	}
	return true
}
