package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/bench"
	"github.com/marketprism/marketprism/internal/eventgen"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
)

// The rates of a day of market time.
const (
	updatesPerSecond   = 10
	updatesPerSnapshot = 60 * updatesPerSecond
)

// daysBefore is how many further days, each a partition, are stored before the books are read a second time.
const daysBefore = 29

// A day holds the results of reading a day back.
type day struct {
	updates, snapshots int
	books, ofMonth     bench.Histogram
	scan, replay       scan
}

// A scan is how many records were read, and in what time.
type scan struct {
	records int
	took    time.Duration
}

func (s scan) rate() float64 { return float64(s.records) / s.took.Seconds() }

// measureDay writes a day and reads it.
func (b *testbed) measureDay(ctx context.Context) (*day, error) {
	store, err := b.openStore(ctx, dayPrefix)
	if err != nil {
		return nil, err
	}
	d := &day{updates: int(b.opt.day.Seconds()) * updatesPerSecond}
	first, last, book, err := d.write(ctx, store, b.opt.batch)
	if err != nil {
		return nil, err
	}
	if err := d.ask(ctx, store, first, last, book, b.opt.books, &d.books); err != nil {
		return nil, err
	}
	if err := d.read(ctx, store, first); err != nil {
		return nil, err
	}
	if err := b.addDays(ctx, first); err != nil {
		return nil, err
	}
	return d, d.ask(ctx, store, first, last, book, b.opt.books, &d.ofMonth)
}

// addDays stores the first hour of the day on each of the days before, with lower ids.
func (b *testbed) addDays(ctx context.Context, first time.Time) error {
	for _, t := range []struct{ name, ids string }{
		{"depth_events", "first_id - {n:Int64} * 10000000000 AS first_id, last_id - {n:Int64} * 10000000000 AS last_id"},
		{"book_snapshots", "last_id - {n:Int64} * 10000000000 AS last_id"},
	} {
		table := database + "." + dayPrefix + t.name
		for n := range int64(daysBefore) {
			err := b.conn.Exec(ctx, "INSERT INTO "+table+" SELECT * REPLACE (ts - toIntervalDay({n:Int64}) AS ts, "+
				"received_at - toIntervalDay({n:Int64}) AS received_at, "+t.ids+") FROM "+table+
				" WHERE ts >= fromUnixTimestamp64Nano({from:Int64}) AND ts < fromUnixTimestamp64Nano({to:Int64})",
				clickhouse.Named("n", n+1), clickhouse.Named("from", first.UnixNano()), clickhouse.Named("to", first.Add(time.Hour).UnixNano()))
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// write archives the day, and returns the times of the first and the last update and the book at the end.
func (d *day) write(ctx context.Context, store *chstore.Store, batch int) (first, last time.Time, book *orderbook.Book, err error) {
	s := eventgen.NewStream(eventgen.Config{Seed: 1})
	f := depthFeedOf(s)
	book = new(orderbook.Book)
	book.Reset(&s.Snapshot)
	var recs []marketprism.Record
	for i := range d.updates {
		recs = f.next(recs, 1)
		update := recs[len(recs)-1]
		book.Apply(update.Update)
		if last = update.EventTime; first.IsZero() {
			first = last
		}
		if i%updatesPerSnapshot == 0 {
			snapshot := book.Snapshot()
			f.seq++
			recs = append(recs, marketprism.Record{
				Instrument: update.Instrument, ReceivedAt: update.ReceivedAt, Snapshot: &snapshot,
				Origin: marketprism.Origin{Source: update.Origin.Source, Sequence: f.seq},
			})
			d.snapshots++
		}
		if len(recs) >= batch || i == d.updates-1 {
			if err := store.Write(ctx, recs); err != nil {
				return first, last, book, err
			}
			recs = recs[:0]
		}
	}
	return first, last, book, nil
}

// ask checks the book at the end of the day, then reads books at random moments.
func (d *day) ask(ctx context.Context, store *chstore.Store, first, last time.Time, want *orderbook.Book, books int, took *bench.Histogram) error {
	stored, err := store.BookAt(ctx, instrument("BTCUSDT"), last)
	if err != nil {
		return err
	}
	if stored.LastID() != want.LastID() || stored.Checksum() != want.Checksum() {
		return fmt.Errorf("the book at %v is not the one that was written", last)
	}
	rng := rand.New(rand.NewPCG(4, 4))
	first = first.Add(time.Second) // after the first snapshot was received
	for range books {
		at := first.Add(time.Duration(rng.Int64N(int64(last.Sub(first)))))
		start := time.Now()
		if _, err := store.BookAt(ctx, instrument("BTCUSDT"), at); err != nil {
			return err
		}
		took.Add(time.Since(start))
	}
	return nil
}

// read reads up to two hours of updates: by Records, and by Replay.
func (d *day) read(ctx context.Context, store *chstore.Store, first time.Time) error {
	from, to, kinds := first, first.Add(2*time.Hour), []marketprism.Kind{marketprism.KindUpdate}
	start := time.Now()
	for _, err := range store.Records(ctx, chstore.Query{Instrument: instrument("BTCUSDT"), Kinds: kinds, From: from, To: to}) {
		if err != nil {
			return err
		}
		d.scan.records++
	}
	d.scan.took = time.Since(start)
	start = time.Now()
	q := chstore.ReplayQuery{Instruments: []marketprism.Instrument{instrument("BTCUSDT")}, Kinds: kinds, From: from, To: to}
	err := store.Replay(ctx, q, chstore.ReplayConfig{}, sink.Func(func(_ context.Context, recs []marketprism.Record) error {
		d.replay.records += len(recs)
		return nil
	}))
	d.replay.took = time.Since(start)
	if least := min(d.updates, 2*3600*updatesPerSecond) - 1; err == nil && (d.scan.records < least || d.replay.records < least) {
		err = fmt.Errorf("read %d and %d records of the first two hours, want %d", d.scan.records, d.replay.records, least)
	}
	return err
}

func (d *day) print(out io.Writer) {
	for _, books := range []struct {
		of   *bench.Histogram
		text string
	}{{&d.books, ""}, {&d.ofMonth, fmt.Sprintf(", with %d days more", daysBefore)}} {
		fmt.Fprintf(out, "| BookAt p50 / p99, %d moments among %d updates and %d snapshots%s | %v / %v | | |\n", books.of.Count(), d.updates, d.snapshots,
			books.text, books.of.Quantile(0.5).Round(10*time.Microsecond), books.of.Quantile(0.99).Round(10*time.Microsecond))
	}
	fmt.Fprintf(out, "| Records, updates/s | %.0f | | |\n| Replay, updates/s | %.0f | | |\n", d.scan.rate(), d.replay.rate())
}
