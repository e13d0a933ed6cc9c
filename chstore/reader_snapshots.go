package chstore

import (
	"context"
	"time"

	"github.com/marketprism/marketprism"
)

// newestFirst puts the newest snapshot first, and of several with its time and id the deepest.
const newestFirst = "ORDER BY ts DESC, last_id DESC, length(bid_price_e8) DESC LIMIT 1"

// lastSnapshot returns the newest snapshot at or before t.
func (r *reader) lastSnapshot(ctx context.Context, t time.Time) (marketprism.Record, bool, error) {
	sc := newScope(r.instrument, time.Time{}, t.Add(1))
	return r.queryOne(ctx, snapshotTable, r.instrument, sc, newestFirst)
}

// nextSnapshot returns the oldest snapshot after t.
func (r *reader) nextSnapshot(ctx context.Context, t time.Time) (marketprism.Record, bool, error) {
	sc := newScope(r.instrument, t.Add(1), time.Time{})
	return r.queryOne(ctx, snapshotTable, r.instrument, sc, "ORDER BY ts, last_id LIMIT 1")
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
	_, ok, err := r.queryOne(ctx, snapshotTable, r.instrument, sc, highestFirst)
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
