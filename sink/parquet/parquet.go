// Package parquet writes days of market data as Parquet files that DuckDB, Polars, pandas, pyarrow and ClickHouse read, and
// reads them back into records without loss. See Format and Read.
package parquet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/sink/dayfile"
	"github.com/marketprism/marketprism/sink/internal/columnar"
)

// A Format makes the files TABLE/exchange=E/market=M/symbol=S/date=D/part-0000.parquet of each day, whose folders are Hive
// partitions. The tables are
//
//	messages   one row a record of the book, with its levels as lists: nothing is lost, see Read
//	levels     one row a changed level, for SQL and data frames
//	trades     single trades and aggregates, told apart by the column aggregate: never add up both
//	tickers    the exchange's own best bid and ask
//	gaps       where the book was not synced
//
// Prices and quantities are integers of 10^-8, times nanoseconds since 1970-01-01 UTC: exact in every reader. local_ns is the
// local clock in the order of the records, recv_ns as it was received. seq counts the records of an instrument in
// the order in which they were written; span counts the stretches between a snapshot and the next gap. A row of levels with
// is_snapshot and level_no 0 empties the book; quantity 0 removes a level.
//
// The keys marketprism.* of a file's footer say what it holds, and the checksum of the book at its end.
type Format struct{}

var _ dayfile.Format = Format{}

// Name returns "parquet".
func (Format) Name() string { return "parquet" }

// Convert makes the files of a day.
func (f Format) Convert(ctx context.Context, day *dayfile.Day) error {
	if err := convertBook(ctx, day); err != nil {
		return err
	}
	if err := convertTrades(ctx, day); err != nil {
		return err
	}
	return convertTickers(ctx, day)
}

// path returns the name of a table's file.
func path(in marketprism.Instrument, date time.Time, table string) string {
	return fmt.Sprintf("%s/exchange=%s/market=%s/symbol=%s/date=%s/part-0000.parquet",
		table, dayfile.Escape(in.Exchange), dayfile.Escape(string(in.Market)), dayfile.Escape(in.Symbol), date.Format(time.DateOnly))
}

// A tableFile is one file of a day.
type tableFile struct {
	*columnar.Table
	name string
	day  *dayfile.Day
	file *dayfile.File
}

func newTable(day *dayfile.Day, name string, maxRows int, columns ...columnar.Column) (*tableFile, error) {
	file, err := day.Create(path(day.Instrument, day.Date, name))
	if err != nil {
		return nil, err
	}
	table, err := columnar.NewTable(file, maxRows, columns...)
	if err != nil {
		return nil, err
	}
	return &tableFile{Table: table, name: name, day: day, file: file}, nil
}

// close writes the footer. more are further keys of it.
func (t *tableFile) close(more map[string]string) error {
	in := t.day.Instrument
	t.file.Rows = t.Rows
	footer := map[string]string{
		"schema": t.name + "/1", "exchange": in.Exchange, "market": string(in.Market), "symbol": in.Symbol,
		"date": t.day.Date.Format(time.DateOnly), "price_unit": "1e-8", "qty_unit": quantityUnit(in.Market),
		"time_unit": "ns since 1970-01-01 UTC", "rows": strconv.FormatInt(t.Rows, 10), "writer": "marketprism/1",
	}
	metadata := make(map[string]string, len(footer)+len(more))
	for _, keys := range [...]map[string]string{footer, more} {
		for k, v := range keys {
			metadata["marketprism."+k] = v
		}
	}
	return t.Close(metadata)
}

// quantityUnit names the unit of quantities: COIN-M futures count contracts (Binance, COIN-M Futures, Exchange Information:
// contractSize).
func quantityUnit(m marketprism.Market) string {
	if m == marketprism.COINM {
		return "1e-8 contracts"
	}
	return "1e-8 base asset"
}

// nanos returns a time for an optional column.
func nanos(t time.Time) (bool, int64) {
	if t.IsZero() {
		return false, 0
	}
	return true, t.UnixNano()
}

// clocks are the columns of time that all tables have.
type clocks struct {
	event, received, local *columnar.Value[int64]
}

func newClocks() clocks {
	return clocks{
		event:    columnar.NewValue[int64]("event_ns", columnar.Delta, true),
		received: columnar.NewValue[int64]("recv_ns", columnar.Delta, false),
		local:    columnar.NewValue[int64]("local_ns", columnar.Delta, false),
	}
}

