package nautilus

import (
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

// rowsPerGroup is nautilus's own (nautilus_trader, persistence/catalog/parquet.py: max_rows_per_group=5000).
const rowsPerGroup = 5_000

// A catalogFile is one file, whose name has the times of its first and last row.
type catalogFile struct {
	*columnar.Table
	file        *dayfile.File
	kind, id    string
	first, last int64
}

func newFile(day *dayfile.Day, kind string, columns ...columnar.Column) (*catalogFile, error) {
	file, err := day.Create("data/" + kind + "/" + InstrumentID(day.Instrument) + "/" + day.Date.Format(time.DateOnly) + ".parquet")
	if err != nil {
		return nil, err
	}
	table, err := columnar.NewTable(file, rowsPerGroup, columns...)
	if err != nil {
		return nil, err
	}
	return &catalogFile{Table: table, file: file, kind: kind, id: InstrumentID(day.Instrument)}, nil
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
func (f *catalogFile) close(price, size scale) error {
	if f == nil {
		return nil
	}
	f.file.Rows = f.Rows
	for _, m := range [...][2]string{
		{"instrument_id", f.id}, {"price_precision", strconv.Itoa(price.decimals)}, {"size_precision", strconv.Itoa(size.decimals)},
	} {
		if err := f.SetMetadata(m[0], m[1]); err != nil {
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	return f.file.Rename("data/" + f.kind + "/" + f.id + "/" + fileTime(f.first) + "_" + fileTime(f.last) + ".parquet")
}

// fileTime returns a time as nautilus has it in file names.
func fileTime(ns int64) string {
	t := time.Unix(0, ns).UTC()
	return fmt.Sprintf("%s-%09dZ", t.Format("2006-01-02T15-04-05"), t.Nanosecond())
}
