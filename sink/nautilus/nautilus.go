// Package nautilus writes days of market data as the Parquet catalog of nautilus_trader. See Format.
package nautilus

import (
	"context"
	"errors"

	"github.com/marketprism/marketprism/sink/dayfile"
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
