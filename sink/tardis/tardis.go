// Package tardis writes days of market data as the CSV files of Tardis.dev, which pandas, Polars, nautilus_trader and
// hftbacktest read. See Format.
package tardis

import (
	"cmp"
	"context"
	"errors"
	"strconv"

	"github.com/marketprism/marketprism/sink/dayfile"
)

// A Format makes the files EXCHANGE_TYPE_DATE_SYMBOL.csv.gz of each day, as Tardis's own client names them:
//
//	incremental_book_L2   every change of the book, and its snapshots
//	trades                single trades; aggregates where a day has no single ones
//	quotes                the best bid and ask of the book, on each change of them
//	book_snapshot_N       the best N levels, on each change of them; N is Depth
//	book_ticker           the exchange's own best bid and ask, where it was recorded
//
// Times are microseconds, of the exchange and of the local clock, by which files are cut and ordered. A day begins with
// the book at its first moment. A reader drops its book at the first row of a snapshot, and a snapshot follows each gap, so that
// no file says where a gap was: the manifest does. (https://docs.tardis.dev/downloadable-csv-files/data-types)
//
// The zero Format is that of the vendor.
type Format struct {
	// Depth is the number of levels of book_snapshot_N; 0 means 25, negative that the file is not made.
	Depth int
	// MatchingTime makes timestamp that of the matching engine (Binance T) for updates too, which hftbacktest needs for its
	// latencies. Tardis has the time of sending (E) there.
	MatchingTime bool
}

var _ dayfile.Format = Format{}

// Name returns "tardis".
func (f Format) Name() string { return "tardis" }

// Convert makes the files of a day.
func (f Format) Convert(ctx context.Context, day *dayfile.Day) error {
	if f.Depth == 0 {
		f.Depth = 25
	}
	if err := convertBook(ctx, day, f); err != nil {
		return err
	}
	if err := convertTrades(ctx, day); err != nil {
		return err
	}
	return convertTickers(ctx, day)
}

func convertTrades(ctx context.Context, day *dayfile.Day) error {
	out, err := newTable(day, "trades", tradesHeader)
	if err != nil {
		return err
	}
	for e, err := range day.Trades() {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		t := e.Record.Trade
		out.begin(t.TradeTime, e.Local)
		out.row = append(out.row, ',')
		out.row = strconv.AppendInt(out.row, t.ID, 10)
		out.text(t.Side())
		out.number(t.Price)
		out.number(t.Quantity)
		if err := out.end(); err != nil {
			return err
		}
	}
	return out.close()
}

func convertTickers(ctx context.Context, day *dayfile.Day) error {
	var out *table
	for e, err := range day.Tickers() {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if out == nil {
			if out, err = newTable(day, "book_ticker", topHeader); err != nil {
				return err
			}
		}
		t := e.Record.Ticker
		out.begin(cmp.Or(e.Record.EventTime, t.TransactTime, e.Local), e.Local)
		out.level(t.Ask.Quantity, t.Ask.Price, t.Ask.Quantity != 0)
		out.level(t.Bid.Price, t.Bid.Quantity, t.Bid.Quantity != 0)
		if err := out.end(); err != nil {
			return err
		}
	}
	return out.close()
}
