// Package hftbacktest writes days of market data as the npz files of hftbacktest. See Format.
package hftbacktest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink/dayfile"
)

// A Format makes the files of each day for hftbacktest 2.4, which reads them as they are:
//
//	SYMBOL_YYYYMMDD.npz       trades and every change of the book, in the order of both clocks
//	SYMBOL_YYYYMMDD_eod.npz   the book at the end of the day, for initial_snapshot of the next one
//	SYMBOL_YYYYMMDD.json      what a backtest must be given: see Facts
//
// A span begins with a clear of both sides, whose price is NaN, and the levels of its snapshot; a finite price, as in
// hftbacktest's own converter, would leave levels beyond it alive (src/depth of nkaz001/hftbacktest). A snapshot within
// a span becomes changes, which disturb no queue position.
//
// An event that is late on one clock is in the file twice, once for the exchange and once for the local side, as
// correct_event_order of hftbacktest does it. Prices and quantities are floats: numbers of more than 15 digits are rounded.
type Format struct {
	// ClearOnGap empties the book at a gap. By default nothing is written, and the book of before holds until the next
	// snapshot, which is what the ecosystem's files do.
	ClearOnGap bool

	// Shift is added to all local times. Where it is 0 and an event would be received before it happened, since the
	// collector's clock was behind, all local times of the day are shifted until the least latency is BaseLatency.
	// Choose one for all days of a backtest, or days overlap.
	Shift, BaseLatency time.Duration
}

var _ dayfile.Format = Format{}

// Facts describe a day's file.
type Facts struct {
	Symbol string          `json:"symbol"`
	Date   string          `json:"date"`
	Tick   orderbook.Fixed `json:"tick_size"` // the largest number that divides all prices
	Lot    orderbook.Fixed `json:"lot_size"`  // and all quantities: with a larger one, levels would vanish
	Rows   int64           `json:"rows"`

	// MinLatency is the least difference of local and exchange time, in ns, before the shift. FeedLatency models of hftbacktest refuse
	// one that is not positive.
	MinLatency int64 `json:"min_latency_ns"`
	Shift      int64 `json:"shift_ns"` // that was added to all local times

	// Rounded counts prices and quantities of more digits than a float holds.
	Rounded int64 `json:"rounded"`
}

// Name returns "hftbacktest".
func (f Format) Name() string { return "hftbacktest" }

// Convert makes the files of a day.
func (f Format) Convert(ctx context.Context, day *dayfile.Day) error {
	name := fmt.Sprintf("%s_%s", dayfile.Escape(day.Instrument.Symbol), day.Date.Format("20060102"))
	facts := Facts{Symbol: day.Instrument.Symbol, Date: day.Date.Format(time.DateOnly)}
	shift, err := f.measure(ctx, day, &facts)
	if err != nil {
		return err
	}
	if facts.Rows > 0 {
		rows := f.rows(ctx, day, shift)
		if err := writeNpz(day, name+".npz", facts.Rows, rows); err != nil {
			return err
		}
	}
	if end := day.LastBook(); end != nil {
		if err := writeNpz(day, name+"_eod.npz", int64(len(end.Bids)+len(end.Asks)), endOfDay(end)); err != nil {
			return err
		}
	}
	file, err := day.Create(name + ".json")
	if err != nil {
		return err
	}
	return json.NewEncoder(file).Encode(facts)
}

// measure fills in facts, and returns what is added to local times.
func (f Format) measure(ctx context.Context, day *dayfile.Day, facts *Facts) (shift int64, err error) {
	var m measure
	for _, rows := range [...]iter.Seq2[row, error]{bookRows(ctx, day, f.ClearOnGap), tradeRows(ctx, day)} {
		for r, err := range rows {
			if err != nil {
				return 0, err
			}
			m.add(&r)
		}
	}
	facts.Tick, facts.Lot, facts.Rounded = m.tick, m.lot, m.rounded
	if m.any {
		facts.MinLatency = m.latency
	}
	switch {
	case f.Shift != 0:
		shift = int64(f.Shift)
	case facts.MinLatency < 0:
		shift = -facts.MinLatency + int64(f.BaseLatency)
	}
	facts.Shift = shift
	for _, err := range f.rows(ctx, day, shift) {
		if err != nil {
			return 0, err
		}
		facts.Rows++
	}
	return shift, nil
}

// A measure goes over all rows of a day.
type measure struct {
	any       bool
	latency   int64
	tick, lot orderbook.Fixed
	rounded   int64
}

func (m *measure) add(r *row) {
	if latency := r.local - r.exchange; !m.any || latency < m.latency {
		m.any, m.latency = true, latency
	}
	if r.isClear() {
		return
	}
	m.tick, m.lot = divisor(m.tick, r.price), divisor(m.lot, r.quantity)
	for _, n := range [...]orderbook.Fixed{r.price, r.quantity} {
		if n > maxExact && orderbook.Fixed(float(n)*float64(orderbook.One)) != n {
			m.rounded++
		}
	}
}

// divisor returns the largest number that divides both.
func divisor(a, b orderbook.Fixed) orderbook.Fixed {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// endOfDay yields the rows of a book for initial_snapshot.
func endOfDay(s *orderbook.Snapshot) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		for _, l := range s.Bids {
			if !yield(row{event: exchange | local | buy | kindSnapshot, price: l.Price, quantity: l.Quantity}, nil) {
				return
			}
		}
		for _, l := range s.Asks {
			if !yield(row{event: exchange | local | sell | kindSnapshot, price: l.Price, quantity: l.Quantity}, nil) {
				return
			}
		}
	}
}

// rows yields the rows of the file: the merge of all events by the exchange's clock with all by the local clock
// (correct_event_order of hftbacktest, py-hftbacktest/hftbacktest/data/validation.py). Both clocks never go back within a
// stream, so each order is a merge of two streams.
func (f Format) rows(ctx context.Context, day *dayfile.Day, shift int64) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		byExchange, stop := iter.Pull2(merge(tradeRows(ctx, day), bookRows(ctx, day, f.ClearOnGap), func(r *row) int64 { return r.exchange }))
		defer stop()
		byLocal, stop := iter.Pull2(merge(tradeRows(ctx, day), bookRows(ctx, day, f.ClearOnGap), func(r *row) int64 { return r.local }))
		defer stop()
		a, errA, moreA := byExchange()
		b, errB, moreB := byLocal()
		for moreA || moreB {
			if err := errors.Join(errA, errB); err != nil {
				yield(row{}, err)
				return
			}
			var out row
			switch order := compare(&a, &b); {
			case moreA && moreB && order == 0:
				out = a
				out.event |= exchange | local
				a, errA, moreA = byExchange()
				b, errB, moreB = byLocal()
			case moreA && (!moreB || order < 0):
				out = a
				out.event |= exchange
				a, errA, moreA = byExchange()
			default:
				out = b
				out.event |= local
				b, errB, moreB = byLocal()
			}
			out.local += shift
			if !yield(out, nil) {
				return
			}
		}
	}
}

// merge yields the rows of both in the order of a clock; those of trades first, since a trade comes before the change of
// the book that it causes.
func merge(trades, book iter.Seq2[row, error], clock func(*row) int64) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		next, stop := iter.Pull2(trades)
		defer stop()
		t, err, more := next()
		for b, bookErr := range book {
			for more && clock(&t) <= clock(&b) {
				if !yield(t, err) || err != nil {
					return
				}
				t, err, more = next()
			}
			if !yield(b, bookErr) || bookErr != nil {
				return
			}
		}
		for more {
			if !yield(t, err) || err != nil {
				return
			}
			t, err, more = next()
		}
	}
}
