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
	sc := newScope(i, t.Add(1), time.Time{})
	sc.add("last_id >= {next:Int64}", "next", max(lost.next, lost.after+1)) // one from before the hole ends none
	next, ok, err := s.readOne(ctx, snapshotTable, i, sc, "ORDER BY ts, last_id LIMIT 1")
	if err == nil && !ok {
		next, ok, err = s.nextSnapshot(ctx, i, t.Add(lookBack)) // ids may begin anew
	}
	if err != nil {
		return err
	}
	e := &HoleError{Instrument: i, At: t, After: lost.after, Next: lost.next, From: lost.from}
	if e.From.After(t) { // the snapshot before the hole came only later
		e.From = time.Time{}
	}
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

// notOvertaken returns a snapshot, or the one that had overtaken it on its way: another collector's, or of a
// server that was less behind, with a higher id. It was there by t, or is of before the id upTo.
func (s *Store) notOvertaken(ctx context.Context, snapshot marketprism.Record, t time.Time, upTo int64) (marketprism.Record, error) {
	const tail = "ORDER BY last_id DESC, ts DESC, length(bid_price_e8) DESC LIMIT 1"
	sc := newScope(snapshot.Instrument, snapshot.Time().Add(-lookBack), snapshot.Time().Add(1))
	sc.add("last_id > {overtaken:Int64}", "overtaken", snapshot.Snapshot.LastID)
	sc.add("(ts <= fromUnixTimestamp64Nano({by:Int64}, 'UTC') OR last_id <= {up_to:Int64})", "by", clamp(t))
	sc.args = append(sc.args, named("up_to", upTo))
	_, ok, err := s.readOne(ctx, snapshotTable, snapshot.Instrument, sc, tail)
	if err != nil || !ok {
		return snapshot, err
	}
	s.addSinceRegressed(&sc, &snapshot) // asked only now, since it costs a question of its own
	higher, ok, err := s.readOne(ctx, snapshotTable, snapshot.Instrument, sc, tail)
	if err != nil || !ok {
		return snapshot, err
	}
	return higher, nil
}

// addSinceRegressed leaves out what was received before the venue's ids last went back before a snapshot.
func (s *Store) addSinceRegressed(sc *scope, snapshot *marketprism.Record) {
	sc.add("received_at >= (SELECT max(received_at) FROM "+s.tableName(gapTable.name())+
		" WHERE exchange = {exchange:String} AND market = {market:String} AND symbol = {symbol:String}"+
		" AND reason = 'regressed' AND received_at <= fromUnixTimestamp64Nano({snapshot:Int64}, 'UTC'))",
		"snapshot", nanos(snapshot.ReceivedAt))
}

// lastSnapshotBefore returns the newest snapshot that an update can be applied after, by its id. The
// ids of a market that was wiped begin anew, so one received much later does not count.
func (s *Store) lastSnapshotBefore(ctx context.Context, update *marketprism.Record) (marketprism.Record, bool, error) {
	sc := newScope(update.Instrument, time.Time{}, time.Time{})
	sc.add("last_id <= {id:Int64}", "id", update.Update.LastID)
	sc.add("received_at <= fromUnixTimestamp64Nano({received:Int64}, 'UTC')", "received", clamp(update.ReceivedAt.Add(lookBack)))
	sc.add("received_at < (SELECT ifNull(minOrNull(received_at), toDateTime64('2262-01-01 00:00:00', 9, 'UTC')) FROM "+s.tableName(gapTable.name())+
		" WHERE exchange = {exchange:String} AND market = {market:String} AND symbol = {symbol:String}"+
		" AND reason = 'regressed' AND received_at > fromUnixTimestamp64Nano({update:Int64}, 'UTC'))",
		"update", clamp(update.ReceivedAt))
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
