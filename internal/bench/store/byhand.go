package main

import (
	"context"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A byHand inserts into one table with ch-go alone: its columns, reused for each block, without anything that
// makes a Write safe.
type byHand struct {
	input  proto.Input
	append func(rec *marketprism.Record)
}

// insert stores records as one block, synchronously and without deduplication.
func (h *byHand) insert(ctx context.Context, client *ch.Client, table string, recs []marketprism.Record) error {
	h.input.Reset()
	for i := range recs {
		h.append(&recs[i])
	}
	return client.Do(ctx, ch.Query{
		Body: h.input.Into(table), Input: h.input,
		Settings: []ch.Setting{
			{Key: "async_insert", Value: "0", Important: true},
			{Key: "deduplicate_insert", Value: "disable", Important: true},
		},
	})
}

type (
	text  = proto.ColLowCardinality[string]
	array = proto.ColArr[int64]
)

func newText() *text { return new(proto.ColStr).LowCardinality() }

func newTime() *proto.ColDateTime64 {
	return new(proto.ColDateTime64).WithPrecision(proto.PrecisionNano).WithLocation(time.UTC)
}

// appendTime writes the zero time as 1970, as Write does.
func appendTime(c *proto.ColDateTime64, t time.Time) {
	if t.IsZero() {
		c.AppendRaw(0)
		return
	}
	c.AppendRaw(proto.DateTime64(t.UnixNano()))
}

// keyColumns returns the columns that every table has.
func keyColumns() (proto.Input, func(*marketprism.Record)) {
	exchange, market, symbol, src := newText(), newText(), newText(), newText()
	ts, received := newTime(), newTime()
	var timed proto.ColBool
	var seq proto.ColUInt64
	input := proto.Input{
		{Name: "exchange", Data: exchange}, {Name: "market", Data: market}, {Name: "symbol", Data: symbol},
		{Name: "ts", Data: ts}, {Name: "timed", Data: &timed}, {Name: "received_at", Data: received},
		{Name: "src", Data: src}, {Name: "seq", Data: &seq},
	}
	return input, func(r *marketprism.Record) {
		exchange.Append(r.Instrument.Exchange)
		market.Append(string(r.Instrument.Market))
		symbol.Append(r.Instrument.Symbol)
		appendTime(ts, r.Time())
		timed.Append(!r.EventTime.IsZero())
		appendTime(received, r.ReceivedAt)
		src.Append(r.Origin.Source)
		seq.Append(r.Origin.Sequence)
	}
}

func newDepthColumns() *byHand {
	input, key := keyColumns()
	transact := newTime()
	var own, first, last, prev proto.ColInt64
	bidPrice, bidQty, askPrice, askQty := newArray(), newArray(), newArray(), newArray()
	var prices, quantities []int64
	side := func(price, qty *array, levels []orderbook.Level) {
		prices, quantities = prices[:0], quantities[:0]
		for _, l := range levels {
			prices, quantities = append(prices, int64(l.Price)), append(quantities, int64(l.Quantity))
		}
		price.Append(prices)
		qty.Append(quantities)
	}
	return &byHand{
		input: append(input,
			proto.InputColumn{Name: "transact_time", Data: transact}, proto.InputColumn{Name: "own_time", Data: &own},
			proto.InputColumn{Name: "first_id", Data: &first}, proto.InputColumn{Name: "last_id", Data: &last},
			proto.InputColumn{Name: "prev_id", Data: &prev},
			proto.InputColumn{Name: "bid_price_e8", Data: bidPrice}, proto.InputColumn{Name: "bid_qty_e8", Data: bidQty},
			proto.InputColumn{Name: "ask_price_e8", Data: askPrice}, proto.InputColumn{Name: "ask_qty_e8", Data: askQty},
		),
		append: func(r *marketprism.Record) {
			key(r)
			u := r.Update
			appendTime(transact, u.TransactTime)
			own.Append(-1) // the event time is the record's
			first.Append(u.FirstID)
			last.Append(u.LastID)
			prev.Append(u.PrevLastID)
			side(bidPrice, bidQty, u.Bids)
			side(askPrice, askQty, u.Asks)
		},
	}
}

func newArray() *array { return new(proto.ColInt64).Array() }

func newTradeColumns() *byHand {
	input, key := keyColumns()
	var id, first, last, price, quantity proto.ColInt64
	var aggregate, buyerMaker, bestMatch proto.ColBool
	traded := newTime()
	return &byHand{
		input: append(input,
			proto.InputColumn{Name: "id", Data: &id}, proto.InputColumn{Name: "aggregate", Data: &aggregate},
			proto.InputColumn{Name: "first_id", Data: &first}, proto.InputColumn{Name: "last_id", Data: &last},
			proto.InputColumn{Name: "price_e8", Data: &price}, proto.InputColumn{Name: "quantity_e8", Data: &quantity},
			proto.InputColumn{Name: "buyer_maker", Data: &buyerMaker}, proto.InputColumn{Name: "is_best_match", Data: &bestMatch},
			proto.InputColumn{Name: "trade_time", Data: traded},
		),
		append: func(r *marketprism.Record) {
			key(r)
			t := r.Trade
			id.Append(t.ID)
			aggregate.Append(t.Aggregate)
			first.Append(t.FirstID)
			last.Append(t.LastID)
			price.Append(int64(t.Price))
			quantity.Append(int64(t.Quantity))
			buyerMaker.Append(t.BuyerMaker)
			bestMatch.Append(t.BestMatch)
			appendTime(traded, t.TradeTime)
		},
	}
}
