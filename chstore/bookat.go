package chstore

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// clockSkew bounds how far the clocks of exchange and collector, and those of an exchange's own
// servers, are taken to be apart. Updates are looked for from that long before the snapshot on, and
// put in order by id within that span.
const clockSkew = 5 * time.Second

// BookAt returns the book of an instrument as it stood at a moment: the newest snapshot stored with a
// time at or before t, and on it the updates up to t, by the rule of orderbook.Syncer. Times are those
// of Record.Time: the exchange's, but a spot snapshot's is when it was received. The book is the
// caller's.
//
// It returns a *HoleError where updates between the snapshot and t are missing, by their ids. A Gap
// record alone is no hole: if the ids before and after it follow each other, nothing was missed. The
// error wraps ErrNoSnapshot where there is none to begin with.
func (s *Store) BookAt(ctx context.Context, i marketprism.Instrument, t time.Time) (*orderbook.Book, error) {
	snapshot, ok, err := s.lastSnapshot(ctx, i, t)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("%w: %s at %s", ErrNoSnapshot, i, t.Format(time.RFC3339Nano))
	}
	f, err := newFold(i.Market, snapshot.Snapshot, snapshot.Time())
	if err != nil {
		return nil, err
	}
	if err := s.foldUpdates(ctx, f, &snapshot, t); err != nil {
		return nil, err
	}
	if f.lost == nil {
		if err := s.findLoss(ctx, f, &snapshot, t); err != nil {
			return nil, err
		}
	}
	if f.lost == nil {
		return f.sync.Book(), nil
	}
	return nil, s.hole(ctx, i, t, f.lost)
}

// A fold applies stored updates to a stored snapshot, by the state machine that keeps live books.
type fold struct {
	sync  *orderbook.Syncer
	began time.Time // told to the Syncer as the time of everything: nothing here waits for anything
	last  time.Time // of the last update that changed the book
	lost  *loss
}

// A loss is a hole in the update ids.
type loss struct {
	after, next int64     // the ids on its two sides; next is 0 where it is not known
	from        time.Time // when the book was last known
}

func newFold(market marketprism.Market, snapshot *orderbook.Snapshot, at time.Time) (*fold, error) {
	continuity := orderbook.Linked
	if market == marketprism.Spot {
		continuity = orderbook.Contiguous
	}
	sync, err := orderbook.NewSyncer(orderbook.SyncerConfig{Continuity: continuity, MaxStale: -1})
	if err != nil {
		return nil, err
	}
	sync.Snapshot(at, sync.Connected(at).Fetch, snapshot)
	return &fold{sync: sync, began: at, last: at}, nil
}

// apply gives the book its next update. It returns false once there is a hole.
func (f *fold) apply(u *orderbook.Update, at time.Time) bool {
	after := f.sync.Book().LastID()
	for _, event := range f.sync.Update(f.began, u).Events {
		if event.Gap != nil {
			f.lost = &loss{after: after, next: u.FirstID, from: f.last}
			return false
		}
		f.last = at
	}
	return true
}

// foldUpdates applies the updates after the snapshot up to t.
func (s *Store) foldUpdates(ctx context.Context, f *fold, snapshot *marketprism.Record, t time.Time) error {
	ctx, cancel := context.WithCancel(ctx)
	sc := newScope(snapshot.Instrument, snapshot.Time().Add(-clockSkew), t.Add(1))
	sc.add("last_id > {id:Int64}", "id", snapshot.Snapshot.LastID)
	// If the venue's ids went back before the snapshot, updates with the old, higher ids can lie within
	// the skew. They were received before that was noticed.
	sc.add("received_at >= (SELECT max(received_at) FROM "+s.tableName(gapTable.name())+
		" WHERE exchange = {exchange:String} AND market = {market:String} AND symbol = {symbol:String}"+
		" AND reason = 'regressed' AND received_at <= fromUnixTimestamp64Nano({snapshot:Int64}, 'UTC'))",
		"snapshot", nanos(snapshot.ReceivedAt))
	var b base
	r := new(depthRow)
	expressions, dest := selection(b.scanned(), r.scanned())
	rows, err := s.query(ctx, depthTable, expressions, sc, "ORDER BY ts, last_id")
	if err != nil {
		cancel()
		return err
	}
	defer rows.Close()
	defer cancel()
	var order reorder
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return depthTable.readError(ctx, err)
		}
		if err := order.add(&b, r); err != nil {
			return err
		}
		if !f.applyAll(&order, b.ts-int64(clockSkew)) {
			return nil
		}
	}
	if err := rows.Err(); err != nil {
		return depthTable.readError(ctx, err)
	}
	f.applyAll(&order, math.MaxInt64)
	return nil
}

// applyAll applies the updates that need not be held any longer. It returns false once there is a hole.
func (f *fold) applyAll(order *reorder, until int64) bool {
	for u := order.next(until); u != nil; u = order.next(until) {
		if !f.apply(&u.update, time.Unix(0, u.ts).UTC()) {
			return false
		}
	}
	return true
}

// selection splits targets into what to select and where to scan it to.
func selection(targets ...[]target) (expressions []string, dest []any) {
	for _, ts := range targets {
		for _, t := range ts {
			expressions = append(expressions, t.expression)
			dest = append(dest, t.value)
		}
	}
	return expressions, dest
}
