package chstore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A table is one of the tables that hold records.
type table int

const (
	depthTable table = iota
	snapshotTable
	tradeTable
	tickerTable
	gapTable
	tableCount
)

// tableOf returns the table that holds records of a kind.
func tableOf(kind marketprism.Kind) table {
	switch kind {
	case marketprism.KindUpdate:
		return depthTable
	case marketprism.KindSnapshot:
		return snapshotTable
	case marketprism.KindTrade, marketprism.KindAggTrade:
		return tradeTable
	case marketprism.KindTicker:
		return tickerTable
	}
	return gapTable
}

// tableNamed returns the table with a name without the prefix.
func tableNamed(name string) (table, error) {
	for t := range tableCount {
		if t.name() == name {
			return t, nil
		}
	}
	return 0, fmt.Errorf("chstore: no table of records is named %s", name)
}

// name returns the table's name without the prefix.
func (t table) name() string {
	return [...]string{"depth_events", "book_snapshots", "trades", "tickers", "gaps"}[t]
}

// partition returns the default time span of its partitions.
func (t table) partition() Partition {
	return [...]Partition{Day, Month, Month, Day, Month}[t]
}

// ttl returns how long its rows are kept.
func (t table) ttl(c TTL) time.Duration {
	return [...]time.Duration{c.Depth, c.Snapshots, c.Trades, c.Tickers, c.Gaps}[t]
}

// order returns the columns that order its rows of the same time.
func (t table) order() string {
	return [...]string{"last_id", "last_id", "aggregate, id", "update_id", "after_id"}[t]
}

// precedence orders book records of the same time and update id as they were made: the last update before
// a gap, the gap, the snapshot that ends it; a ticker after the book it belongs to.
func (t table) precedence() int {
	return [...]int{depthTable: 0, gapTable: 1, snapshotTable: 2, tickerTable: 3, tradeTable: 4}[t]
}

// keyColumns returns the expressions of a rowKey: the id, the rest of Record.Key with a sum of the content, and for
// a Snapshot or Gap the time of receipt. The sums are those of row.payload; they overflow, as in Go.
func (t table) keyColumns() (id, minor, received string) {
	const none, at = "toInt64(0)", "toUnixTimestamp64Nano(received_at)"
	switch t {
	case depthTable:
		return "last_id", "first_id + 31 * (arraySum(bid_price_e8) + 31 * (arraySum(bid_qty_e8) + 31 * (arraySum(ask_price_e8) + 31 * arraySum(ask_qty_e8))))", none
	case snapshotTable:
		return "last_id", "toInt64(bitOr(bitShiftLeft(toUInt64(length(bid_price_e8)), 32), length(ask_price_e8)))", at
	case tradeTable:
		return "id", "price_e8 + 31 * quantity_e8", none
	case tickerTable:
		return "update_id", "bid_price_e8 + 31 * (bid_qty_e8 + 31 * (ask_price_e8 + 31 * ask_qty_e8))", none
	}
	// The numbers of the reasons count from 1, as positions in an array do.
	var names []string
	for reason := orderbook.GapReason(1); reason.String() != "unknown"; reason++ {
		names = append(names, "'"+reason.String()+"'")
	}
	return "after_id", "toInt64(indexOf([" + strings.Join(names, ", ") + "], reason))", at
}

// layout returns the layout of the table.
func (t table) layout(l Layouts) Layout {
	return [...]Layout{l.Depth, l.Snapshots, l.Trades, l.Tickers, l.Gaps}[t]
}

// distinct returns the columns in which rows of a table differ, and expressions of columns, unless they are duplicates.
func (t table) distinct() []string {
	own := [...][]string{{"last_id", "first_id"}, {"last_id", "length(bid_price_e8)", "length(ask_price_e8)"}, {"aggregate", "id"}, {"update_id"}, {"after_id", "reason"}}[t]
	return slices.Concat([]string{"exchange", "market", "symbol", "ts"}, own, []string{"received_at", "src", "seq"})
}

// readError wraps an error of reading a table.
func (t table) readError(ctx context.Context, err error) error {
	return fmt.Errorf("chstore: read %s: %w", t.name(), withCause(ctx, err))
}

// isName reports whether this package accepts s as the name of a database or the beginning of
// a table's. ClickHouse accepts more between back quotes; these names work in any statement and in any tool.
func isName(s string) bool {
	for i, c := range []byte(s) {
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

const maxName = 64

// A Partition is the time span of one partition of a table. Times are UTC.
type Partition uint8

// The spans. The zero value leaves the choice to each table.
const (
	Hour  Partition = 1 // named 2026112313
	Day   Partition = 2 // named 20261123
	Week  Partition = 3 // ISO weeks, from Monday; named 202648
	Month Partition = 4 // named 202611
)

// String returns the name of the span.
func (p Partition) String() string {
	switch p {
	case 0:
		return "default"
	case Hour:
		return "hour"
	case Day:
		return "day"
	case Week:
		return "week"
	case Month:
		return "month"
	}
	return "unknown"
}

// expression returns the partition key over the column ts, in ClickHouse's own notation. Its value is an integer,
// the one that id computes, so it is also ClickHouse's name of the partition, _partition_id.
func (p Partition) expression() string {
	switch p {
	case Hour:
		return "(toYYYYMMDD(ts) * 100) + toHour(ts)"
	case Day:
		return "toYYYYMMDD(ts)"
	case Week:
		return "(toISOYear(ts) * 100) + toISOWeek(ts)"
	}
	return "toYYYYMM(ts)"
}

// id returns the partition of a time.
func (p Partition) id(t time.Time) uint32 {
	t = t.UTC()
	if p == Week {
		year, week := t.ISOWeek()
		return uint32(year*100 + week)
	}
	year, month, day := t.Date()
	id := uint32(year*100 + int(month))
	if p == Month {
		return id
	}
	id = id*100 + uint32(day)
	if p == Day {
		return id
	}
	return id*100 + uint32(t.Hour())
}

// A partitioner computes the partitions of many times, most of which are in the same hour.
type partitioner struct {
	step Partition
	hour int64 // of the last answer, counted from 1970
	last uint32
}

const hourNanos = int64(time.Hour)

func newPartitioner(step Partition) partitioner { return partitioner{step: step, hour: -1} }

// id returns the partition of a time in nanoseconds since 1970. Every Partition is made of whole hours.
func (p *partitioner) id(nanos int64) uint32 {
	if hour := nanos / hourNanos; hour != p.hour {
		p.hour, p.last = hour, p.step.id(time.Unix(0, nanos))
	}
	return p.last
}
