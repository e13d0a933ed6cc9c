// Package parquet writes days of market data as Parquet files that DuckDB, Polars, pandas, pyarrow and ClickHouse read, and
// reads them back into records without loss. See Format and Read.
package parquet

import (
	"context"
	"errors"
	"iter"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/sink/dayfile"
	"github.com/marketprism/marketprism/sink/internal/columnar"
)

// A Format makes the files TABLE/exchange=E/market=M/symbol=S/date=D/part-0000.parquet of each day, whose folders are Hive
// partitions. The tables are
//
//	messages   one row a record of the book, with its levels as lists: nothing is lost, see Read
//	levels     one row a changed level, for SQL and data frames
//	trades     single trades and aggregates, which the column aggregate distinguishes: never add up both
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
	columns := []columnar.Column{
		seq, id, aggregate, first, last, side, price, quantity, bestMatch, clocks.event, at, clocks.received, clocks.local,
	}
	return convertEvents(ctx, day, "trades", day.AllTrades(), columns, func(e *dayfile.Event) {
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
	})
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
	columns := []columnar.Column{
		seq, id, numbers[0], numbers[1], numbers[2], numbers[3], clocks.event, transact, clocks.received, clocks.local,
	}
	return convertEvents(ctx, day, "tickers", day.Tickers(), columns, func(e *dayfile.Event) {
		t := e.Record.Ticker
		seq.Append(e.Seq)
		id.Append(t.UpdateID)
		for i, n := range [...]int64{int64(t.Bid.Price), int64(t.Bid.Quantity), int64(t.Ask.Price), int64(t.Ask.Quantity)} {
			numbers[i].Append(n)
		}
		transact.AppendIf(nanos(t.TransactTime))
		clocks.append(e.Record, e.Local)
	})
}

// convertEvents writes a table with a row for each event, which add appends to its columns; none if there are no events.
func convertEvents(ctx context.Context, day *dayfile.Day, name string, events iter.Seq2[*dayfile.Event, error], columns []columnar.Column, add func(*dayfile.Event)) error {
	var table *tableFile
	for e, err := range events {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if table == nil {
			if table, err = newTable(day, name, 0, columns...); err != nil {
				return err
			}
		}
		add(e)
		if err := table.EndRow(); err != nil {
			return err
		}
	}
	if table == nil {
		return nil
	}
	return table.close(nil)
}
