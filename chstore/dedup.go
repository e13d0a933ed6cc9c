package chstore

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/marketprism/marketprism"
)

// A rowKey identifies a record among those of its kind and epoch, as Record.Key does. It includes a sum of what the
// record says: an id that comes a second time with other content is no copy. For a Snapshot or Gap it includes the time
// of receipt: a quiet book that is lost twice ends and begins twice at one update id.
type rowKey struct{ id, minor, received int64 }

// A seenRow is a row that a dedup remembers, with the time that distinguishes a copy from a record of a later epoch.
type seenRow struct {
	rowKey
	ts int64
}

// dedupRows bounds the keys of one kind that a reader remembers, and the keys that it reads from the
// server at a time.
const dedupRows = 1 << 16

// A dedup recognizes rows that come a second time in a range of any length, with memory for a part of it.
//
// It remembers the last keys of an epoch. Ids grow with time, so a row with a higher id than all before it
// is new, and nearly every row is decided that way. The exception is a row with an id as low as forgotten
// ones: data that came much later a second time, or ids that went back unnoticed. For such a row it reads
// from the server which keys the range holds before it, from its id upwards, and
// keeps them for the rows that follow.
//
// A copy was sent when its original was: one that was sent more than clockSkew later is of another epoch. Only the
// exchange's time says so: of a trade that of the matching engine, since one that was fetched has no other, while the
// stream may have sent it any time later.
type dedup struct {
	*db
	table table
	kind  marketprism.Kind
	scope scope

	epochs epochs
	epoch  int // of the keys

	ascending []seenRow        // the last rows whose id was as high as all before
	late      []seenRow        // the last of the others
	isLate    map[rowKey]int64 // the times of the same rows
	forgotten int64            // highest id that fell out of both
	forgot    bool

	earlier  map[rowKey]int64 // keys from the server, with the time of the last row; nil if none were read
	from, to int64            // the ids that earlier covers
}

func newDedup(d *db, t table, kind marketprism.Kind, sc scope, all epochs) *dedup {
	return &dedup{db: d, table: t, kind: kind, scope: sc, epochs: all, isLate: make(map[rowKey]int64)}
}

// begin forgets the keys of the epochs before one.
func (d *dedup) begin(epoch int) {
	clear(d.isLate)
	d.epoch, d.ascending, d.late, d.forgot, d.earlier = epoch, d.ascending[:0], d.late[:0], false, nil
}

// isDuplicate reports whether the row of a record with these times was read before, and remembers it.
func (d *dedup) isDuplicate(ctx context.Context, r rank, rec *marketprism.Record, ts, received int64) (bool, error) {
	at := ts
	if k := rec.Trade; k != nil && !k.TradeTime.IsZero() {
		at = k.TradeTime.UnixNano()
	}
	key := seenRow{rowKey{id: r.id, minor: r.minor}, at}
	if r.kind == marketprism.KindSnapshot || r.kind == marketprism.KindGap {
		key.received = received
	}
	if len(d.epochs) > 1 {
		if epoch := d.epochs.of(rec); epoch > d.epoch {
			d.begin(epoch)
		}
	}
	sent := int64(math.MinInt64) // of the earliest row that this one may be a copy of
	if !rec.EventTime.IsZero() {
		sent = at - int64(clockSkew)
	}
	if n := len(d.ascending); n == 0 || key.id > d.ascending[n-1].id {
		d.remember(key)
		return false, nil
	}
	if d.remembers(key.rowKey, sent) {
		return true, nil
	}
	if d.forgot && key.id <= d.forgotten {
		if d.earlier == nil || key.id < d.from || key.id > d.to {
			if err := d.readEarlier(ctx, key.id, ts); err != nil {
				return false, err
			}
		}
		if at, ok := d.earlier[key.rowKey]; ok && at >= sent {
			return true, nil
		}
	}
	d.remember(key)
	return false, nil
}

// remembers reports whether it remembers a row with a key that was sent since some time.
func (d *dedup) remembers(key rowKey, sent int64) bool {
	if ts, ok := d.isLate[key]; ok && ts >= sent {
		return true
	}
	i, _ := slices.BinarySearchFunc(d.ascending, key.id, func(k seenRow, id int64) int { return cmp.Compare(k.id, id) })
	for ; i < len(d.ascending) && d.ascending[i].id == key.id; i++ {
		if d.ascending[i].rowKey == key && d.ascending[i].ts >= sent {
			return true
		}
	}
	return false
}

func (d *dedup) remember(key seenRow) {
	if n := len(d.ascending); n == 0 || key.id >= d.ascending[n-1].id {
		d.ascending = append(d.forget(d.ascending), key)
		return
	}
	d.late = append(d.forget(d.late), key)
	d.isLate[key.rowKey] = key.ts
}

// forget makes room for one more key: it returns keys without the older half, if they are as many as may be.
func (d *dedup) forget(keys []seenRow) []seenRow {
	if len(keys) < dedupRows {
		return keys
	}
	half := len(keys) / 2
	for _, old := range keys[:half] {
		if d.isLate[old.rowKey] == old.ts {
			delete(d.isLate, old.rowKey)
		}
		if !d.forgot || old.id > d.forgotten {
			d.forgot, d.forgotten = true, old.id
		}
		// If old is not in earlier, that was read before old was.
		if ts, ok := d.earlier[old.rowKey]; (!ok || ts < old.ts) && old.id >= d.from && old.id <= d.to {
			d.earlier = nil
		}
	}
	return slices.Delete(keys, 0, half)
}

// readEarlier fills earlier with the keys of rows before ts, from id on.
func (d *dedup) readEarlier(ctx context.Context, id, ts int64) error {
	const unlimited = 1<<63 - 1
	idColumn, minorColumn, receivedColumn := d.table.keyColumns()
	sc := d.scope
	sc.add("ts < fromUnixTimestamp64Nano({before:Int64}, 'UTC')", "before", ts)
	sc.add(idColumn+" >= {id:Int64}", "id", id)
	if d.table == tradeTable {
		sc.add("aggregate = {kind:Bool}", "kind", d.kind == marketprism.KindAggTrade)
	}
	d.epochs.addTo(&sc, d.epoch)
	rows, err := d.query(ctx, d.table,
		[]string{idColumn + " AS key_id", minorColumn + " AS minor", receivedColumn + " AS received", "max(" + idsOf(d.table).at + ") AS last"}, sc,
		fmt.Sprintf("GROUP BY key_id, minor, received ORDER BY key_id LIMIT %d WITH TIES", dedupRows))
	if err != nil {
		return err
	}
	defer rows.Close()
	d.earlier = make(map[rowKey]int64)
	d.from, d.to = id, unlimited
	last := id
	for rows.Next() {
		var row seenRow
		if err := rows.Scan(&row.id, &row.minor, &row.received, &row.ts); err != nil {
			return d.table.readError(ctx, err)
		}
		d.earlier[row.rowKey] = row.ts
		last = row.id
	}
	if len(d.earlier) >= dedupRows {
		d.to = last
	}
	if err := rows.Err(); err != nil {
		return d.table.readError(ctx, err)
	}
	return nil
}
