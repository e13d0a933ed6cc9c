package chstore

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/marketprism/marketprism"
)

// clockSkew bounds how far the clocks of an exchange's own servers, and of two collectors, are taken
// to be apart: updates are put in order by id within that span.
const clockSkew = 5 * time.Second

// lookBack is how long before a snapshot's time the updates that follow it are searched at first. It
// covers the time in which a snapshot arrives, and a collector with a wrong clock. Where it is not enough, as
// with a recording that was played back years later, all earlier updates are searched.
const lookBack = 10 * time.Minute

// A reader reads the book of one instrument at a given time.
type reader struct {
	*db
	instrument marketprism.Instrument
}

// bookAt applies the stored updates up to t to a stored snapshot. The result has the book at t, unless its
// missing is set.
func (r *reader) bookAt(ctx context.Context, t time.Time) (*bookBuilder, error) {
	snapshot, from, err := r.startSnapshot(ctx, t)
	if err != nil {
		return nil, err
	}
	b, err := r.buildBook(ctx, &snapshot, from, t)
	if err == nil && b.missing != nil && b.missing.after == snapshot.Snapshot.LastID {
		b, err = r.buildBook(ctx, &snapshot, time.Time{}, t) // the updates after the snapshot may lie before from
	}
	if err != nil || b.missing != nil {
		return b, err
	}
	missing, err := r.findMissing(ctx, b, t)
	if missing != nil {
		b.lose(missing)
	}
	return b, err
}

// startSnapshot returns the newest snapshot that the book at t can be built from, and the time from which the
// updates after it are searched. It is the last one before t by time, or the last one before the last update
// before t by id: the ids of a moving book order events better than two different clocks do.
func (r *reader) startSnapshot(ctx context.Context, t time.Time) (snapshot marketprism.Record, from time.Time, err error) {
	snapshot, found, err := r.lastSnapshot(ctx, t)
	if err != nil {
		return snapshot, from, err
	}
	sc := newScope(r.instrument, time.Time{}, t.Add(1))
	last, moved, err := r.queryHead(ctx, depthTable, r.instrument, sc, "ORDER BY ts DESC, last_id DESC LIMIT 1")
	if err != nil {
		return snapshot, from, err
	}
	upTo := int64(math.MinInt64)
	if moved {
		byID, ok, err := r.snapshotBefore(ctx, &last)
		if err != nil {
			return snapshot, from, err
		}
		if ok && (!found || byID.ReceivedAt.After(snapshot.ReceivedAt)) {
			snapshot, found = byID, true
		}
		upTo = last.Update.LastID
	}
	if !found {
		return snapshot, from, fmt.Errorf("%w: %s at %s", ErrNoSnapshot, r.instrument, t.Format(time.RFC3339Nano))
	}
	if snapshot, err = r.supersedingSnapshot(ctx, snapshot, t, upTo); err != nil {
		return snapshot, from, err
	}
	from = snapshot.Time()
	if moved && last.Time().Before(from) {
		from = last.Time()
	}
	return snapshot, from.Add(-lookBack), nil
}

// buildBook applies the updates after a snapshot, from one time up to another. Where updates are missing it reads
// on for as long as clocks can be apart.
func (r *reader) buildBook(ctx context.Context, snapshot *marketprism.Record, from, t time.Time) (*bookBuilder, error) {
	builder, err := newBookBuilder(r.instrument.Market)
	if err != nil {
		return nil, err
	}
	builder.apply(snapshot, snapshot.Time())
	sc := newScope(r.instrument, from, t.Add(1))
	sc.add("last_id >= {id:Int64}", "id", snapshot.Snapshot.LastID) // futures: an update that ends at the snapshot is the first to apply
	// If the venue's ids went back before the snapshot, updates with the old, higher ids can lie after
	// from. They were received before that was noticed.
	r.addSinceRegressed(&sc, snapshot)
	var since time.Time // of the first update that others before it are missing of
	err = r.updates(ctx, sc, func(rec *marketprism.Record, at time.Time) bool {
		builder.apply(rec, at)
		switch {
		case builder.missing == nil:
			since = time.Time{}
		case since.IsZero():
			since = at
		}
		return since.IsZero() || at.Sub(since) <= clockSkew
	})
	return builder, err
}

// updates calls f with the selected updates in the order of their time, until it returns false. The record is
// valid until f returns; duplicates come, too.
func (r *reader) updates(ctx context.Context, sc scope, f func(rec *marketprism.Record, at time.Time) bool) error {
	rows := r.stream(ctx, depthTable, r.instrument, sc, "ORDER BY ts, last_id")
	defer rows.close()
	rows.reuse = true
	var rec marketprism.Record
	for rows.advance() {
		if _, err := rows.record(&rec); err != nil {
			return err
		}
		if !f(&rec, rec.Time()) {
			return nil
		}
	}
	return rows.err
}

// findMissing looks for a Gap record between the last update of a book and t. It returns nil if there is none, or
// if the ids of a later record prove that no update was missed.
func (r *reader) findMissing(ctx context.Context, b *bookBuilder, t time.Time) (*missingRange, error) {
	id := b.id()
	sc := newScope(r.instrument, b.base.Time().Add(-clockSkew), t.Add(1))
	sc.add("received_at > fromUnixTimestamp64Nano({snapshot:Int64}, 'UTC')", "snapshot", nanos(b.base.ReceivedAt))
	sc.add("after_id >= {id:Int64}", "id", id)
	_, gap, err := r.queryOne(ctx, gapTable, r.instrument, sc, "ORDER BY ts LIMIT 1")
	if err != nil || !gap {
		return nil, err
	}
	next, ok, err := r.nextSnapshot(ctx, t)
	if err != nil || ok && next.Snapshot.LastID == id {
		return nil, err
	}
	sc = newScope(r.instrument, t.Add(1), time.Time{})
	sc.add("last_id > {id:Int64}", "id", id)
	update, ok, err := r.queryHead(ctx, depthTable, r.instrument, sc, "ORDER BY ts, last_id LIMIT 1")
	if err != nil || ok && r.instrument.Market.Continuity().Follows(id, update.Update) {
		return nil, err
	}
	missing := &missingRange{after: id, from: b.last}
	missing.before(update.Update)
	return missing, nil
}

