package chstore

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A row is the place rows of one table are scanned into.
type row interface {
	// scanned returns expressions to select and where their values go.
	scanned() []target
	// payload sets the record's payload and returns its place among records of the same time.
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
	minor int64 // what else Record.Key tells
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

// levels appends both sides to buf, whose room they share.
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

// part returns buf[from:to], nil where it is empty, with no room to append into its neighbour.
func part(buf []orderbook.Level, from, to int) []orderbook.Level {
	if from == to {
		return nil
	}
	return buf[from:to:to]
}

// newRow returns a row of a table.
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
