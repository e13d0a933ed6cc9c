package chstore

import (
	"context"
	"math"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// maxAhead bounds the snapshots that a feed reads ahead.
const maxAhead = 64

// A feed reads the records of one instrument in the order in which they make a book: that of their time, but a
// snapshot comes before the updates that follow it by id. The only time of a spot snapshot is that of its
// arrival, which is after some of them.
type feed struct {
	records   *merge                                           // all kinds but snapshots
	read      func(context.Context) (timedRecord, bool, error) // reads records, by time or by id
	head      timedRecord                                      // the next one of them
	hasHead   bool
	snapshots *merge
	ahead     []marketprism.Record // snapshots read before they are due
	ended     bool                 // there are no more snapshots
	id        int64                // the highest update id returned since ids started again

	// Snapshots below floor, the id of the book that the feed continues, are left out if they were received before
	// stale.
	floor int64
	stale time.Time
}

// bookKinds returns the kinds of record that make a book.
func bookKinds() []marketprism.Kind {
	return []marketprism.Kind{marketprism.KindUpdate, marketprism.KindSnapshot, marketprism.KindGap}
}

// openFeedByID is openFeed with the updates in the order of their ids, see idOrder.
func openFeedByID(ctx context.Context, d *db, q Query) (*feed, error) {
	f, err := openFeed(ctx, d, q, 0)
	f.read = newIDOrder(f.records).next
	return f, err
}

// openFeed starts the queries. It reads snapshots up to the time late after q.To, since one that arrived that late
// may precede updates before q.To. The caller must close the feed, even after an error.
func openFeed(ctx context.Context, d *db, q Query, late time.Duration) (*feed, error) {
	f := &feed{records: &merge{}, snapshots: &merge{}, id: math.MinInt64, floor: math.MinInt64}
	f.read = f.records.nextTimed
	all := q.Kinds
	if len(all) == 0 {
		all = marketprism.Kinds()
	}
	var others []marketprism.Kind
	wanted := false
	for _, k := range all {
		if k == marketprism.KindSnapshot {
			wanted = true
		} else {
			others = append(others, k)
		}
	}
	if len(others) > 0 {
		q.Kinds = others
		if err := f.records.open(ctx, d, q); err != nil {
			return f, err
		}
	}
	if f.ended = !wanted; f.ended {
		return f, nil
	}
	q.Kinds = []marketprism.Kind{marketprism.KindSnapshot}
	if !q.To.IsZero() {
		q.To = q.To.Add(late)
	}
	return f, f.snapshots.open(ctx, d, q)
}

func (f *feed) close() {
	f.records.close()
	f.snapshots.close()
}

// continueFrom makes the feed the continuation of a book that had an id at some time.
func (f *feed) continueFrom(id int64, at time.Time) {
	f.id, f.floor, f.stale = id, id, at.Add(lookBack)
}

// next returns the next record, with the time from which it counts, and whether there is one. That time never
// goes back.
func (f *feed) next(ctx context.Context) (r timedRecord, ok bool, err error) {
	if !f.hasHead {
		if f.head, f.hasHead, err = f.read(ctx); err != nil {
			return r, false, err
		}
	}
	if err := f.readAhead(ctx); err != nil {
		return r, false, err
	}
	if len(f.ahead) > 0 && (!f.hasHead || f.isDue(&f.ahead[0])) {
		s := f.removeAhead(0)
		return timedRecord{s, s.Time()}, true, nil
	}
	if i := f.predecessor(); i >= 0 {
		return timedRecord{f.removeAhead(i), f.head.at}, true, nil
	}
	r, ok, f.hasHead = f.head, f.hasHead, false
	switch {
	case r.rec.Update != nil:
		f.id = max(f.id, r.rec.Update.LastID)
	case r.rec.Gap != nil && r.rec.Gap.Reason == orderbook.GapRegressed:
		f.id = math.MinInt64
	}
	return r, ok, nil
}

// readAhead reads the snapshots that may precede the head.
func (f *feed) readAhead(ctx context.Context) error {
	for !f.ended && len(f.ahead) < maxAhead {
		if n := len(f.ahead); n > 0 && f.hasHead && f.ahead[n-1].Time().After(f.head.at.Add(lookBack)) {
			return nil
		}
		rec, ok, err := f.snapshots.next(ctx)
		if err != nil {
			return err
		}
		if !ok {
			f.ended = true
			return nil
		}
		if rec.Snapshot.LastID < f.floor && rec.ReceivedAt.Before(f.stale) {
			continue
		}
		f.ahead = append(f.ahead, rec)
	}
	return nil
}

// isDue reports whether a snapshot precedes the head by its own time.
func (f *feed) isDue(snapshot *marketprism.Record) bool {
	head := &f.head.rec
	order := snapshot.Time().Compare(f.head.at)
	switch {
	case order != 0:
		return order < 0
	case head.Update != nil:
		return snapshot.Snapshot.LastID <= head.Update.LastID
	}
	return head.Trade != nil || head.Ticker != nil && snapshot.Snapshot.LastID <= head.Ticker.UpdateID
}

// predecessor returns the index of the first snapshot that the head, an update, follows by id, while no update
// beyond that id has been returned; -1 if there is none. A snapshot that was received much later does not
// count: ids start again where a market is wiped.
func (f *feed) predecessor() int {
	head := &f.head.rec
	if !f.hasHead || head.Update == nil {
		return -1
	}
	for i := range f.ahead {
		s := &f.ahead[i]
		if id := s.Snapshot.LastID; id >= f.id && id <= head.Update.LastID && !s.ReceivedAt.After(head.ReceivedAt.Add(lookBack)) {
			return i
		}
	}
	return -1
}

func (f *feed) removeAhead(i int) marketprism.Record {
	rec := f.ahead[i]
	f.ahead = append(f.ahead[:i], f.ahead[i+1:]...)
	f.id = max(f.id, rec.Snapshot.LastID)
	return rec
}
