// Package nautilus writes days of market data as the Parquet catalog of nautilus_trader. See Format.
package nautilus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"time"

	"github.com/marketprism/marketprism"
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

// InstrumentID returns nautilus's name of an instrument: BTCUSDT.BINANCE on spot, BTCUSDT-PERP.BINANCE for a perpetual
// future. A future with a date keeps its symbol.
func InstrumentID(in marketprism.Instrument) string {
	symbol := dayfile.Escape(in.Symbol)
	if in.Market != marketprism.Spot && !hasDate(symbol) {
		symbol += "-PERP"
	}
	venue := []byte(dayfile.Escape(in.Exchange))
	for i, c := range venue {
		if 'a' <= c && c <= 'z' {
			venue[i] = c - 'a' + 'A'
		}
	}
	return symbol + "." + string(venue)
}

// hasDate reports whether a futures symbol ends with a date, as BTCUSDT_261225 does.
func hasDate(symbol string) bool {
	const digits = 6
	if len(symbol) <= digits || symbol[len(symbol)-digits-1] != '_' {
		return false
	}
	_, err := strconv.Atoi(symbol[len(symbol)-digits:])
	return err == nil
}

// A scale is the precision of a column.
type scale struct {
	decimals int
	unit     orderbook.Fixed // the number must be a multiple of it
}

// ErrPrecision is the error for a number that has more decimals than the Format's precision, and for a precision that
// is not 0 to 8.
var ErrPrecision = errors.New("nautilus: precision")

func newScale(decimals int) (scale, error) {
	switch {
	case decimals == 0:
		decimals = orderbook.FractionDigits
	case decimals < 0:
		decimals = 0
	case decimals > orderbook.FractionDigits:
		return scale{}, fmt.Errorf("%w %d is beyond %d decimals", ErrPrecision, decimals, orderbook.FractionDigits)
	}
	unit := orderbook.Fixed(1)
	for range orderbook.FractionDigits - decimals {
		unit *= 10
	}
	return scale{decimals: decimals, unit: unit}, nil
}

// raw returns a number in nautilus's form: a little-endian integer of 16 bytes, in units of 10^-16.
func (s scale) raw(f orderbook.Fixed) ([16]byte, error) {
	if f < 0 || f%s.unit != 0 {
		return [16]byte{}, fmt.Errorf("%w: %v has more than %d decimals", ErrPrecision, f, s.decimals)
	}
	const perFixed = 100_000_000 // 10^-8 in units of 10^-16
	high, low := bits.Mul64(uint64(f), perFixed)
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], low)
	binary.LittleEndian.PutUint64(b[8:], high)
	return b, nil
}

// A conversion makes the files of a day.
type conversion struct {
	ctx         context.Context
	day         *dayfile.Day
	clearOnGap  bool
	price, size scale
}

// rowsPerGroup is nautilus's own (nautilus_trader, persistence/catalog/parquet.py: max_rows_per_group=5000).
const rowsPerGroup = 5_000

// A catalogFile is one file, whose name has the times of its first and last row.
type catalogFile struct {
	*columnar.Table
	file        *dayfile.File
	kind        string
	first, last int64
}

func (c *conversion) newFile(kind string, columns ...columnar.Column) (*catalogFile, error) {
	file, err := c.day.Create("data/" + kind + "/" + InstrumentID(c.day.Instrument) + "/" + c.day.Date.Format(time.DateOnly) + ".parquet")
	if err != nil {
		return nil, err
	}
	table, err := columnar.NewTable(file, rowsPerGroup, columns...)
	if err != nil {
		return nil, err
	}
	return &catalogFile{Table: table, file: file, kind: kind}, nil
}

// endRow ends a row with its local clock.
func (f *catalogFile) endRow(local int64) error {
	if f.Rows == 0 {
		f.first = local
	}
	f.last = local
	return f.EndRow()
}

// close writes the footer and names the file.
func (f *catalogFile) close(c *conversion) error {
	if f == nil {
		return nil
	}
	f.file.Rows = f.Rows
	id := InstrumentID(c.day.Instrument)
	if err := f.Close(map[string]string{
		"instrument_id": id, "price_precision": strconv.Itoa(c.price.decimals), "size_precision": strconv.Itoa(c.size.decimals),
	}); err != nil {
		return err
	}
	return f.file.Rename("data/" + f.kind + "/" + id + "/" + fileTime(f.first) + "_" + fileTime(f.last) + ".parquet")
}

// fileTime returns a time as nautilus has it in file names.
func fileTime(ns int64) string {
	t := time.Unix(0, ns).UTC()
	return fmt.Sprintf("%s-%09dZ", t.Format("2006-01-02T15-04-05"), t.Nanosecond())
}
