package chstore

import (
	"context"
	"math"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// maxAhead bounds the snapshots that a feed has read and not yet given out.
const maxAhead = 64

// A feed gives the records of one instrument in the order in which a book is made of them: that of
// their time, but a snapshot comes before the updates that follow it by id. A spot snapshot has no
// other time than that of its arrival, which is after some of them.
type feed struct {
	records   *merge   // all kinds but snapshots
	byID      *idOrder // over records; nil where their order of time is wanted
	snapshots *merge
	head      marketprism.Record // of records
	headAt    time.Time          // from when on it counts
	held      bool               // there is a head
	ahead     []marketprism.Record
	ended     bool  // snapshots has no more
	id        int64 // the highest update id given out since ids began anew

	// floor is the id of the book that the feed goes on from. Snapshots before it, received up to stale, are
	// left out.
	floor int64
	stale time.Time
}

// follow makes the feed one that goes on from a book at some time.
func (f *feed) follow(id int64, at time.Time) {
	f.id, f.floor, f.stale = id, id, at.Add(lookBack)
}

// openFeedByID is openFeed with the updates in the order of their ids, see idOrder.
func (s *Store) openFeedByID(ctx context.Context, q Query) (*feed, error) {
	f, err := s.openFeed(ctx, q, 0)
	if err == nil {
		f.byID = newIDOrder(f.records)
	}
	return f, err
}

// openFeed starts the queries. Snapshots are looked for up to the time late after q.To, since one that
// came that late may belong to updates before. What it returns is to be closed, even after an error.
func (s *Store) openFeed(ctx context.Context, q Query, late time.Duration) (*feed, error) {
	f := &feed{records: &merge{}, snapshots: &merge{}, id: math.MinInt64, floor: math.MinInt64}
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
	var err error
	if len(others) > 0 {
		q.Kinds = others
		if f.records, err = s.openMerge(ctx, q); err != nil {
			return f, err
		}
	}
	if f.ended = !wanted; wanted {
		q.Kinds = []marketprism.Kind{marketprism.KindSnapshot}
		if !q.To.IsZero() {
			q.To = q.To.Add(late)
		}
		f.snapshots, err = s.openMerge(ctx, q)
	}
	return f, err
}

func (f *feed) close() {
	f.records.close()
	f.snapshots.close()
}

// next returns the next record and from when on it counts, which never goes back; false if there is
// none.
func (f *feed) next(ctx context.Context) (rec marketprism.Record, at time.Time, ok bool, err error) {
	if !f.held {
		if err := f.readHead(ctx); err != nil {
			return rec, at, false, err
		}
	}
	if err := f.readAhead(ctx); err != nil {
		return rec, at, false, err
	}
	at = f.headAt
	if len(f.ahead) > 0 && (!f.held || f.due(&f.ahead[0])) {
		rec = f.take(0)
		return rec, rec.Time(), true, nil
	}
	if i := f.base(); i >= 0 {
		return f.take(i), at, true, nil
	}
	rec, ok, f.held = f.head, f.held, false
	switch {
	case rec.Update != nil:
		f.id = max(f.id, rec.Update.LastID)
	case rec.Gap != nil && rec.Gap.Reason == orderbook.GapRegressed:
		f.id = math.MinInt64
	}
	return rec, at, ok, nil
}

func (f *feed) readHead(ctx context.Context) (err error) {
	if f.byID == nil {
		f.head, f.held, err = f.records.next(ctx)
		f.headAt = f.head.Time()
		return err
	}
	head, ok, err := f.byID.next(ctx)
	f.head, f.headAt, f.held = head.rec, head.at, ok
	return err
}

// readAhead reads the snapshots that may belong before the head.
func (f *feed) readAhead(ctx context.Context) error {
	for !f.ended && len(f.ahead) < maxAhead {
		if n := len(f.ahead); n > 0 && f.held && f.ahead[n-1].Time().After(f.headAt.Add(lookBack)) {
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

// due reports whether a snapshot's own time has come before the head.
func (f *feed) due(snapshot *marketprism.Record) bool {
	order := snapshot.Time().Compare(f.headAt)
	switch {
	case order != 0:
		return order < 0
	case f.head.Update != nil:
		return snapshot.Snapshot.LastID <= f.head.Update.LastID
	}
	return f.head.Trade != nil || f.head.Ticker != nil && snapshot.Snapshot.LastID <= f.head.Ticker.UpdateID
}

// base returns the first snapshot that the head, an update, follows by id, while no update after that
// id has been given out; -1 if there is none. Ids begin anew where a market is wiped, so one that was
// received much later does not count.
func (f *feed) base() int {
	if !f.held || f.head.Update == nil {
		return -1
	}
	for i := range f.ahead {
		s := &f.ahead[i]
		if id := s.Snapshot.LastID; id >= f.id && id <= f.head.Update.LastID && !s.ReceivedAt.After(f.head.ReceivedAt.Add(lookBack)) {
			return i
		}
	}
	return -1
}

// take removes a snapshot from those read ahead.
func (f *feed) take(i int) marketprism.Record {
	rec := f.ahead[i]
	f.ahead = append(f.ahead[:i], f.ahead[i+1:]...)
	f.id = max(f.id, rec.Snapshot.LastID)
	return rec
}
