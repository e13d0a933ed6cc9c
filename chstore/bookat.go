package chstore

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// clockSkew bounds how far the clocks of an exchange's own servers, and of two collectors, are taken
// to be apart: updates are put in order by id within that span.
const clockSkew = 5 * time.Second

// lookBack is how long before a snapshot's time the updates after it are looked for at first. It
// covers the time a snapshot took to come, and a collector whose clock is wrong. Where it is not enough, as
// with a recording that was played back years later, all earlier ones are searched.
const lookBack = 10 * time.Minute

// BookAt returns the book of an instrument as it stood at a moment: a snapshot, and on it the updates
// up to t, by the rule of orderbook.Syncer. Times are those of Record.Time: the exchange's, but a spot
// snapshot's is when it was received. What belongs together is told by update ids, so it does not
// matter if that clock was wrong. The book is the caller's.
//
// It returns a *HoleError where updates between the snapshot and t are missing, by their ids. A Gap
// record alone is no hole: if the ids before and after it follow each other, nothing was missed. The
// error wraps ErrNoSnapshot where there is none to begin with.
func (s *Store) BookAt(ctx context.Context, i marketprism.Instrument, t time.Time) (book *orderbook.Book, err error) {
	defer s.observe(OpBookAt)(&err)
	f, err := s.foldAt(ctx, i, t)
	if err == nil && f.lost != nil {
		err = s.hole(ctx, i, t, f.lost)
	}
	if err != nil {
		return nil, err
	}
	return f.sync.Book(), nil
}

// foldAt folds what is stored up to t. Its book is the one at t unless something is lost.
func (s *Store) foldAt(ctx context.Context, i marketprism.Instrument, t time.Time) (*fold, error) {
	snapshot, from, err := s.base(ctx, i, t)
	if err != nil {
		return nil, err
	}
	f, err := s.foldUpdates(ctx, &snapshot, from, t)
	if err == nil && f.lost != nil && f.lost.after == snapshot.Snapshot.LastID {
		f, err = s.foldUpdates(ctx, &snapshot, time.Time{}, t) // what follows the snapshot may lie before from
	}
	if err == nil && f.lost == nil {
		err = s.findLoss(ctx, f, &snapshot, t)
	}
	return f, err
}

// base returns the newest snapshot that the book at t can be made from, and from when on the updates
// after it are to be looked for. That is the last one before t, by time, or the last one before t's
// last update, by id: of a book that moves, ids tell better what was when than two different clocks.
func (s *Store) base(ctx context.Context, i marketprism.Instrument, t time.Time) (snapshot marketprism.Record, from time.Time, err error) {
	snapshot, known, err := s.lastSnapshot(ctx, i, t)
	if err != nil {
		return snapshot, from, err
	}
	sc := newScope(i, time.Time{}, t.Add(1))
	last, moved, err := s.readOne(ctx, depthTable, i, sc, "ORDER BY ts DESC, last_id DESC LIMIT 1")
	if err != nil {
		return snapshot, from, err
	}
	upTo := int64(math.MinInt64)
	if moved {
		byID, ok, err := s.lastSnapshotBefore(ctx, &last)
		if err != nil {
			return snapshot, from, err
		}
		if ok && (!known || byID.ReceivedAt.After(snapshot.ReceivedAt)) {
			snapshot, known = byID, true
		}
		upTo = last.Update.LastID
	}
	if !known {
		return snapshot, from, fmt.Errorf("%w: %s at %s", ErrNoSnapshot, i, t.Format(time.RFC3339Nano))
	}
	if snapshot, err = s.notOvertaken(ctx, snapshot, t, upTo); err != nil {
		return snapshot, from, err
	}
	from = snapshot.Time()
	if moved && last.Time().Before(from) {
		from = last.Time()
	}
	return snapshot, from.Add(-lookBack), nil
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
	sync, err := orderbook.NewSyncer(orderbook.SyncerConfig{Continuity: market.Continuity(), MaxStale: -1})
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

// foldUpdates applies to the snapshot the updates after it, up to t. Those from before from are not
// looked for.
func (s *Store) foldUpdates(ctx context.Context, snapshot *marketprism.Record, from, t time.Time) (*fold, error) {
	f, err := newFold(snapshot.Instrument.Market, snapshot.Snapshot, snapshot.Time())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	sc := newScope(snapshot.Instrument, from, t.Add(1))
	sc.add("last_id > {id:Int64}", "id", snapshot.Snapshot.LastID)
	// If the venue's ids went back before the snapshot, updates with the old, higher ids can lie after
	// from. They were received before that was noticed.
	s.addSinceRegressed(&sc, snapshot)
	var b base
	r := new(depthRow)
	expressions, dest := selection(b.scanned(), r.scanned())
	rows, err := s.query(ctx, depthTable, expressions, sc, "ORDER BY ts, last_id")
	if err != nil {
		cancel()
		return nil, err
	}
	defer rows.Close()
	defer cancel()
	var order reorder
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return nil, depthTable.readError(ctx, err)
		}
		if err := order.add(&b, r); err != nil {
			return nil, err
		}
		if !f.applyAll(&order, b.ts-int64(clockSkew)) {
			return f, nil
		}
	}
	if err := rows.Err(); err != nil {
		return nil, depthTable.readError(ctx, err)
	}
	f.applyAll(&order, math.MaxInt64)
	return f, nil
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
