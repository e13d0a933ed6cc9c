package chstore

import (
	"time"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A row is the columns of one table, apart from those that all tables have.
type row interface {
	// selected returns the expressions to select, with the columns that they are read into.
	selected() []selected
	// payload sets the payload of a record from row i, in memory of m, and returns its rank among records of the
	// same time.
	payload(i int, rec *marketprism.Record, m *payloads) (rank, error)
}

// A selected is an expression to select, and the column that it is read into.
type selected struct {
	expression string
	column     proto.ColResult
}

// A rank orders records of the same time: book records by update id, then trades by id. The first
// two numbers also identify the record within its kind, and the kind within its table.
type rank struct {
	kind  marketprism.Kind
	id    int64 // the last update id, or the trade id
	minor int64 // the rest of Record.Key, and a sum of the content: see table.keyColumns
}

// baseColumns are the columns that all tables have.
type baseColumns struct {
	ts, received proto.ColInt64
	timed        proto.ColBool
	src          textColumn
	seq          proto.ColUInt64
}

func (b *baseColumns) selected() []selected {
	return []selected{
		{"toUnixTimestamp64Nano(ts)", &b.ts},
		{"timed", &b.timed},
		{"toUnixTimestamp64Nano(received_at)", &b.received},
		{"src", &b.src},
		{"seq", &b.seq},
	}
}

// record sets a record without instrument and payload.
func (b *baseColumns) record(i int, rec *marketprism.Record) {
	*rec = marketprism.Record{
		ReceivedAt: fromNanos(b.received[i]),
		Origin:     marketprism.Origin{Source: b.src.text(i), Sequence: b.seq[i]},
	}
	if b.timed[i] {
		rec.EventTime = time.Unix(0, b.ts[i]).UTC()
	}
}

// payloadTime is the inverse of ownTime.
func payloadTime(recordTime time.Time, ownTime int64) time.Time {
	if ownTime == own {
		return recordTime
	}
	return fromNanos(ownTime)
}

// newRow returns the columns of a table.
func newRow(t table) row {
	switch t {
	case depthTable:
		return new(depthRow)
	case snapshotTable:
		return new(snapshotRow)
	case tradeTable:
		return new(tradeRow)
	case tickerTable:
		return new(tickerRow)
	}
	return new(gapRow)
}

type depthRow struct {
	sideColumns
	transact, own           proto.ColInt64
	firstID, lastID, prevID proto.ColInt64
}

func (r *depthRow) selected() []selected {
	return append(r.sideColumns.selected(),
		selected{"toUnixTimestamp64Nano(transact_time)", &r.transact},
		selected{"own_time", &r.own},
		selected{"first_id", &r.firstID},
		selected{"last_id", &r.lastID},
		selected{"prev_id", &r.prevID},
	)
}

func (r *depthRow) payload(i int, rec *marketprism.Record, m *payloads) (rank, error) {
	bids, asks, err := r.levels(i, m)
	rec.Update = next(&m.updates)
	*rec.Update = orderbook.Update{
		FirstID: r.firstID[i], LastID: r.lastID[i], PrevLastID: r.prevID[i],
		EventTime: payloadTime(rec.EventTime, r.own[i]), TransactTime: fromNanos(r.transact[i]),
		Bids: bids, Asks: asks,
	}
	return rank{marketprism.KindUpdate, r.lastID[i], r.firstID[i] + 31*sumOf(bids, 31*sumOf(asks, 0))}, err
}

// sumOf returns a number that differs where the levels do, but does not depend on their order. after is the sum of what
// follows.
func sumOf(levels []orderbook.Level, after int64) int64 {
	var prices, quantities int64
	for i := range levels {
		prices += int64(levels[i].Price)
		quantities += int64(levels[i].Quantity)
	}
	return prices + 31*(quantities+after)
}

type snapshotRow struct {
	sideColumns
	transact, own          proto.ColInt64
	lastID                 proto.ColInt64
	bidLimited, askLimited proto.ColBool
	bidBound, askBound     proto.ColInt64
}

func (r *snapshotRow) selected() []selected {
	return append(r.sideColumns.selected(),
		selected{"toUnixTimestamp64Nano(transact_time)", &r.transact},
		selected{"own_time", &r.own},
		selected{"last_id", &r.lastID},
		selected{"bid_limited", &r.bidLimited},
		selected{"bid_bound_e8", &r.bidBound},
		selected{"ask_limited", &r.askLimited},
		selected{"ask_bound_e8", &r.askBound},
	)
}

func (r *snapshotRow) payload(i int, rec *marketprism.Record, m *payloads) (rank, error) {
	bids, asks, err := r.levels(i, m)
	rec.Snapshot = &orderbook.Snapshot{
		LastID:    r.lastID[i],
		EventTime: payloadTime(rec.EventTime, r.own[i]), TransactTime: fromNanos(r.transact[i]),
		Bids: bids, Asks: asks,
		BidBound: orderbook.Bound{Price: orderbook.Fixed(r.bidBound[i]), Limited: r.bidLimited[i]},
		AskBound: orderbook.Bound{Price: orderbook.Fixed(r.askBound[i]), Limited: r.askLimited[i]},
	}
	return rank{marketprism.KindSnapshot, r.lastID[i], int64(len(bids))<<32 | int64(len(asks))}, err
}

type gapRow struct {
	after  proto.ColInt64
	reason textColumn
	cause  textColumn
}

func (r *gapRow) selected() []selected {
	return []selected{{"after_id", &r.after}, {"reason", &r.reason}, {"error", &r.cause}}
}

func (r *gapRow) payload(i int, rec *marketprism.Record, _ *payloads) (rank, error) {
	reason, err := orderbook.ParseGapReason(r.reason.text(i))
	rec.Gap = &orderbook.Gap{After: r.after[i], Reason: reason}
	if cause := r.cause.text(i); cause != "" {
		rec.Gap.Err = orderbook.Cause(cause)
	}
	return rank{marketprism.KindGap, r.after[i], int64(reason)}, err
}

type tradeRow struct {
	id, firstID, lastID              proto.ColInt64
	price, quantity, time            proto.ColInt64
	aggregate, buyerMaker, bestMatch proto.ColBool
}

func (r *tradeRow) selected() []selected {
	return []selected{
		{"id", &r.id},
		{"aggregate", &r.aggregate},
		{"first_id", &r.firstID},
		{"last_id", &r.lastID},
		{"price_e8", &r.price},
		{"quantity_e8", &r.quantity},
		{"buyer_maker", &r.buyerMaker},
		{"is_best_match", &r.bestMatch},
		{"toUnixTimestamp64Nano(trade_time)", &r.time},
	}
}

func (r *tradeRow) payload(i int, rec *marketprism.Record, m *payloads) (rank, error) {
	rec.Trade = next(&m.trades)
	*rec.Trade = marketprism.Trade{
		ID: r.id[i], Aggregate: r.aggregate[i], FirstID: r.firstID[i], LastID: r.lastID[i],
		Price: orderbook.Fixed(r.price[i]), Quantity: orderbook.Fixed(r.quantity[i]),
		BuyerMaker: r.buyerMaker[i], BestMatch: r.bestMatch[i], TradeTime: fromNanos(r.time[i]),
	}
	return rank{rec.Kind(), r.id[i], r.price[i] + 31*r.quantity[i]}, nil
}

type tickerRow struct {
	updateID, transact                 proto.ColInt64
	bidPrice, bidQty, askPrice, askQty proto.ColInt64
}

func (r *tickerRow) selected() []selected {
	return []selected{
		{"toUnixTimestamp64Nano(transact_time)", &r.transact},
		{"update_id", &r.updateID},
		{"bid_price_e8", &r.bidPrice},
		{"bid_qty_e8", &r.bidQty},
		{"ask_price_e8", &r.askPrice},
		{"ask_qty_e8", &r.askQty},
	}
}

func (r *tickerRow) payload(i int, rec *marketprism.Record, m *payloads) (rank, error) {
	rec.Ticker = next(&m.tickers)
	*rec.Ticker = marketprism.Ticker{
		UpdateID: r.updateID[i], TransactTime: fromNanos(r.transact[i]),
		Bid: orderbook.Level{Price: orderbook.Fixed(r.bidPrice[i]), Quantity: orderbook.Fixed(r.bidQty[i])},
		Ask: orderbook.Level{Price: orderbook.Fixed(r.askPrice[i]), Quantity: orderbook.Fixed(r.askQty[i])},
	}
	return rank{marketprism.KindTicker, r.updateID[i], r.bidPrice[i] + 31*(r.bidQty[i]+31*(r.askPrice[i]+31*r.askQty[i]))}, nil
}
