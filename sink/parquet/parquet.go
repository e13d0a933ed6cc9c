// Package parquet writes days of market data as Parquet files that DuckDB, Polars, pandas, pyarrow and ClickHouse read, and
// reads them back into records without loss. See Format and Read.
package parquet

import (
	"context"

	"github.com/marketprism/marketprism/sink/dayfile"
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
