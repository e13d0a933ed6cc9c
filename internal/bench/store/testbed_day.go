package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/bench"
	"github.com/marketprism/marketprism/internal/eventgen"
	"github.com/marketprism/marketprism/orderbook"
)

// The rates of a day of market time.
const (
	updatesPerSecond   = 10
	updatesPerSnapshot = 60 * updatesPerSecond
)

// A day holds the results of reading a day back.
type day struct {
	updates, snapshots int
	books              bench.Histogram
	records            int
	scan               time.Duration
}

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
	if err := d.ask(ctx, store, first, last, book, b.opt.books); err != nil {
		return nil, err
	}
	return d, d.read(ctx, store, first)
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
func (d *day) ask(ctx context.Context, store *chstore.Store, first, last time.Time, want *orderbook.Book, books int) error {
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
		d.books.Add(time.Since(start))
	}
	return nil
}

// read reads up to two hours of updates.
func (d *day) read(ctx context.Context, store *chstore.Store, first time.Time) error {
	q := chstore.Query{
		Instrument: instrument("BTCUSDT"), Kinds: []marketprism.Kind{marketprism.KindUpdate},
		From: first, To: first.Add(2 * time.Hour),
	}
	start := time.Now()
	for _, err := range store.Records(ctx, q) {
		if err != nil {
			return err
		}
		d.records++
	}
	d.scan = time.Since(start)
	if least := min(d.updates, 2*3600*updatesPerSecond) - 1; d.records < least {
		return fmt.Errorf("read %d records of the first two hours, want %d", d.records, least)
	}
	return nil
}

func (d *day) print(out io.Writer) {
	fmt.Fprintf(out, "| BookAt p50 / p99, %d moments among %d updates and %d snapshots | %v / %v | | |\n",
		d.books.Count(), d.updates, d.snapshots, d.books.Quantile(0.5).Round(10*time.Microsecond), d.books.Quantile(0.99).Round(10*time.Microsecond))
	fmt.Fprintf(out, "| Records, updates/s | %.0f | | |\n", float64(d.records)/d.scan.Seconds())
}
