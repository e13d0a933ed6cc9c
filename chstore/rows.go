package chstore

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A row is what the rows of one table are scanned into.
type row interface {
	// scanned returns the expressions to select, with pointers to their values.
	scanned() []target
	// payload sets the record's payload and returns its rank among records of the same time.
	payload(rec *marketprism.Record) (rank, error)
}

// A target is an expression to select, and a pointer to its value.
type target struct {
	expression string
	value      any
}

// A rank orders records of the same time: book records by update id, then trades by id. The first
// two numbers also identify the record within its kind, and the kind within its table.
type rank struct {
	kind  marketprism.Kind
	id    int64 // the last update id, or the trade id
	minor int64 // the rest of Record.Key
}

// A base holds the columns that all tables have.
type base struct {
	ts, received int64
	timed        bool
	src          string
	seq          uint64
}

func (b *base) scanned() []target {
	return []target{
		{"toUnixTimestamp64Nano(ts)", &b.ts},
		{"timed", &b.timed},
		{"toUnixTimestamp64Nano(received_at)", &b.received},
		{"src", &b.src},
		{"seq", &b.seq},
	}
}

func (b *base) record(i marketprism.Instrument) marketprism.Record {
	return marketprism.Record{
		Instrument: i,
		EventTime:  b.eventTime(),
		ReceivedAt: fromNanos(b.received),
		Origin:     marketprism.Origin{Source: b.src, Sequence: b.seq},
	}
}

func (b *base) eventTime() time.Time {
	if !b.timed {
		return time.Time{}
	}
	return time.Unix(0, b.ts).UTC()
}

// payloadTime is the inverse of ownTime.
func payloadTime(recordTime time.Time, ownTime int64) time.Time {
	if ownTime == own {
		return recordTime
	}
	return fromNanos(ownTime)
}

// sides holds the levels of a row, as the bytes of the arrays. The driver would read an array by
// reflection, element by element.
type sides struct {
	bidPrice, bidQty, askPrice, askQty []byte
}

func (s *sides) scanned() []target {
	return []target{
		{"reinterpret(bid_price_e8, 'String')", &s.bidPrice},
		{"reinterpret(bid_qty_e8, 'String')", &s.bidQty},
		{"reinterpret(ask_price_e8, 'String')", &s.askPrice},
		{"reinterpret(ask_qty_e8, 'String')", &s.askQty},
	}
}

// levels appends both sides to buf.
func (s *sides) levels(buf []orderbook.Level) (all, bids, asks []orderbook.Level, err error) {
	if len(s.bidPrice) != len(s.bidQty) || len(s.askPrice) != len(s.askQty) {
		return nil, nil, nil, fmt.Errorf("chstore: row with %d bid prices and %d quantities, %d ask prices and %d quantities",
			len(s.bidPrice)/8, len(s.bidQty)/8, len(s.askPrice)/8, len(s.askQty)/8)
	}
	count := (len(s.bidPrice) + len(s.askPrice)) / 8
	if cap(buf)-len(buf) < count {
		buf = make([]orderbook.Level, 0, count)
	}
	start := len(buf)
	buf = appendLevels(buf, s.bidPrice, s.bidQty)
	middle := len(buf)
	buf = appendLevels(buf, s.askPrice, s.askQty)
	return buf, part(buf, start, middle), part(buf, middle, len(buf)), nil
}

func appendLevels(dst []orderbook.Level, prices, quantities []byte) []orderbook.Level {
	for i := 0; i+8 <= len(prices); i += 8 {
		dst = append(dst, orderbook.Level{
			Price:    orderbook.Fixed(binary.LittleEndian.Uint64(prices[i:])),
			Quantity: orderbook.Fixed(binary.LittleEndian.Uint64(quantities[i:])),
		})
	}
	return dst
}

// part returns buf[from:to], nil where it is empty, without capacity beyond to.
func part(buf []orderbook.Level, from, to int) []orderbook.Level {
	if from == to {
		return nil
	}
	return buf[from:to:to]
}

// newRow returns an empty row for a table.
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
	sides
	transact, own           int64
	firstID, lastID, prevID int64
}

func (r *depthRow) scanned() []target {
	return append(r.sides.scanned(),
		target{"toUnixTimestamp64Nano(transact_time)", &r.transact},
		target{"own_time", &r.own},
		target{"first_id", &r.firstID},
		target{"last_id", &r.lastID},
		target{"prev_id", &r.prevID},
	)
}

func (r *depthRow) payload(rec *marketprism.Record) (rank, error) {
	u, _, err := r.update(rec, nil)
	rec.Update = &u
	return rank{marketprism.KindUpdate, r.lastID, r.firstID}, err
}

