// Package nautilus writes days of market data as the Parquet catalog of nautilus_trader. See Format.
package nautilus

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"strconv"

	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink/dayfile"
	"github.com/marketprism/marketprism/sink/internal/columnar"
)

// A Format makes the files data/TYPE/INSTRUMENT/FIRST_LAST.parquet of each day, for the catalogs of nautilus_trader 1.221 to
// 1.231 as its wheels for Linux and macOS read them, with numbers of 16 bytes:
//
//	order_book_deltas   the book: snapshots and changes
//	trade_tick          trades
//	quote_tick          the exchange's own best bid and ask, where it was recorded and has both sides
//
// Earlier releases call the first folder order_book_delta, 1.221 among them, which is the last one for Python 3.11: that name
// is a link to the other. Releases after 1.231 have another schema, to which nautilus's own tool migrates a catalog. Instruments are not
// written: a catalog is queried without them, and a backtest makes them in Python.
//
// A day begins with the book at its first moment. At a gap nothing is written, or with ClearOnGap a delta that empties the book.
//
// nautilus rounds numbers to the precision in a file's metadata when it reads them, and refuses a folder whose files differ in it
// (nautilus_trader issue 3549). PricePrecision and SizePrecision are therefore constant: 8, which is exact for every market.
type Format struct {
	ClearOnGap bool

	// PricePrecision and SizePrecision are the decimals of prices and quantities: 0 means 8, negative none. A number with more is an
	// error.
	PricePrecision, SizePrecision int
}

var _ dayfile.Format = Format{}

// Name returns "nautilus".
func (f Format) Name() string { return "nautilus" }

// Convert makes the files of a day.
func (f Format) Convert(ctx context.Context, day *dayfile.Day) error {
	price, err := newScale(f.PricePrecision)
	if err != nil {
		return err
	}
	size, err := newScale(f.SizePrecision)
	if err != nil {
		return err
	}
	c := &conversion{ctx: ctx, day: day, clearOnGap: f.ClearOnGap, price: price, size: size}
	return errors.Join(c.deltas(), c.trades(), c.quotes())
}

// A conversion makes the files of a day.
type conversion struct {
	ctx         context.Context
	day         *dayfile.Day
	clearOnGap  bool
	price, size scale
}

// Actions, sides and flags of nautilus_trader (crates/model/src/enums.rs).
const (
	actionAdd    = 1
	actionUpdate = 2
	actionDelete = 3
	actionClear  = 4

	sideNone = 0
	sideBuy  = 1
	sideSell = 2

	flagLast     = 128
	flagSnapshot = 32
)

const deltasFolder = "order_book_deltas"

// deltaRows are the columns of order_book_deltas, in the order that the reader demands.
type deltaRows struct {
	file         *catalogFile
	action, side *columnar.Value[int32]
	price, size  *columnar.Value[[16]byte]
	order        *columnar.Value[int64]
	flags        *columnar.Value[int32]
	sequence     *columnar.Value[int64]
	event, init  *columnar.Value[int64]
}

func newDeltaRows(c *conversion) (*deltaRows, error) {
	d := &deltaRows{
		action: columnar.NewValue[int32]("action", columnar.Byte, false), side: columnar.NewValue[int32]("side", columnar.Byte, false),
		price: columnar.NewValue[[16]byte]("price", columnar.Fixed16, false), size: columnar.NewValue[[16]byte]("size", columnar.Fixed16, false),
		order: columnar.NewValue[int64]("order_id", columnar.Serial, false), flags: columnar.NewValue[int32]("flags", columnar.Byte, false),
		sequence: columnar.NewValue[int64]("sequence", columnar.Serial, false),
		event:    columnar.NewValue[int64]("ts_event", columnar.Serial, false), init: columnar.NewValue[int64]("ts_init", columnar.Serial, false),
	}
	var err error
	d.file, err = newFile(c.day, deltasFolder, d.action, d.side, d.price, d.size, d.order, d.flags, d.sequence, d.event, d.init)
	return d, err
}

// A delta is one row.
type delta struct {
	action, side, flags int32
	level               orderbook.Level
	sequence            int64
	event, local        int64
}

func (d *deltaRows) append(c *conversion, r *delta) error {
	price, err := c.price.raw(r.level.Price)
	if err != nil {
		return err
	}
	size, err := c.size.raw(r.level.Quantity)
	if err != nil {
		return err
	}
	d.action.Append(r.action)
	d.side.Append(r.side)
	d.price.Append(price)
	d.size.Append(size)
	d.order.Append(0) // a book of levels has no orders
	d.flags.Append(r.flags)
	d.sequence.Append(r.sequence)
	d.event.Append(r.event)
	d.init.Append(r.local)
	return d.file.endRow(r.local)
}

// deltas writes the book. The last row of each record has flagLast: rows after the last such row of a file would be dropped.
func (c *conversion) deltas() error {
	var out *deltaRows
	var rows []delta
	for e, err := range c.day.Book() {
		if err := errors.Join(err, c.ctx.Err()); err != nil {
			return err
		}
		rows = c.rows(rows[:0], e)
		if len(rows) == 0 {
			continue
		}
		rows[len(rows)-1].flags |= flagLast
		if out == nil {
			if out, err = newDeltaRows(c); err != nil {
				return err
			}
		}
		for i := range rows {
			if err := out.append(c, &rows[i]); err != nil {
				return err
			}
		}
	}
	if out == nil {
		return nil
	}
	if err := out.file.close(c.price, c.size); err != nil {
		return err
	}
	return c.day.Alias("data/order_book_delta", "data/"+deltasFolder)
}

