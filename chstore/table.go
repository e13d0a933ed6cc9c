package chstore

import (
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

// name returns the table's name without the prefix.
func (t table) name() string {
	return [...]string{"depth_events", "book_snapshots", "trades", "tickers", "gaps"}[t]
}

// partition returns the span of its partitions where Config says nothing.
func (t table) partition() Partition {
	return [...]Partition{Day, Month, Month, Day, Month}[t]
}

// ttl returns how long its rows are kept.
func (t table) ttl(c TTL) time.Duration {
	return [...]time.Duration{c.Depth, c.Snapshots, c.Trades, c.Tickers, c.Gaps}[t]
}

// columns returns the columns that are written, and what each takes from a record.
func (t table) columns() []column {
	switch t {
	case depthTable:
		return depthColumns()
	case snapshotTable:
		return snapshotColumns()
	case tradeTable:
		return tradeColumns()
	case tickerTable:
		return tickerColumns()
	}
	return gapColumns()
}

// order returns the columns that order its rows of the same time.
func (t table) order() string {
	return [...]string{"last_id", "last_id", "aggregate, id", "update_id", "after_id"}[t]
}

// turn orders book records of the same time and update id as they come to be: the last update before
// a gap, the gap, the snapshot that ends it; a ticker after the book it belongs to.
func (t table) turn() int {
	return [...]int{depthTable: 0, gapTable: 1, snapshotTable: 2, tickerTable: 3, tradeTable: 4}[t]
}

// identity returns the columns that tell its rows of one kind apart: the id, what else Record.Key has, and for
// a Snapshot or Gap when it was received, see the type identity.
func (t table) identity() (id, minor, received string) {
	const none, at = "toInt64(0)", "toUnixTimestamp64Nano(received_at)"
	switch t {
	case depthTable:
		return "last_id", "first_id", none
	case snapshotTable:
		return "last_id", "toInt64(bitOr(bitShiftLeft(toUInt64(length(bid_price_e8)), 32), length(ask_price_e8)))", at
	case tradeTable:
		return "id", none, none
	case tickerTable:
		return "update_id", none, none
	}
	// The numbers of the reasons count from 1, as positions in an array do.
	var names []string
	for reason := orderbook.GapReason(1); reason.String() != "unknown"; reason++ {
		names = append(names, "'"+reason.String()+"'")
	}
	return "after_id", "toInt64(indexOf([" + strings.Join(names, ", ") + "], reason))", at
}