// update returns the update of a record. Its levels are appended to buf, which it returns too.
func (r *depthRow) update(rec *marketprism.Record, buf []orderbook.Level) (orderbook.Update, []orderbook.Level, error) {
	all, bids, asks, err := r.levels(buf)
	return orderbook.Update{
		FirstID: r.firstID, LastID: r.lastID, PrevLastID: r.prevID,
		EventTime: payloadTime(rec.EventTime, r.own), TransactTime: fromNanos(r.transact),
		Bids: bids, Asks: asks,
	}, all, err
}

type snapshotRow struct {
	sides
	transact, own          int64
	lastID                 int64
	bidLimited, askLimited bool
	bidBound, askBound     int64
}

func (r *snapshotRow) scanned() []target {
	return append(r.sides.scanned(),
		target{"toUnixTimestamp64Nano(transact_time)", &r.transact},
		target{"own_time", &r.own},
		target{"last_id", &r.lastID},
		target{"bid_limited", &r.bidLimited},
		target{"bid_bound_e8", &r.bidBound},
		target{"ask_limited", &r.askLimited},
		target{"ask_bound_e8", &r.askBound},
	)
}

func (r *snapshotRow) payload(rec *marketprism.Record) (rank, error) {
	_, bids, asks, err := r.levels(nil)
	rec.Snapshot = &orderbook.Snapshot{
		LastID:    r.lastID,
		EventTime: payloadTime(rec.EventTime, r.own), TransactTime: fromNanos(r.transact),
		Bids: bids, Asks: asks,
		BidBound: orderbook.Bound{Price: orderbook.Fixed(r.bidBound), Limited: r.bidLimited},
		AskBound: orderbook.Bound{Price: orderbook.Fixed(r.askBound), Limited: r.askLimited},
	}
	return rank{marketprism.KindSnapshot, r.lastID, int64(len(bids))<<32 | int64(len(asks))}, err
}

type gapRow struct {
	after         int64
	reason, cause string
}

func (r *gapRow) scanned() []target {
	return []target{{"after_id", &r.after}, {"reason", &r.reason}, {"error", &r.cause}}
}

func (r *gapRow) payload(rec *marketprism.Record) (rank, error) {
	reason, err := orderbook.ParseGapReason(r.reason)
	rec.Gap = &orderbook.Gap{After: r.after, Reason: reason}
	if r.cause != "" {
		rec.Gap.Err = orderbook.Cause(r.cause)
	}
	return rank{marketprism.KindGap, r.after, int64(reason)}, err
}

type tradeRow struct {
	trade           marketprism.Trade
	price, quantity int64
	time            int64
}

func (r *tradeRow) scanned() []target {
	return []target{
		{"id", &r.trade.ID},
		{"aggregate", &r.trade.Aggregate},
		{"first_id", &r.trade.FirstID},
		{"last_id", &r.trade.LastID},
		{"price_e8", &r.price},
		{"quantity_e8", &r.quantity},
		{"buyer_maker", &r.trade.BuyerMaker},
		{"is_best_match", &r.trade.BestMatch},
		{"toUnixTimestamp64Nano(trade_time)", &r.time},
	}
}

func (r *tradeRow) payload(rec *marketprism.Record) (rank, error) {
	trade := r.trade
	trade.Price, trade.Quantity = orderbook.Fixed(r.price), orderbook.Fixed(r.quantity)
	trade.TradeTime = fromNanos(r.time)
	rec.Trade = &trade
	return rank{kind: rec.Kind(), id: trade.ID}, nil
}

type tickerRow struct {
	updateID, transact                 int64
	bidPrice, bidQty, askPrice, askQty int64
}

func (r *tickerRow) scanned() []target {
	return []target{
		{"toUnixTimestamp64Nano(transact_time)", &r.transact},
		{"update_id", &r.updateID},
		{"bid_price_e8", &r.bidPrice},
		{"bid_qty_e8", &r.bidQty},
		{"ask_price_e8", &r.askPrice},
		{"ask_qty_e8", &r.askQty},
	}
}

func (r *tickerRow) payload(rec *marketprism.Record) (rank, error) {
	rec.Ticker = &marketprism.Ticker{
		UpdateID: r.updateID, TransactTime: fromNanos(r.transact),
		Bid: orderbook.Level{Price: orderbook.Fixed(r.bidPrice), Quantity: orderbook.Fixed(r.bidQty)},
		Ask: orderbook.Level{Price: orderbook.Fixed(r.askPrice), Quantity: orderbook.Fixed(r.askQty)},
	}
	return rank{kind: marketprism.KindTicker, id: r.updateID}, nil
}
