package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/cpu"
)

// A cost is what a number of rows took.
type cost struct {
	rows int
	took time.Duration
	used cpu.Time
}

func (c *cost) add(rows int, f func() error) error {
	start, used := time.Now(), cpu.Used()
	err := f()
	c.rows += rows
	c.took += time.Since(start)
	c.used = c.used.Plus(cpu.Used().Minus(used))
	return err
}

func (c *cost) rate() float64 { return float64(c.rows) / c.took.Seconds() }

// each is the CPU time of a row in microseconds.
func (c *cost) each() float64 { return c.used.Total().Seconds() * 1e6 / float64(c.rows) }

// A comparison is the same rows written both ways.
type comparison struct {
	store, hand cost
	ratios      []float64 // of the time by hand to that of Write, batch by batch
}

// compareWrites writes the same batches both ways. The first is not counted, and who begins changes, so that
// neither finds the records in the processor's cache more often than the other.
func (b *bench) compareWrites(ctx context.Context, table string, f *feed, h *byHand) (*comparison, error) {
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

// checkSame fails unless both tables hold the same rows, every one.
func (b *bench) checkSame(ctx context.Context, table string) error {
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
