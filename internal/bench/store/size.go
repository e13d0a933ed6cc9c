package main

import (
	"context"
	"fmt"
	"io"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/eventgen"
)

// A size is what the same updates take on disk, as rows and as the exchange's JSON.
type size struct {
	levels          uint64
	depth, raw, all uint64 // bytes: compressed of both, and of the JSON as it came
}

// measureSize stores the JSON of the updates that compareWrites has written.
func (b *bench) measureSize(ctx context.Context) (*size, error) {
	if err := b.conn.Exec(ctx, "CREATE TABLE "+database+".raw (ts DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)), json String CODEC(ZSTD(1)))"+
		" ENGINE = MergeTree PARTITION BY toYYYYMMDD(ts) ORDER BY ts"); err != nil {
		return nil, err
	}
	var s size
	ts := new(proto.ColDateTime64).WithPrecision(proto.PrecisionMilli)
	var text proto.ColStr
	input := proto.Input{{Name: "ts", Data: ts}, {Name: "json", Data: &text}}
	f := newDepthFeed()
	var recs []marketprism.Record
	var line []byte
	for range b.opt.rows / b.opt.batch {
		recs = f.next(recs[:0], b.opt.batch)
		input.Reset()
		for _, r := range recs {
			line = eventgen.AppendUpdate(line[:0], r.Instrument.Symbol, r.Update)
			ts.Append(r.EventTime)
			text.AppendBytes(line)
			s.levels += uint64(len(r.Update.Bids) + len(r.Update.Asks))
			s.all += uint64(len(line))
		}
		if err := b.hand.Do(ctx, ch.Query{Body: input.Into("raw"), Input: input}); err != nil {
			return nil, err
		}
	}
	var err error
	if s.depth, err = b.merged(ctx, "depth_events"); err != nil {
		return nil, err
	}
	s.raw, err = b.merged(ctx, "raw")
	return &s, err
}

// merged merges a table and returns its size on disk, all columns, marks and the rest counted.
func (b *bench) merged(ctx context.Context, table string) (bytes uint64, err error) {
	if err := b.conn.Exec(ctx, "OPTIMIZE TABLE "+database+"."+table+" FINAL"); err != nil {
		return 0, err
	}
	row := b.conn.QueryRow(ctx, "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = ? AND table = ?", database, table)
	return bytes, row.Scan(&bytes)
}

func (s *size) print(out io.Writer) {
	each := func(bytes uint64) float64 { return float64(bytes) / float64(s.levels) }
	fmt.Fprintf(out, "| bytes a level on disk, beside raw JSON with ZSTD(1) (%.1f before) | %.2f | %.2f | %.2f times smaller |\n",
		each(s.all), each(s.depth), each(s.raw), float64(s.raw)/float64(s.depth))
}
