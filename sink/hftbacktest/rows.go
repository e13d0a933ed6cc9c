package hftbacktest

import (
	"context"
	"errors"
	"iter"
	"math"
	"strconv"

	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink/dayfile"
)

// The parts of an event (py-hftbacktest/hftbacktest/types.py): a kind, a side, and who processes it.
const (
	kindDepth    = 1
	kindTrade    = 2
	kindClear    = 3
	kindSnapshot = 4

	sell     = 1 << 28
	buy      = 1 << 29
	local    = 1 << 30
	exchange = 1 << 31
)

// A row is one event of the file.
type row struct {
	event           uint64
	exchange, local int64 // ns since 1970
	price, quantity orderbook.Fixed
}

func (r *row) isClear() bool { return r.event&0xff == kindClear }

// compare compares the clocks of two rows: the exchange's first.
func compare(a, b *row) int {
	switch {
	case a.exchange < b.exchange, a.exchange == b.exchange && a.local < b.local:
		return -1
	case a.exchange == b.exchange && a.local == b.local:
		return 0
	}
	return 1
}

// tradeRows yields the trades of a day.
func tradeRows(ctx context.Context, day *dayfile.Day) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		last := int64(math.MinInt64) // the exchange's clock: trades are in the order of their ids
		for e, err := range day.Trades() {
			if err := errors.Join(err, ctx.Err()); err != nil {
				yield(row{}, err)
				return
			}
			t := e.Record.Trade
			last = max(last, t.TradeTime.UnixNano())
			r := row{event: kindTrade | buy, exchange: last, local: e.Local.UnixNano(), price: t.Price, quantity: t.Quantity}
			if t.BuyerMaker {
				r.event = kindTrade | sell
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

// bookRows yields the changes of the book. Rows of a snapshot for which the venue sends no time wait for the first update after
// it: they happened before that, and an exchange that replays them later would clear its changes away.
func bookRows(ctx context.Context, day *dayfile.Day, clearOnGap bool) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		var b batch
		for e, err := range day.Book() {
			if err := errors.Join(err, ctx.Err()); err != nil {
				yield(row{}, err)
				return
			}
			if !b.emit(b.exchangeAfter(e), yield) {
				return
			}
			b.fill(e, clearOnGap)
		}
		b.emit(b.local, yield)
	}
}

// A batch is the rows of one event of the book.
type batch struct {
	rows     []row
	exchange int64 // of the event; 0 if the venue sends none
	local    int64
	last     int64 // the exchange's clock of the batch before
}

// exchangeAfter returns the exchange's clock for a batch without one, by the event that follows it.
func (b *batch) exchangeAfter(next *dayfile.BookEvent) int64 {
	if next.Record.Update == nil || next.Exchange.IsZero() {
		return b.local
	}
	return min(b.local, next.Exchange.UnixNano())
}

// emit yields the rows of the batch. missing is the exchange's clock if the batch has none.
func (b *batch) emit(missing int64, yield func(row, error) bool) bool {
	at := b.exchange
	if at == 0 {
		at = missing
	}
	if len(b.rows) > 0 {
		b.last = max(b.last, at)
	}
	for _, r := range b.rows {
		r.exchange, r.local = b.last, b.local
		if !yield(r, nil) {
			return false
		}
	}
	b.rows = b.rows[:0]
	return true
}

// fill makes the rows of an event.
func (b *batch) fill(e *dayfile.BookEvent, clearOnGap bool) {
	b.local, b.exchange = e.Local.UnixNano(), 0
	if !e.Exchange.IsZero() {
		b.exchange = e.Exchange.UnixNano()
	}
	switch s := e.Record.Snapshot; {
	case e.StartOfDay: // initial_snapshot has it
	case e.Record.Update != nil:
		b.side(kindDepth|buy, e.Record.Update.Bids)
		b.side(kindDepth|sell, e.Record.Update.Asks)
	case s != nil && e.Opens:
		b.rows = append(b.rows, row{event: kindClear | buy})
		b.side(kindSnapshot|buy, s.Bids)
		b.rows = append(b.rows, row{event: kindClear | sell})
		b.side(kindSnapshot|sell, s.Asks)
	case s != nil:
		b.side(kindDepth|buy, e.Diff.Bids)
		b.side(kindDepth|sell, e.Diff.Asks)
	case clearOnGap:
		b.rows = append(b.rows, row{event: kindClear | buy}, row{event: kindClear | sell})
	}
}

func (b *batch) side(event uint64, levels []orderbook.Level) {
	for _, l := range levels {
		b.rows = append(b.rows, row{event: event, price: l.Price, quantity: l.Quantity})
	}
}

// maxExact is the largest Fixed whose quotient by One is the float nearest to it.
const maxExact = 1 << 53

// float returns the float nearest to f.
func float(f orderbook.Fixed) float64 {
	if f <= maxExact && f >= -maxExact {
		return float64(f) / float64(orderbook.One)
	}
	x, _ := strconv.ParseFloat(f.String(), 64) // it is in range
	return x
}
