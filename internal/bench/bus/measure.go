package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/bench"
	"github.com/marketprism/marketprism/internal/eventgen"
	"github.com/marketprism/marketprism/natsbus"
)

// batch is the number of records of one Write, and of one awaited acknowledgement.
const batch = 1000

// A side is one way to do the work: round does it for a number of records, with ids from first on.
type side struct {
	name  string
	round func(ctx context.Context, first, records int) error
}

type round struct {
	rate   float64 // records a second
	cpu    float64 // µs of this process a record
	server float64 // µs of the server a record
}

type result struct {
	name   string
	rounds []round
}

// measure runs the sides in turn, with a server that is a process. It does not count the first round, which warms up.
func measure(ctx context.Context, opt options, server int, sides []side) ([]result, error) {
	results := make([]result, len(sides))
	next := 0
	for n := range opt.rounds + 1 {
		for k := range sides {
			i := (k + n) % len(sides) // each side is first in turn
			begun, used := time.Now(), bench.CPUUsed()
			before, _ := bench.ReadProcess(server)
			if err := sides[i].round(ctx, next, opt.records); err != nil {
				return nil, fmt.Errorf("%s: %w", sides[i].name, err)
			}
			took, cost := time.Since(begun), bench.CPUUsed().Minus(used).Total()
			after, _ := bench.ReadProcess(server)
			each := func(cost time.Duration) float64 { return float64(cost.Nanoseconds()) / 1e3 / float64(opt.records) }
			next += opt.records
			results[i].name = sides[i].name
			if n > 0 {
				results[i].rounds = append(results[i].rounds, round{
					rate: float64(opt.records) / took.Seconds(), cpu: each(cost), server: each(after.Used - before.Used),
				})
			}
		}
	}
	return results, nil
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func each[T, U any](items []T, f func(T) U) []U {
	out := make([]U, len(items))
	for i, item := range items {
		out[i] = f(item)
	}
	return out
}

// records returns updates of a busy spot book, spread over symbols.
func records(symbols int) []marketprism.Record {
	feed := eventgen.New(eventgen.Config{Events: batch})
	recs := make([]marketprism.Record, batch)
	for i := range recs {
		u := feed.Updates[i]
		recs[i] = marketprism.Record{
			Instrument: marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: fmt.Sprintf("SYM%dUSDT", i%symbols)},
			EventTime:  u.EventTime, ReceivedAt: u.EventTime.Add(3 * time.Millisecond), Update: &u,
		}
	}
	return recs
}

// renumber gives records the ids from first on, so that all on the bus are different.
func renumber(recs []marketprism.Record, first int) {
	for i := range recs {
		recs[i].Update.FirstID, recs[i].Update.LastID = int64(first+i), int64(first+i)
	}
}

// codecCost measures encoding and decoding of one record, and returns the cells of the table.
func codecCost() (encode, decode string, err error) {
	recs := records(50)
	bodies := make([][]byte, len(recs))
	for i := range recs {
		if bodies[i], err = natsbus.AppendRecord(nil, &recs[i]); err != nil {
			return "", "", err
		}
	}
	var (
		buf     []byte
		decoder natsbus.Decoder
		rec     marketprism.Record
	)
	encode, encodeErr := cell(func(i int) (err error) {
		buf, err = natsbus.AppendRecord(buf[:0], &recs[i])
		return err
	})
	decode, decodeErr := cell(func(i int) error {
		if i == 0 {
			decoder.Reset()
		}
		return decoder.Decode("", bodies[i], &rec)
	})
	return encode, decode, errors.Join(encodeErr, decodeErr)
}

// cell measures f, called for each record of the batch in turn, and returns the cells of the table.
func cell(f func(i int) error) (string, error) {
	var err error
	r := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if err == nil {
				err = f(i % batch)
			}
			i++
		}
	})
	return fmt.Sprintf("%.0f | %.2f | | %d allocations | ", 1e9/float64(r.NsPerOp()), float64(r.NsPerOp())/1e3, r.AllocsPerOp()), err
}
