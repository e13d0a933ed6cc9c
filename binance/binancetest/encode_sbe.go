package binancetest

import (
	"encoding/binary"
	"math"
	"strings"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// The templates of the binary streams (sbe/schemas/stream_1_0.xml, schema 1 version 0), and an unknown one.
const (
	sbeTrades    = 10000
	sbeBest      = 10001
	sbeSnapshot  = 10002
	sbeDepth     = 10003
	sbeUnheardOf = 10999
	sbeSchema    = 1
)

// sbeMost is the maximum number of levels of one side: the group's size takes two bytes, and 65,535 is reserved.
const sbeMost = math.MaxUint16 - 1

// An sbeStyle chooses among the forms that the encoding allows.
type sbeStyle struct {
	longer bool // blocks and entries end with fields that version 0 does not have
	vary   bool // exponents are as large as the numbers of a message allow, instead of -8 and those of the base asset
}

// sbeExtra is the number of bytes of the fields of a newer version.
const sbeExtra = 3

// An sbeMessage builds one message.
type sbeMessage struct {
	b               []byte
	style           sbeStyle
	price, quantity int8 // exponents
}

// begin writes the header; the fields of the root block follow.
func (e encoder) begin(sym *symbolState, template, block int, prices, quantities []orderbook.Fixed) *sbeMessage {
	m := &sbeMessage{style: e.sbe, price: -orderbook.FractionDigits, quantity: -orderbook.FractionDigits}
	if most := zeros(quantities); most >= orderbook.FractionDigits-int8(sym.BasePrecision) {
		m.quantity = -int8(sym.BasePrecision)
	}
	version := 0
	if e.sbe.longer {
		block, version = block+sbeExtra, 1
	}
	if e.sbe.vary {
		m.price += zeros(prices)
		m.quantity = zeros(quantities) - orderbook.FractionDigits
	}
	m.u16(block, template, sbeSchema, version)
	return m
}

// zeros returns how many trailing digits are 0 in all numbers but MaxFixed.
func zeros(numbers []orderbook.Fixed) (n int8) {
	for power := orderbook.Fixed(10); n < 2*orderbook.FractionDigits; power *= 10 {
		for _, v := range numbers {
			if v%power != 0 && v != orderbook.MaxFixed {
				return n
			}
		}
		n++
	}
	return n
}

func (m *sbeMessage) u16(values ...int) {
	for _, v := range values {
		m.b = binary.LittleEndian.AppendUint16(m.b, uint16(v))
	}
}

func (m *sbeMessage) i64(values ...int64) {
	for _, v := range values {
		m.b = binary.LittleEndian.AppendUint64(m.b, uint64(v))
	}
}

func (m *sbeMessage) exponents() { m.b = append(m.b, byte(m.price), byte(m.quantity)) }

// number writes the mantissa of a Fixed. That of MaxFixed is the largest at any exponent.
func (m *sbeMessage) number(v orderbook.Fixed, exponent int8) {
	if v == orderbook.MaxFixed {
		exponent = -orderbook.FractionDigits
	}
	for ; exponent > -orderbook.FractionDigits; exponent-- {
		v /= 10
	}
	m.i64(int64(v))
}

// end ends a block or an entry.
func (m *sbeMessage) end() {
	if m.style.longer {
		m.b = append(m.b, make([]byte, sbeExtra)...)
	}
}

// entry returns the length of a group's entries.
func (m *sbeMessage) entry(size int) int {
	if m.style.longer {
		size += sbeExtra
	}
	return size
}

func (m *sbeMessage) levels(levels []orderbook.Level) {
	m.u16(m.entry(16), len(levels))
	for _, l := range levels {
		m.number(l.Price, m.price)
		m.number(l.Quantity, m.quantity)
		m.end()
	}
}

func (m *sbeMessage) symbol(name string) []byte {
	return append(append(m.b, byte(len(name))), name...)
}

// sbeDepth returns the DepthDiffStreamEvent of a batch, or nil if it has too many levels.
func (e encoder) sbeDepth(sym *symbolState, bt *batch, bids, asks []orderbook.Level, now time.Time) []byte {
	if len(bids) > sbeMost || len(asks) > sbeMost {
		return nil
	}
	prices, quantities := split(bids, asks)
	m := e.begin(sym, sbeDepth, 26, prices, quantities)
	m.i64(now.UnixMicro(), bt.first, bt.last)
	m.exponents()
	m.end()
	m.levels(bids)
	m.levels(asks)
	return m.symbol(sym.Name)
}

// sbeSnapshot returns the DepthSnapshotStreamEvent of a book's best levels.
func (e encoder) sbeSnapshot(sym *symbolState, snap *orderbook.Snapshot, now time.Time) []byte {
	prices, quantities := split(snap.Bids, snap.Asks)
	m := e.begin(sym, sbeSnapshot, 18, prices, quantities)
	m.i64(now.UnixMicro(), snap.LastID)
	m.exponents()
	m.end()
	m.levels(snap.Bids)
	m.levels(snap.Asks)
	return m.symbol(sym.Name)
}

func split(sides ...[]orderbook.Level) (prices, quantities []orderbook.Fixed) {
	for _, side := range sides {
		for _, l := range side {
			prices, quantities = append(prices, l.Price), append(quantities, l.Quantity)
		}
	}
	return prices, quantities
}

// sbeBest returns the BestBidAskStreamEvent of the book at id.
func (e encoder) sbeBest(sym *symbolState, id int64, t touch, now time.Time) []byte {
	m := e.begin(sym, sbeBest, 50, []orderbook.Fixed{t.bid.Price, t.ask.Price}, []orderbook.Fixed{t.bid.Quantity, t.ask.Quantity})
	m.i64(now.UnixMicro(), id)
	m.exponents()
	for _, l := range []orderbook.Level{t.bid, t.ask} {
		m.number(l.Price, m.price)
		m.number(l.Quantity, m.quantity)
	}
	m.end()
	return m.symbol(sym.Name)
}

// sbeTrades returns the TradesStreamEvent of the fills of one order, for binary connections only.
func (e encoder) sbeTrades(sym *symbolState, trades []marketprism.Trade, now time.Time) payload {
	return func(b []byte, as form) []byte {
		if as != inSBE || len(trades) == 0 {
			return nil
		}
		var prices, quantities []orderbook.Fixed
		for _, t := range trades {
			prices, quantities = append(prices, t.Price), append(quantities, t.Quantity)
		}
		m := e.begin(sym, sbeTrades, 18, prices, quantities)
		m.i64(now.UnixMicro(), trades[0].TradeTime.UnixMicro())
		m.exponents()
		m.end()
		m.u16(m.entry(25))
		m.b = binary.LittleEndian.AppendUint32(m.b, uint32(len(trades)))
		for _, t := range trades {
			m.i64(t.ID)
			m.number(t.Price, m.price)
			m.number(t.Quantity, m.quantity)
			m.b = append(m.b, byte(index(t.BuyerMaker)))
			m.end()
		}
		return append(b, m.symbol(sym.Name)...)
	}
}

// sbeStream returns the JSON stream with the content of a binary one, or "" if there is none. Depth has the
// speed of the fastest stream, Config.Tick.
func sbeStream(name string) string {
	symbol, kind, _ := strings.Cut(name, "@")
	switch kind {
	case "depth", "depth20":
		return name + "@100ms"
	case "bestBidAsk":
		return symbol + "@bookTicker"
	case "trade":
		return name
	}
	return ""
}
