package chstore

import (
	"context"
	"fmt"
	"strconv"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// A Watermark tells how much of a source one partition of one table holds.
type Watermark struct {
	Table     string // without the prefix
	Partition uint32
	Sequence  uint64 // the highest that is stored
	Rows      uint64
}

// Watermark returns what each partition of each table holds of a source, that is, of records whose
// Origin.Source is src. It reads the tables themselves, by a projection that answers in milliseconds.
func (s *Store) Watermark(ctx context.Context, src string) (all []Watermark, err error) {
	defer s.observe(OpMarks)(&err)
	for _, w := range s.tables {
		marks, err := w.watermarks(ctx, src)
		if err != nil {
			return nil, err
		}
		all = append(all, marks...)
	}
	return all, nil
}

func (w *writer) watermarks(ctx context.Context, src string) ([]Watermark, error) {
	rows, err := w.s.conn.Query(w.current(ctx), "SELECT _partition_id AS p, max(seq), count() FROM "+w.quoted+
		" WHERE src = {src:String} GROUP BY p ORDER BY p", clickhouse.Named("src", src))
	if err != nil {
		return nil, fmt.Errorf("chstore: watermark of %s: %w", w.name, err)
	}
	defer rows.Close()
	var marks []Watermark
	for rows.Next() {
		m := Watermark{Table: w.table.name()}
		var partition string
		if err := rows.Scan(&partition, &m.Sequence, &m.Rows); err != nil {
			return nil, fmt.Errorf("chstore: watermark of %s: %w", w.name, err)
		}
		id, err := strconv.ParseUint(partition, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("chstore: watermark of %s: partition %q: %w", w.name, partition, err)
		}
		m.Partition = uint32(id)
		marks = append(marks, m)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("chstore: watermark of %s: %w", w.name, err)
	}
	return marks, nil
}

// held returns which sequences of a group, up to the partition's watermark, the table holds. Those
// above are known not to be there. It is asked for only when messages come again or out of order.
func (w *writer) held(ctx context.Context, g *group, mark uint64) (map[uint64]bool, error) {
	held := make(map[uint64]bool, len(g.recs))
	low, high := mark, uint64(0)
	for _, r := range g.recs {
		if seq := r.Origin.Sequence; seq <= mark {
			held[seq] = false
			low, high = min(low, seq), max(high, seq)
		}
	}
	if high == 0 {
		return held, nil
	}
	rows, err := w.s.conn.Query(w.current(ctx), "SELECT seq FROM "+w.quoted+
		" WHERE src = {src:String} AND _partition_id = {partition:String} AND seq BETWEEN {low:UInt64} AND {high:UInt64}",
		clickhouse.Named("src", g.source), clickhouse.Named("partition", strconv.FormatUint(uint64(g.partition), 10)),
		clickhouse.Named("low", low), clickhouse.Named("high", high))
	if err != nil {
		return nil, fmt.Errorf("sequences held: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var seq uint64
		if err := rows.Scan(&seq); err != nil {
			return nil, fmt.Errorf("sequences held: %w", err)
		}
		if _, asked := held[seq]; asked {
			held[seq] = true
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("sequences held: %w", err)
	}
	return held, nil
}

// current makes a question see every INSERT that was confirmed, on whichever replica.
func (w *writer) current(ctx context.Context) context.Context {
	if !w.s.cfg.Cluster.replicated() {
		return ctx
	}
	return clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"select_sequential_consistency": 1}))
}
