package sinktest

import (
	"math"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// Extremes returns records of every kind with extreme values: the largest and
// smallest numbers that are valid, and ids, absent times, empty and unsorted sides, a symbol that is not ASCII, every
// reason of a gap. No two have the same Key.
func Extremes() []marketprism.Record {
	x := &extremes{now: time.Date(2026, 3, 1, 12, 0, 0, 1_000, time.UTC)} // 1 µs past the second
	x.snapshots()
	x.updates()
	x.gaps()
	x.trades()
	x.tickers()
	return x.recs
}

type extremes struct {
	now  time.Time
	recs []marketprism.Record
}

// add appends a record, with a ReceivedAt and, if it has none, an instrument.
func (x *extremes) add(r marketprism.Record) {
	if r.Instrument == (marketprism.Instrument{}) {
		r.Instrument = marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "BTCUSDT"}
	}
	x.now = x.now.Add(1_001 * time.Microsecond)
	r.ReceivedAt = x.now
	x.recs = append(x.recs, r)
}

// sent returns an exchange time in whole microseconds, not milliseconds.
func (x *extremes) sent() time.Time { return x.now.Add(-123_457 * time.Microsecond) }

func (x *extremes) snapshots() {
	// Binance answers -1 for an instrument that never had an order.
	x.add(marketprism.Record{Snapshot: &orderbook.Snapshot{LastID: -1}})
	x.add(marketprism.Record{EventTime: x.sent(), Snapshot: &orderbook.Snapshot{
		LastID: math.MaxInt64, EventTime: x.sent(), TransactTime: x.sent().Add(-time.Microsecond),
		Bids:     []orderbook.Level{{Price: 1, Quantity: orderbook.MaxFixed}},
		Asks:     []orderbook.Level{{Price: orderbook.MaxFixed, Quantity: 1}},
		AskBound: orderbook.Bound{Price: orderbook.MaxFixed, Limited: true},
	}})
	x.add(marketprism.Record{
		Instrument: marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.USDM, Symbol: "币安人生USDT"},
		EventTime:  x.sent(),
		Snapshot: &orderbook.Snapshot{LastID: 5, EventTime: x.sent(), Bids: []orderbook.Level{
			{Price: orderbook.One, Quantity: orderbook.One},
		}},
	})
}

func (x *extremes) updates() {
	x.add(marketprism.Record{EventTime: x.sent(), Update: &orderbook.Update{
		FirstID: 1, LastID: 1, EventTime: x.sent(), // it only advances the id
	}})
	x.add(marketprism.Record{EventTime: x.sent(), Update: &orderbook.Update{
		FirstID: 2, LastID: math.MaxInt64, PrevLastID: math.MaxInt64 - 1, EventTime: x.sent(),
		TransactTime: x.sent().Add(-time.Microsecond),
		Bids: []orderbook.Level{ // unsorted, and one price twice
			{Price: 3 * orderbook.One, Quantity: 0},
			{Price: orderbook.MaxFixed, Quantity: orderbook.MaxFixed},
			{Price: 1, Quantity: 1},
			{Price: 3 * orderbook.One, Quantity: 7},
		},
		Asks: []orderbook.Level{{Price: 0, Quantity: 1}, {}},
	}})
	many := &orderbook.Update{FirstID: 3, LastID: 4, EventTime: x.sent()}
	for i := range orderbook.Fixed(10_000) {
		many.Asks = append(many.Asks, orderbook.Level{Price: orderbook.One + i, Quantity: i})
	}
	x.add(marketprism.Record{EventTime: x.sent(), Update: many})
}

func (x *extremes) gaps() {
	for reason := orderbook.GapSequence; reason.String() != "unknown"; reason++ {
		x.add(marketprism.Record{Gap: &orderbook.Gap{Reason: reason}})
	}
	x.add(marketprism.Record{EventTime: x.sent(), Gap: &orderbook.Gap{
		After: math.MaxInt64, Reason: orderbook.GapInvalid,
		Err: orderbook.Cause("line one\nline two\t\"quoted\" \\ 'single' ▲ " + string(make([]byte, 3))),
	}})
}

func (x *extremes) trades() {
	x.add(marketprism.Record{EventTime: x.sent(), Trade: &marketprism.Trade{
		Price: orderbook.MaxFixed, Quantity: orderbook.MaxFixed, BuyerMaker: true, BestMatch: true,
		TradeTime: x.sent().Add(-time.Microsecond),
	}})
	x.add(marketprism.Record{EventTime: x.sent(), Trade: &marketprism.Trade{
		ID: math.MaxInt64, Price: 1, Quantity: 1, TradeTime: x.sent(),
	}})
	x.add(marketprism.Record{EventTime: x.sent(), Trade: &marketprism.Trade{
		ID: math.MaxInt64, Aggregate: true, FirstID: math.MaxInt64 - 1, LastID: math.MaxInt64,
		Price: 0, Quantity: 0, BuyerMaker: true, TradeTime: x.sent(),
	}})
}

// invalid returns records that marketprism.Record.Validate refuses, by what is wrong with them.
func invalid(instrument marketprism.Instrument, at time.Time) map[string]marketprism.Record {
	below := []orderbook.Level{{Price: 1, Quantity: 1}, {Price: orderbook.One, Quantity: -1}}
	recs := map[string]marketprism.Record{
		"without a payload":               {},
		"with two payloads":               {Update: &orderbook.Update{}, Ticker: &marketprism.Ticker{}},
		"with a quantity below zero":      {Update: &orderbook.Update{FirstID: 1, LastID: 1, Asks: below}},
		"with update ids that go back":    {Update: &orderbook.Update{FirstID: 2, LastID: 1}},
		"with a bound below zero":         {Snapshot: &orderbook.Snapshot{BidBound: orderbook.Bound{Price: -1, Limited: true}}},
		"with a trade's price below zero": {Trade: &marketprism.Trade{ID: 1, Price: orderbook.MinFixed, TradeTime: at}},
		"with a trade without time":       {Trade: &marketprism.Trade{ID: 1}},
		"with trade ids that go back":     {Trade: &marketprism.Trade{ID: 1, Aggregate: true, FirstID: 2, LastID: 1, TradeTime: at}},
		"with a ticker's below zero":      {Ticker: &marketprism.Ticker{UpdateID: 1, Ask: below[1]}},
		"with a gap without a reason":     {Gap: &orderbook.Gap{}},
	}
	for name, r := range recs {
		r.Instrument, r.ReceivedAt = instrument, at
		recs[name] = r
	}
	recs["without a time"] = marketprism.Record{Instrument: instrument, Update: &orderbook.Update{FirstID: 1, LastID: 1}}
	return recs
}

func (x *extremes) tickers() {
	x.add(marketprism.Record{Ticker: &marketprism.Ticker{}}) // a book with no order, and no time
	x.add(marketprism.Record{EventTime: x.sent(), Ticker: &marketprism.Ticker{
		UpdateID: math.MaxInt64, TransactTime: x.sent().Add(-time.Microsecond),
		Bid: orderbook.Level{Price: 0, Quantity: orderbook.MaxFixed},
		Ask: orderbook.Level{Price: orderbook.MaxFixed, Quantity: 0},
	}})
}
