package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/bench"
	"github.com/marketprism/marketprism/internal/eventgen"
	"github.com/marketprism/marketprism/orderbook"
)

// A cost is the time of writing a number of rows.
type cost struct {
	rows int
	took time.Duration
	used bench.CPUTime
}

func (c *cost) add(rows int, f func() error) error {
	start, used := time.Now(), bench.CPUUsed()
	err := f()
	c.rows += rows
	c.took += time.Since(start)
	c.used = c.used.Plus(bench.CPUUsed().Minus(used))
	return err
}

func (c *cost) rate() float64 { return float64(c.rows) / c.took.Seconds() }

// each returns the CPU time of a row in microseconds.
func (c *cost) each() float64 { return c.used.Total().Seconds() * 1e6 / float64(c.rows) }

// A comparison holds the costs of writing the same rows both ways.
type comparison struct {
	store, hand cost
	ratios      []float64 // of the time by hand to that of Write, batch by batch
}

// compareWrites writes the same batches both ways. It does not count the first batch, and alternates which way
// is first, so that both find the records in the processor's cache equally often.
func (b *testbed) compareWrites(ctx context.Context, table string, f *feed, h *byHand) (*comparison, error) {
	var c comparison
	var recs []marketprism.Record
	for i := range b.opt.rows / b.opt.batch {
		recs = f.next(recs[:0], b.opt.batch)
		var store, hand cost
		ways := []func() error{
			func() error { return store.add(len(recs), func() error { return b.store.Write(ctx, recs) }) },
			func() error {
				return hand.add(len(recs), func() error { return h.insert(ctx, b.hand, handPrefix+table, recs) })
			},
		}
		if i%2 == 1 {
			slices.Reverse(ways)
		}
		for _, write := range ways {
			if err := write(); err != nil {
				return nil, fmt.Errorf("%s: %w", table, err)
			}
		}
		if i == 0 {
			continue
		}
		c.store, c.hand = c.store.plus(store), c.hand.plus(hand)
		c.ratios = append(c.ratios, hand.took.Seconds()/store.took.Seconds())
	}
	slices.Sort(c.ratios)
	return &c, b.checkSame(ctx, table)
}

func (c cost) plus(d cost) cost { return cost{c.rows + d.rows, c.took + d.took, c.used.Plus(d.used)} }

// checkSame returns an error unless both tables hold the same rows.
func (b *testbed) checkSame(ctx context.Context, table string) error {
	var counts, sums [2]uint64
	for i, prefix := range []string{"", handPrefix} {
		row := b.conn.QueryRow(ctx, "SELECT count(), sum(cityHash64(*)) FROM "+database+"."+prefix+table)
		if err := row.Scan(&counts[i], &sums[i]); err != nil {
			return err
		}
	}
	want := uint64(b.opt.rows / b.opt.batch * b.opt.batch)
	if counts[0] != want || counts[1] != want || sums[0] != sums[1] {
		return fmt.Errorf("%s has %d rows by Write and %d by hand, hashes %x and %x: want the same %d", table, counts[0], counts[1], sums[0], sums[1], want)
	}
	return nil
}

func (c *comparison) print(out io.Writer, name string) {
	fmt.Fprintf(out, "| %s, rows/s, beside ch-go by hand | %.0f | %.0f | %.2f (median of batches) |\n",
		name, c.store.rate(), c.hand.rate(), c.ratios[len(c.ratios)/2])
	fmt.Fprintf(out, "| %s, client CPU µs/row, beside ch-go by hand | %.2f | %.2f | %.2f |\n",
		name, c.store.each(), c.hand.each(), c.hand.each()/c.store.each())
}

// A size holds the bytes of the same updates on disk, as rows and as the exchange's JSON.
type size struct {
	levels          uint64
	depth, raw, all uint64 // bytes: both compressed, and the JSON uncompressed
}

// measureSize stores the JSON of the updates that compareWrites wrote.
func (b *testbed) measureSize(ctx context.Context) (*size, error) {
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

// merged merges a table and returns its size on disk, with all columns and marks.
func (b *testbed) merged(ctx context.Context, table string) (bytes uint64, err error) {
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

// A feed generates the records of one source.
type feed struct {
	make func(rec *marketprism.Record)
	seq  uint64
}

// next appends n records to buf, which may be that of the last call.
func (f *feed) next(buf []marketprism.Record, n int) []marketprism.Record {
	for range n {
		f.seq++
		rec := marketprism.Record{Origin: marketprism.Origin{Source: "MD@2026-02-01T00:00:00Z", Sequence: f.seq}}
		f.make(&rec)
		buf = append(buf, rec)
	}
	return buf
}

func instrument(symbol string) marketprism.Instrument {
	return marketprism.Instrument{Exchange: "binance", Market: marketprism.Spot, Symbol: symbol}
}

// delay is the time of a record from the exchange to the collector.
const delay = 3_217 * time.Microsecond

func newDepthFeed() *feed { return depthFeedOf(eventgen.NewStream(eventgen.Config{})) }

func depthFeedOf(s *eventgen.Stream) *feed {
	return &feed{make: func(rec *marketprism.Record) {
		u := s.Next()
		rec.Instrument, rec.Update = instrument(s.Symbol), &u
		rec.EventTime, rec.ReceivedAt = u.EventTime, u.EventTime.Add(delay)
	}}
}

// newTradeFeed generates about a thousand trades a second of ten symbols.
func newTradeFeed() *feed {
	rng := rand.New(rand.NewPCG(1, 1))
	symbols := []string{"BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "BNBUSDT", "ADAUSDT", "DOGEUSDT", "TRXUSDT", "LINKUSDT", "AVAXUSDT"}
	ids := make([]int64, len(symbols))
	at := time.UnixMilli(1_770_000_000_000).UTC()
	return &feed{make: func(rec *marketprism.Record) {
		at = at.Add(time.Duration(rng.IntN(2_000)) * time.Microsecond)
		i := rng.IntN(len(symbols))
		ids[i]++
		traded := at.Truncate(time.Millisecond)
		rec.Instrument, rec.EventTime, rec.ReceivedAt = instrument(symbols[i]), traded, traded.Add(delay)
		rec.Trade = &marketprism.Trade{
			ID: ids[i], Price: orderbook.Fixed(6_000_000+rng.IntN(10_000)) * orderbook.One / 100,
			Quantity:   orderbook.Fixed(1+rng.IntN(100_000)) * orderbook.One / 100_000,
			BuyerMaker: rng.IntN(2) == 0, BestMatch: true, TradeTime: traded,
		}
	}}
}