// rows appends the rows of a record of the book.
func (c *conversion) rows(rows []delta, e *dayfile.BookEvent) []delta {
	r := delta{local: e.Local.UnixNano(), event: eventTime(e)}
	switch rec := e.Record; {
	case rec.Update != nil:
		r.sequence = rec.Update.LastID
		rows = changes(rows, r, sideBuy, rec.Update.Bids)
		rows = changes(rows, r, sideSell, rec.Update.Asks)
	case rec.Snapshot != nil:
		r.sequence, r.flags, r.action = rec.Snapshot.LastID, flagSnapshot, actionClear
		rows = append(rows, r)
		r.action = actionAdd
		for i, levels := range [...][]orderbook.Level{rec.Snapshot.Bids, rec.Snapshot.Asks} {
			for _, r.level = range levels {
				r.side = [...]int32{sideBuy, sideSell}[i]
				rows = append(rows, r)
			}
		}
	case c.clearOnGap:
		r.sequence, r.flags, r.action = max(rec.Gap.After, 0), flagSnapshot, actionClear
		rows = append(rows, r)
	}
	return rows
}

func changes(rows []delta, r delta, side int32, levels []orderbook.Level) []delta {
	r.side = side
	for _, r.level = range levels {
		r.action = actionUpdate
		if r.level.Quantity == 0 {
			r.action = actionDelete
		}
		rows = append(rows, r)
	}
	return rows
}

// eventTime returns the exchange's clock of an event; the local one if the venue sends none.
func eventTime(e *dayfile.BookEvent) int64 {
	if e.Exchange.IsZero() {
		return e.Local.UnixNano()
	}
	return e.Exchange.UnixNano()
}

// trades writes trade_tick.
func (c *conversion) trades() error {
	price, size := columnar.NewValue[[16]byte]("price", columnar.Fixed16, false), columnar.NewValue[[16]byte]("size", columnar.Fixed16, false)
	aggressor := columnar.NewValue[int32]("aggressor_side", columnar.Byte, false)
	id := columnar.NewValue[string]("trade_id", columnar.Unique, false)
	event, init := columnar.NewValue[int64]("ts_event", columnar.Serial, false), columnar.NewValue[int64]("ts_init", columnar.Serial, false)
	columns := []columnar.Column{price, size, aggressor, id, event, init}
	return c.ticks("trade_tick", c.day.Trades(), columns, func(e *dayfile.Event) error {
		t := e.Record.Trade
		if t.BuyerMaker {
			aggressor.Append(sideSell)
		} else {
			aggressor.Append(sideBuy)
		}
		id.Append(strconv.FormatInt(t.ID, 10))
		event.Append(t.TradeTime.UnixNano())
		init.Append(e.Local.UnixNano())
		return c.numbers(t.Price, t.Quantity, price, size)
	})
}

// ticks writes a file with a row for each event, which add appends to its columns; none if there are no events.
func (c *conversion) ticks(kind string, events iter.Seq2[*dayfile.Event, error], columns []columnar.Column, add func(*dayfile.Event) error) error {
	var out *catalogFile
	for e, err := range events {
		if err := errors.Join(err, c.ctx.Err()); err != nil {
			return err
		}
		if out == nil {
			if out, err = newFile(c.day, kind, columns...); err != nil {
				return err
			}
		}
		if err := add(e); err != nil {
			return err
		}
		if err := out.endRow(e.Local.UnixNano()); err != nil {
			return err
		}
	}
	return out.close(c.price, c.size)
}

// numbers appends a price and a quantity.
func (c *conversion) numbers(price, quantity orderbook.Fixed, prices, sizes *columnar.Value[[16]byte]) error {
	p, err := c.price.raw(price)
	if err != nil {
		return err
	}
	q, err := c.size.raw(quantity)
	if err != nil {
		return err
	}
	prices.Append(p)
	sizes.Append(q)
	return nil
}

// quotes writes quote_tick. A quote needs both sides; tickers with one are left out.
func (c *conversion) quotes() error {
	fixed := func(name string) *columnar.Value[[16]byte] {
		return columnar.NewValue[[16]byte](name, columnar.Fixed16, false)
	}
	bid, ask, bidSize, askSize := fixed("bid_price"), fixed("ask_price"), fixed("bid_size"), fixed("ask_size")
	event, init := columnar.NewValue[int64]("ts_event", columnar.Serial, false), columnar.NewValue[int64]("ts_init", columnar.Serial, false)
	columns := []columnar.Column{bid, ask, bidSize, askSize, event, init}
	return c.ticks("quote_tick", withBothSides(c.day.Tickers()), columns, func(e *dayfile.Event) error {
		t := e.Record.Ticker
		event.Append(cmp.Or(t.TransactTime, e.Record.EventTime, e.Local).UnixNano())
		init.Append(e.Local.UnixNano())
		return errors.Join(c.numbers(t.Bid.Price, t.Bid.Quantity, bid, bidSize), c.numbers(t.Ask.Price, t.Ask.Quantity, ask, askSize))
	})
}

// withBothSides yields the tickers that have a bid and an ask.
func withBothSides(tickers iter.Seq2[*dayfile.Event, error]) iter.Seq2[*dayfile.Event, error] {
	return func(yield func(*dayfile.Event, error) bool) {
		for e, err := range tickers {
			if err == nil && (e.Record.Ticker.Bid.Quantity == 0 || e.Record.Ticker.Ask.Quantity == 0) {
				continue
			}
			if !yield(e, err) {
				return
			}
		}
	}
}