// missingError returns the *MissingError for a time t within a missing range, with the next time at which the
// book is synced again.
func (r *reader) missingError(ctx context.Context, t time.Time, missing *missingRange) error {
	sc := newScope(r.instrument, t.Add(1), time.Time{})
	sc.add("last_id >= {next:Int64}", "next", max(missing.next, missing.after+1)) // an older one does not end the range
	next, ok, err := r.queryHead(ctx, snapshotTable, r.instrument, sc, "ORDER BY ts, last_id LIMIT 1")
	if err == nil && !ok {
		next, ok, err = r.nextSnapshot(ctx, t.Add(lookBack)) // the venue's ids may start again from low ones
	}
	if err != nil {
		return err
	}
	e := &MissingError{Instrument: r.instrument, At: t, After: missing.after, Next: missing.next, From: missing.from}
	if e.From.After(t) { // the snapshot before the range arrived later
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

// newestFirst puts the newest snapshot first, and of several with its time and id the deepest.
const newestFirst = "ORDER BY ts DESC, last_id DESC, length(bid_price_e8) DESC LIMIT 1"

// lastSnapshot returns the newest snapshot at or before t.
func (r *reader) lastSnapshot(ctx context.Context, t time.Time) (marketprism.Record, bool, error) {
	sc := newScope(r.instrument, time.Time{}, t.Add(1))
	return r.queryOne(ctx, snapshotTable, r.instrument, sc, newestFirst)
}

// nextSnapshot returns the oldest snapshot after t, without levels.
func (r *reader) nextSnapshot(ctx context.Context, t time.Time) (marketprism.Record, bool, error) {
	sc := newScope(r.instrument, t.Add(1), time.Time{})
	return r.queryHead(ctx, snapshotTable, r.instrument, sc, "ORDER BY ts, last_id LIMIT 1")
}

// snapshotBefore returns the newest snapshot that an update can be applied after, by its id. After a market is
// wiped its ids start again from low ones, so a snapshot that was received much later is left out.
func (r *reader) snapshotBefore(ctx context.Context, update *marketprism.Record) (marketprism.Record, bool, error) {
	sc := newScope(r.instrument, time.Time{}, time.Time{})
	sc.add("last_id <= {id:Int64}", "id", update.Update.LastID)
	sc.add("received_at <= fromUnixTimestamp64Nano({received:Int64}, 'UTC')", "received", clamp(update.ReceivedAt.Add(lookBack)))
	sc.add("received_at < ("+r.regressions("ifNull(minOrNull(received_at), toDateTime64('2262-01-01 00:00:00', 9, 'UTC'))")+
		" AND received_at > fromUnixTimestamp64Nano({update:Int64}, 'UTC'))", "update", clamp(update.ReceivedAt))
	return r.queryOne(ctx, snapshotTable, r.instrument, sc, newestFirst)
}

// supersedingSnapshot returns the snapshot with the highest id that supersedes the given one: it has a higher
// id but arrived earlier, from another collector or from a server that was less behind. Where none does, it
// returns the given one. The superseding one arrived by t, or its id is at most upTo.
func (r *reader) supersedingSnapshot(ctx context.Context, snapshot marketprism.Record, t time.Time, upTo int64) (marketprism.Record, error) {
	const highestFirst = "ORDER BY last_id DESC, ts DESC, length(bid_price_e8) DESC LIMIT 1"
	sc := newScope(r.instrument, snapshot.Time().Add(-lookBack), snapshot.Time().Add(1))
	sc.add("last_id > {superseded:Int64}", "superseded", snapshot.Snapshot.LastID)
	sc.add("(ts <= fromUnixTimestamp64Nano({by:Int64}, 'UTC') OR last_id <= {up_to:Int64})", "by", clamp(t))
	sc.args = append(sc.args, named("up_to", upTo))
	_, ok, err := r.queryHead(ctx, snapshotTable, r.instrument, sc, highestFirst)
	if err != nil || !ok {
		return snapshot, err
	}
	r.addSinceRegressed(&sc, &snapshot) // only now, since it costs a subquery
	higher, ok, err := r.queryOne(ctx, snapshotTable, r.instrument, sc, highestFirst)
	if err != nil || !ok {
		return snapshot, err
	}
	return higher, nil
}

// addSinceRegressed leaves out what was received before the venue's ids last went back before a snapshot.
func (r *reader) addSinceRegressed(sc *scope, snapshot *marketprism.Record) {
	sc.add("received_at >= ("+r.regressions("max(received_at)")+" AND received_at <= fromUnixTimestamp64Nano({snapshot:Int64}, 'UTC'))",
		"snapshot", nanos(snapshot.ReceivedAt))
}

// regressions selects an expression of the Gap records at which the venue's ids went back. The parameters
// are those of a scope.
func (r *reader) regressions(expression string) string {
	return "SELECT " + expression + " FROM " + r.tableName(gapTable.name()) +
		" WHERE exchange = {exchange:String} AND market = {market:String} AND symbol = {symbol:String} AND reason = 'regressed'"
}
