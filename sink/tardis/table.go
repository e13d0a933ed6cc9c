package tardis

import (
	"fmt"
	"strconv"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink/dayfile"
)

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
