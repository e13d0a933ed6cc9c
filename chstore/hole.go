package chstore

import (
	"context"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// findLoss looks for a gap between the last update of a fold and t. Updates were missed there unless
// what is stored of the time after t proves by its ids that there were none.
func (s *Store) findLoss(ctx context.Context, f *fold, snapshot *marketprism.Record, t time.Time) error {
	i, id := snapshot.Instrument, f.sync.Book().LastID()
	sc := newScope(i, snapshot.Time().Add(-clockSkew), t.Add(1))
	sc.add("received_at > fromUnixTimestamp64Nano({snapshot:Int64}, 'UTC')", "snapshot", nanos(snapshot.ReceivedAt))
	sc.add("after_id >= {id:Int64}", "id", id)
	_, gap, err := s.readOne(ctx, gapTable, i, sc, "ORDER BY ts LIMIT 1")
	if err != nil || !gap {
		return err
	}
	next, ok, err := s.nextSnapshot(ctx, i, t)
	if err != nil || ok && next.Snapshot.LastID == id {
		return err
	}
	sc = newScope(i, t.Add(1), time.Time{})
	sc.add("last_id > {id:Int64}", "id", id)
	update, ok, err := s.readOne(ctx, depthTable, i, sc, "ORDER BY ts, last_id LIMIT 1")
	if err != nil {
		return err
	}
	f.lost = &loss{after: id, from: f.last}
	if !ok {
		return nil
	}
	probe, err := newFold(i.Market, &orderbook.Snapshot{LastID: id}, t)
	if err != nil {
		return err
	}
	if probe.apply(update.Update, t) {
		f.lost = nil
		return nil
	}
	f.lost.next = update.Update.FirstID
	return nil
}

// hole describes a loss, with the next moment at which the book is known again.
func (s *Store) hole(ctx context.Context, i marketprism.Instrument, t time.Time, lost *loss) error {
	next, ok, err := s.nextSnapshot(ctx, i, t)
	if err != nil {
		return err
	}
	e := &HoleError{Instrument: i, At: t, After: lost.after, Next: lost.next, From: lost.from}
	if ok {
		e.To = next.Time()
		if e.Next == 0 {
			e.Next = next.Snapshot.LastID
		}
	}
	return e
}

// lastSnapshot returns the newest snapshot at or before t.
func (s *Store) lastSnapshot(ctx context.Context, i marketprism.Instrument, t time.Time) (marketprism.Record, bool, error) {
	sc := newScope(i, time.Time{}, t.Add(1))
	return s.readOne(ctx, snapshotTable, i, sc, "ORDER BY ts DESC, last_id DESC, length(bid_price_e8) DESC LIMIT 1")
}

// lastSnapshotBefore returns the newest snapshot that an update can be applied after, by its id. The
// ids of a market that was wiped begin anew, so one received much later does not count.
func (s *Store) lastSnapshotBefore(ctx context.Context, update *marketprism.Record) (marketprism.Record, bool, error) {
	sc := newScope(update.Instrument, time.Time{}, time.Time{})
	sc.add("last_id <= {id:Int64}", "id", update.Update.LastID)
	sc.add("received_at <= fromUnixTimestamp64Nano({received:Int64}, 'UTC')", "received", clamp(update.ReceivedAt.Add(lookBack)))
	return s.readOne(ctx, snapshotTable, update.Instrument, sc, "ORDER BY ts DESC, last_id DESC, length(bid_price_e8) DESC LIMIT 1")
}

// nextSnapshot returns the oldest snapshot after t.
func (s *Store) nextSnapshot(ctx context.Context, i marketprism.Instrument, t time.Time) (marketprism.Record, bool, error) {
	sc := newScope(i, t.Add(1), time.Time{})
	return s.readOne(ctx, snapshotTable, i, sc, "ORDER BY ts, last_id LIMIT 1")
}

// readOne returns the first record of an answer; false if it is empty.
func (s *Store) readOne(ctx context.Context, t table, i marketprism.Instrument, sc scope, tail string) (rec marketprism.Record, ok bool, err error) {
	var b base
	r := newRow(t)
	expressions, dest := selection(b.scanned(), r.scanned())
	rows, err := s.query(ctx, t, expressions, sc, tail)
	if err != nil {
		return rec, false, err
	}
	defer rows.Close()
	if ok = rows.Next(); ok {
		if err = rows.Scan(dest...); err == nil {
			rec = b.record(i)
			_, err = r.payload(&rec)
		}
	}
	if err == nil {
		err = rows.Err()
	}
	if err != nil {
		err = t.readError(ctx, err)
	}
	return rec, ok, err
}