// append appends a record's clocks. One that has no local clock is received at its event.
func (c *clocks) append(r *marketprism.Record, local time.Time) {
	c.event.AppendIf(nanos(r.EventTime))
	received := r.ReceivedAt
	if received.IsZero() {
		received = r.EventTime
	}
	c.received.Append(received.UnixNano())
	c.local.Append(local.UnixNano())
}

func convertTrades(ctx context.Context, day *dayfile.Day) error {
	seq := columnar.NewValue[int64]("seq", columnar.Delta, false)
	id := columnar.NewValue[int64]("trade_id", columnar.Delta, false)
	aggregate := columnar.NewValue[bool]("aggregate", columnar.Flag, false)
	first := columnar.NewValue[int64]("first_trade_id", columnar.Delta, true)
	last := columnar.NewValue[int64]("last_trade_id", columnar.Delta, true)
	side := columnar.NewValue[string]("side", columnar.Text, false)
	price := columnar.NewValue[int64]("price_e8", columnar.Delta, false)
	quantity := columnar.NewValue[int64]("qty_e8", columnar.Number, false)
	bestMatch := columnar.NewValue[bool]("best_match", columnar.Flag, true)
	at := columnar.NewValue[int64]("trade_ns", columnar.Delta, false)
	clocks := newClocks()
	var table *tableFile
	for e, err := range day.AllTrades() {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if table == nil {
			table, err = newTable(day, "trades", 0, seq, id, aggregate, first, last, side, price, quantity, bestMatch, clocks.event, at, clocks.received, clocks.local)
			if err != nil {
				return err
			}
		}
		t := e.Record.Trade
		seq.Append(e.Seq)
		id.Append(t.ID)
		aggregate.Append(t.Aggregate)
		hasRange := t.FirstID != 0 || t.LastID != 0
		first.AppendIf(hasRange, t.FirstID)
		last.AppendIf(hasRange, t.LastID)
		side.Append(t.Side())
		price.Append(int64(t.Price))
		quantity.Append(int64(t.Quantity))
		bestMatch.AppendIf(day.Instrument.Market == marketprism.Spot, t.BestMatch)
		at.Append(t.TradeTime.UnixNano())
		clocks.append(e.Record, e.Local)
		if err := table.EndRow(); err != nil {
			return err
		}
	}
	if table == nil {
		return nil
	}
	return table.close(nil)
}

func convertTickers(ctx context.Context, day *dayfile.Day) error {
	seq := columnar.NewValue[int64]("seq", columnar.Delta, false)
	id := columnar.NewValue[int64]("update_id", columnar.Delta, false)
	transact := columnar.NewValue[int64]("transact_ns", columnar.Delta, true)
	var numbers [4]*columnar.Value[int64]
	for i, name := range [...]string{"bid_price_e8", "bid_qty_e8", "ask_price_e8", "ask_qty_e8"} {
		numbers[i] = columnar.NewValue[int64](name, [...]columnar.Type{columnar.Delta, columnar.Number}[i%2], false)
	}
	clocks := newClocks()
	var table *tableFile
	for e, err := range day.Tickers() {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if table == nil {
			table, err = newTable(day, "tickers", 0, seq, id, numbers[0], numbers[1], numbers[2], numbers[3], clocks.event, transact, clocks.received, clocks.local)
			if err != nil {
				return err
			}
		}
		t := e.Record.Ticker
		seq.Append(e.Seq)
		id.Append(t.UpdateID)
		for i, n := range [...]int64{int64(t.Bid.Price), int64(t.Bid.Quantity), int64(t.Ask.Price), int64(t.Ask.Quantity)} {
			numbers[i].Append(n)
		}
		transact.AppendIf(nanos(t.TransactTime))
		clocks.append(e.Record, e.Local)
		if err := table.EndRow(); err != nil {
			return err
		}
	}
	if table == nil {
		return nil
	}
	return table.close(nil)
}

// spansText returns the spans of a day for the footer of its files: [[span, first id, last id, first local, last local], …].
func spansText(spans []dayfile.SpanInfo) string {
	list := make([][5]int64, 0, len(spans))
	for _, s := range spans {
		list = append(list, [...]int64{s.Span, s.FirstID, s.LastID, s.FirstLocal, s.LastLocal})
	}
	text, _ := json.Marshal(list) // numbers always can be
	return string(text)
}
