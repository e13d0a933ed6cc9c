package chstore

import (
	"errors"
	"fmt"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// sideColumns are the levels of both sides.
type sideColumns struct {
	bidPrice, bidQty, askPrice, askQty levelColumn
}

// A levelColumn is the prices or the quantities of one side: those of all rows one after the other, and where each
// row's end.
type levelColumn struct {
	proto.ColArr[int64]
	values proto.ColInt64
}

func (c *levelColumn) selected(expression string) selected {
	c.Data = &c.values
	return selected{expression, c}
}

// DecodeColumn refuses rows that end before they begin: a server may answer anything.
func (c *levelColumn) DecodeColumn(r *proto.Reader, rows int) error {
	if err := c.ColArr.DecodeColumn(r, rows); err != nil {
		return err
	}
	var from uint64
	for _, end := range c.Offsets {
		if end < from {
			return errColumn
		}
		from = end
	}
	return nil
}

// errColumn is the error for a column that contradicts itself.
var errColumn = errors.New("column of the answer contradicts itself")

// row returns the values of row i.
func (c *levelColumn) row(i int) []int64 {
	var from uint64
	if i > 0 {
		from = c.Offsets[i-1]
	}
	return c.values[from:c.Offsets[i]]
}

func (s *sideColumns) selected() []selected {
	return []selected{
		s.bidPrice.selected("bid_price_e8"), s.bidQty.selected("bid_qty_e8"),
		s.askPrice.selected("ask_price_e8"), s.askQty.selected("ask_qty_e8"),
	}
}

// levels returns the levels of both sides of row i, in memory of m.
func (s *sideColumns) levels(i int, m *payloads) (bids, asks []orderbook.Level, err error) {
	bidPrices, bidQuantities := s.bidPrice.row(i), s.bidQty.row(i)
	askPrices, askQuantities := s.askPrice.row(i), s.askQty.row(i)
	if len(bidPrices) != len(bidQuantities) || len(askPrices) != len(askQuantities) {
		return nil, nil, fmt.Errorf("row with %d bid prices and %d quantities, %d ask prices and %d quantities",
			len(bidPrices), len(bidQuantities), len(askPrices), len(askQuantities))
	}
	all := m.take(len(bidPrices) + len(askPrices))
	return join(all[:len(bidPrices)], bidPrices, bidQuantities), join(all[len(bidPrices):], askPrices, askQuantities), nil
}

// join sets the levels of one side and returns them, nil if there is none, without capacity beyond them.
func join(side []orderbook.Level, prices, quantities []int64) []orderbook.Level {
	if len(side) == 0 {
		return nil
	}
	quantities = quantities[:len(prices)]
	side = side[:len(prices):len(prices)]
	for i, price := range prices {
		side[i] = orderbook.Level{Price: orderbook.Fixed(price), Quantity: orderbook.Fixed(quantities[i])}
	}
	return side
}

// A textColumn is a column of the type String or LowCardinality(String): a session may have the server send the
// second as the first.
type textColumn struct {
	places proto.ColLowCardinalityRaw // of rows in texts, unless plain
	texts  proto.ColStr
	plain  bool
	last   string // of the last answer: most rows have the text of the row before
}

// text returns the text of row i.
func (c *textColumn) text(i int) string {
	if !c.plain {
		i = c.place(i)
	}
	if text := c.texts.RowBytes(i); string(text) != c.last {
		c.last = string(text)
	}
	return c.last
}

func (c *textColumn) place(i int) int {
	switch c.places.Key {
	case proto.KeyUInt8:
		return int(c.places.Keys8[i])
	case proto.KeyUInt16:
		return int(c.places.Keys16[i])
	case proto.KeyUInt32:
		return int(c.places.Keys32[i])
	}
	return int(c.places.Keys64[i])
}

var (
	_ proto.ColResult    = (*textColumn)(nil)
	_ proto.Inferable    = (*textColumn)(nil)
	_ proto.StateDecoder = (*textColumn)(nil)
)

// Infer, Type, Rows, Reset, DecodeState and DecodeColumn are called by ch-go, in this order.
func (c *textColumn) Infer(t proto.ColumnType) error {
	c.plain, c.places.Index = t == proto.ColumnTypeString, &c.texts
	return nil
}

func (c *textColumn) Type() proto.ColumnType {
	if c.plain {
		return c.texts.Type()
	}
	return c.places.Type()
}

func (c *textColumn) Rows() int {
	if c.plain {
		return c.texts.Rows()
	}
	return c.places.Rows()
}

func (c *textColumn) Reset() { c.places.Reset() }

func (c *textColumn) DecodeState(r *proto.Reader) error {
	if c.plain {
		return nil
	}
	return c.places.DecodeState(r)
}

func (c *textColumn) DecodeColumn(r *proto.Reader, rows int) error {
	if c.plain {
		return c.texts.DecodeColumn(r, rows)
	}
	if err := c.places.DecodeColumn(r, rows); err != nil {
		return err
	}
	if c.places.Rows() != rows {
		return errColumn
	}
	for i := range rows {
		if place := c.place(i); place < 0 || place >= c.texts.Rows() {
			return errColumn
		}
	}
	return nil
}

// payloads is the memory of records that were read. They share it in small pieces, so that a caller who keeps one
// record keeps little else.
type payloads struct {
	levels  []orderbook.Level
	updates []orderbook.Update
	trades  []marketprism.Trade
	tickers []marketprism.Ticker
	single  bool // of one record only
}

// The sizes of the pieces: 32 KiB of levels, up to 8 KiB of others.
const (
	levelsPiece  = 2048
	payloadPiece = 64
)

// take returns n levels.
func (m *payloads) take(n int) []orderbook.Level {
	from := len(m.levels)
	if cap(m.levels)-from < n {
		size := max(n, levelsPiece)
		if m.single {
			size = n + n/2 // the next one's are about as many
		}
		m.levels, from = make([]orderbook.Level, 0, size), 0
	}
	m.levels = m.levels[:from+n]
	return m.levels[from:]
}

// next returns one payload.
func next[T any](piece *[]T) *T {
	if len(*piece) == cap(*piece) {
		*piece = make([]T, 0, payloadPiece)
	}
	*piece = (*piece)[:len(*piece)+1]
	return &(*piece)[len(*piece)-1]
}

// reset frees the memory of all records so far for reuse.
func (m *payloads) reset() {
	m.levels, m.updates, m.trades, m.tickers = m.levels[:0], m.updates[:0], m.trades[:0], m.tickers[:0]
}
