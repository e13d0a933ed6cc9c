// Package tardis writes days of market data as the CSV files of Tardis.dev, which pandas, Polars, nautilus_trader and
// hftbacktest read. See Format.
package tardis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
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
	if err := f.convertBook(ctx, day); err != nil {
		return err
	}
	if err := f.convertTrades(ctx, day); err != nil {
		return err
	}
	return f.convertTickers(ctx, day)
}

// Exchange returns Tardis's name of a market: binance, binance-futures, binance-delivery; EXCHANGE or EXCHANGE-MARKET
// for others.
func Exchange(in marketprism.Instrument) string {
	switch in.Market {
	case marketprism.Spot:
		return in.Exchange
	case marketprism.USDM:
		return in.Exchange + "-futures"
	case marketprism.COINM:
		return in.Exchange + "-delivery"
	}
	return in.Exchange + "-" + string(in.Market)
}

const (
	bookHeader   = "exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount"
	tradesHeader = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount"
	topHeader    = "exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount"
)

// A table is one CSV file. Its gzip stream is one member: nautilus_trader reads no further than the first.
type table struct {
	file   *dayfile.File
	zip    *gzip.Writer
	header string
	prefix string // the first two columns
	row    []byte
}

func newTable(day *dayfile.Day, kind, header string) (*table, error) {
	exchange := Exchange(day.Instrument)
	symbol := dayfile.Escape(day.Instrument.Symbol)
	file, err := day.Create(fmt.Sprintf("%s_%s_%s_%s.csv.gz", dayfile.Escape(exchange), kind, day.Date.Format(time.DateOnly), symbol))
	if err != nil {
		return nil, err
	}
	zip, err := gzip.NewWriterLevel(file, 6)
	if err != nil {
		return nil, err
	}
	return &table{file: file, zip: zip, header: header, prefix: exchange + "," + csvSymbol(day.Instrument.Symbol)}, nil
}

// csvSymbol returns a symbol that needs no quotes in CSV: one that would is escaped as in file names.
func csvSymbol(symbol string) string {
	for _, c := range []byte(symbol) {
		if c == ',' || c == '"' || c < ' ' {
			return dayfile.Escape(symbol)
		}
	}
	return symbol
}

// begin begins a row with its times; the zero time is an empty column.
func (t *table) begin(exchange, local time.Time) {
	t.row = append(t.row[:0], t.prefix...)
	t.row = append(t.row, ',')
	t.row = strconv.AppendInt(t.row, exchange.UnixMicro(), 10)
	t.row = append(t.row, ',')
	t.row = strconv.AppendInt(t.row, local.UnixMicro(), 10)
}

func (t *table) text(s string) {
	t.row = append(t.row, ',')
	t.row = append(t.row, s...)
}

func (t *table) number(f orderbook.Fixed) {
	t.row = append(t.row, ',')
	t.row, _ = f.AppendText(t.row) // it never fails
}

// level appends two columns, empty if there is no level.
func (t *table) level(a, b orderbook.Fixed, there bool) {
	if !there {
		t.row = append(t.row, ",,"...)
		return
	}
	t.number(a)
	t.number(b)
}

// end writes the row, after the header if it is the first: a file without rows is empty.
func (t *table) end() error {
	if t.file.Rows == 0 {
		if _, err := t.zip.Write(append([]byte(t.header), '\n')); err != nil {
			return err
		}
	}
	t.file.Rows++
	t.row = append(t.row, '\n')
	_, err := t.zip.Write(t.row)
	return err
}

func (t *table) close() error {
	if t == nil {
		return nil
	}
	return t.zip.Close()
}

func (f Format) convertTrades(ctx context.Context, day *dayfile.Day) error {
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

func (f Format) convertTickers(ctx context.Context, day *dayfile.Day) error {
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
		out.begin(or(e.Record.EventTime, or(t.TransactTime, e.Local)), e.Local)
		out.level(t.Ask.Quantity, t.Ask.Price, t.Ask.Quantity != 0)
		out.level(t.Bid.Price, t.Bid.Quantity, t.Bid.Quantity != 0)
		if err := out.end(); err != nil {
			return err
		}
	}
	return out.close()
}

// or returns t, or other if t is zero.
func or(t, other time.Time) time.Time {
	if t.IsZero() {
		return other
	}
	return t
}
