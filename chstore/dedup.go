package chstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/marketprism/marketprism"
)

// A rowKey identifies a record among those of its kind, as Record.Key does. For a Snapshot or Gap it includes the time
// of receipt: a quiet book that is lost twice ends and begins twice at one update id.
type rowKey struct{ id, minor, received int64 }

// dedupRows bounds the keys of one kind that a reader remembers, and the keys that it reads from the
// server at a time.
const dedupRows = 1 << 16

// A dedup recognizes rows that come a second time in a range of any length, with memory for a part of it.
//
// It remembers the last keys. Ids grow with time, so a row with a higher id than all before it
// is new, and nearly every row is decided that way. The exception is a row with an id as low as forgotten
// ones: data that came much later a second time, or ids that went back. For such a row it reads
// from the server which keys the range holds before it, from its id upwards, and
// keeps them for the rows that follow.
type dedup struct {
	*db
	table table
	kind  marketprism.Kind
	scope scope

	ascending []rowKey            // the last keys whose id was as high as all before
	late      []rowKey            // the last of the others
	isLate    map[rowKey]struct{} // the same keys
	forgotten int64               // highest id that fell out of both
	forgot    bool

	earlier  map[rowKey]struct{} // keys from the server; nil if none were read
	from, to int64               // the ids that earlier covers
}

func newDedup(d *db, t table, kind marketprism.Kind, sc scope) *dedup {
	return &dedup{db: d, table: t, kind: kind, scope: sc, isLate: make(map[rowKey]struct{})}
}

// isDuplicate reports whether a row with these times was read before, and remembers it.
func (d *dedup) isDuplicate(ctx context.Context, r rank, ts, received int64) (bool, error) {
	key := rowKey{id: r.id, minor: r.minor}
	if r.kind == marketprism.KindSnapshot || r.kind == marketprism.KindGap {
		key.received = received
	}
	if n := len(d.ascending); n == 0 || key.id > d.ascending[n-1].id {
		d.remember(key)
		return false, nil
	}
	if d.remembers(key) {
		return true, nil
	}
	if d.forgot && key.id <= d.forgotten {
		if d.earlier == nil || key.id < d.from || key.id > d.to {
			if err := d.readEarlier(ctx, key.id, ts); err != nil {
				return false, err
			}
		}
		if _, ok := d.earlier[key]; ok {
			return true, nil
		}
	}
	d.remember(key)
	return false, nil
}

func (d *dedup) remembers(key rowKey) bool {
	if _, ok := d.isLate[key]; ok {
		return true
	}
	i, _ := slices.BinarySearchFunc(d.ascending, key.id, func(k rowKey, id int64) int { return cmp.Compare(k.id, id) })
	for ; i < len(d.ascending) && d.ascending[i].id == key.id; i++ {
		if d.ascending[i] == key {
			return true
		}
	}
	return false
}

func (d *dedup) remember(key rowKey) {
	if n := len(d.ascending); n == 0 || key.id >= d.ascending[n-1].id {
		d.ascending = append(d.forget(d.ascending), key)
		return
	}
	d.late = append(d.forget(d.late), key)
	d.isLate[key] = struct{}{}
}

// forget makes room for one more key: it returns keys without the older half, if they are as many as may be.
func (d *dedup) forget(keys []rowKey) []rowKey {
	if len(keys) < dedupRows {
		return keys
	}
	half := len(keys) / 2
	for _, old := range keys[:half] {
		delete(d.isLate, old)
		if !d.forgot || old.id > d.forgotten {
			d.forgot, d.forgotten = true, old.id
		}
		// If old is not in earlier, that was read before old was.
		if _, ok := d.earlier[old]; !ok && old.id >= d.from && old.id <= d.to {
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
	rows, err := d.query(ctx, d.table, []string{"DISTINCT " + idColumn + " AS id", minorColumn + " AS minor", receivedColumn + " AS received"}, sc,
		fmt.Sprintf("ORDER BY id LIMIT %d WITH TIES", dedupRows))
	if err != nil {
		return err
	}
	defer rows.Close()
	d.earlier = make(map[rowKey]struct{})
	d.from, d.to = id, unlimited
	last := id
	for rows.Next() {
		var key rowKey
		if err := rows.Scan(&key.id, &key.minor, &key.received); err != nil {
			return d.table.readError(ctx, err)
		}
		d.earlier[key] = struct{}{}
		last = key.id
	}
	if len(d.earlier) >= dedupRows {
		d.to = last
	}
	if err := rows.Err(); err != nil {
		return d.table.readError(ctx, err)
	}
	return nil
}
