package chstore

import "strings"

// The times that market data can have: as marketprism.Record.Validate has it, none before 1971, where times end up that
// were never set or are in another unit; and none later than the server's clock by more than clocks are apart.
const (
	firstPlausible = "toDateTime64('1971-01-01 00:00:00', 9, 'UTC')"
	lastPlausible  = "now64(9, 'UTC') + toIntervalSecond(60)"
)

// plausible is the condition that a row is of a time that market data can have.
const plausible = "ts >= " + firstPlausible + " AND ts <= " + lastPlausible

// rowChecks returns the checks of single rows, and that there is a snapshot at all. They are written like sqlChecks.
func (c *checker) rowChecks() []sqlCheck {
	all := []sqlCheck{c.noSnapshot()}
	for t := range tableCount {
		all = append(all, c.times(t))
		if t != gapTable {
			all = append(all, c.values(t))
		}
	}
	return all
}

// times finds rows of times that no market data has. Those by whose time a row is stored are found whatever the query's
// times are: they lie outside of them.
func (c *checker) times(t table) sqlCheck {
	var early, late []string
	for _, column := range otherTimes(t) {
		if early = append(early, column+" < "+firstPlausible); column != "trade_time" {
			early[len(early)-1] += " AND toUnixTimestamp64Nano(" + column + ") != 0" // it is not known
		}
		late = append(late, column+" > "+lastPlausible)
	}
	return sqlCheck{name: CheckTimes, table: t.name(), text: `
SELECT ` + instrumentColumns + `, count(), toUnixTimestamp64Nano(min(ts)),
	concat(toString(countIf(early)), ' before 1971, ', toString(countIf(late)), ' in the future')
FROM (
	SELECT ` + instrumentColumns + `, ts, ts < ` + firstPlausible + ` OR ` + strings.Join(early, " OR ") + ` AS early,
		ts > ` + lastPlausible + ` OR ` + strings.Join(late, " OR ") + ` AS late
	FROM ` + c.tableName(t.name()) + ` WHERE ($) OR $instruments AND NOT (` + plausible + `))
WHERE early OR late
GROUP BY ` + instrumentColumns}
}

// otherTimes returns the columns of a table that hold times, beside ts.
func otherTimes(t table) []string {
	switch t {
	case depthTable, snapshotTable, tickerTable:
		return []string{"received_at", "transact_time"}
	case tradeTable:
		return []string{"received_at", "trade_time"}
	}
	return []string{"received_at"}
}

// values finds rows that hold what marketprism.Record.Validate refuses: prices or quantities below zero, and ranges of
// ids that end before they begin.
func (c *checker) values(t table) sqlCheck {
	const sides = "arrayMin(bid_price_e8) < 0 OR arrayMin(bid_qty_e8) < 0 OR arrayMin(ask_price_e8) < 0 OR arrayMin(ask_qty_e8) < 0"
	var negative string
	reversed := "false"
	switch t {
	case depthTable:
		negative, reversed = sides, "first_id > last_id"
	case snapshotTable:
		negative = sides + " OR bid_limited AND bid_bound_e8 < 0 OR ask_limited AND ask_bound_e8 < 0"
	case tradeTable:
		negative, reversed = "price_e8 < 0 OR quantity_e8 < 0", "first_id > last_id"
	case tickerTable:
		negative = "bid_price_e8 < 0 OR bid_qty_e8 < 0 OR ask_price_e8 < 0 OR ask_qty_e8 < 0"
	}
	return sqlCheck{name: CheckValues, table: t.name(), text: `
SELECT ` + instrumentColumns + `, count(), toUnixTimestamp64Nano(min(ts)),
	concat(toString(countIf(negative)), ' with a price or quantity below zero, ', toString(countIf(reversed)), ' with a first id above the last')
FROM (
	SELECT ` + instrumentColumns + `, ts, ` + negative + ` AS negative, ` + reversed + ` AS reversed
	FROM ` + c.tableName(t.name()) + ` WHERE $)
WHERE negative OR reversed
GROUP BY ` + instrumentColumns}
}

// noSnapshot finds instruments with updates, of which no book can be made: no snapshot is stored, neither in the times
// of the query nor before them, nor so soon after them that the updates may follow it.
func (c *checker) noSnapshot() sqlCheck {
	check := sqlCheck{name: CheckNoSnapshot, table: depthTable.name()}
	until := "true"
	if !c.q.To.IsZero() {
		until = "ts < fromUnixTimestamp64Nano({until:Int64}, 'UTC')"
		check.args = []any{named("until", clamp(c.q.To.Add(lookBack)))}
	}
	check.text = `
SELECT ` + instrumentColumns + `, sum(updates), toInt64(min(first)), 'updates without a snapshot to apply them to'
FROM (
	SELECT ` + instrumentColumns + `, count() AS updates, toUnixTimestamp64Nano(min(ts)) AS first, 0 AS snapshots
	FROM ` + c.tableName(depthTable.name()) + ` WHERE $ GROUP BY ` + instrumentColumns + `
	UNION ALL
	SELECT ` + instrumentColumns + `, 0, toInt64(9223372036854775807), count()
	FROM ` + c.tableName(snapshotTable.name()) + ` WHERE $instruments AND ` + until + ` GROUP BY ` + instrumentColumns + `)
GROUP BY ` + instrumentColumns + ` HAVING sum(updates) > 0 AND sum(snapshots) = 0`
	return check
}
