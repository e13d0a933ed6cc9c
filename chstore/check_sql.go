package chstore

import (
	"fmt"
	"strings"
)

// sqlChecks returns the checks that the server runs by itself. In their texts, $ is replaced by the condition on rows,
// and $times and $instruments by its two parts. $wider is $ with some time before, and $inside limits rows to
// the times themselves: a missing range that begins just before them is found, and reported once.
func (c *checker) sqlChecks() []sqlCheck {
	q := c.q
	all := []sqlCheck{c.missingUpdates(), c.missingTrades()}
	if !q.From.IsZero() {
		for i := range all {
			all[i].args = append(all[i].args, named("wider", clamp(q.From.Add(-lookBack))))
		}
	}
	for t := range tableCount {
		all = append(all, c.duplicates(t))
	}
	all = append(all, c.crossed()...)
	if q.Silence > 0 {
		all = append(all, c.silence(int64(q.Silence.Seconds())))
	}
	if q.Skew > 0 {
		for t := range tableCount {
			all = append(all, c.skew(t, int64(q.Skew)))
		}
	}
	wider, inside := q, "true"
	if !q.From.IsZero() {
		wider.From, inside = q.From.Add(-lookBack), fmt.Sprintf("toUnixTimestamp64Nano(ts) >= %d", clamp(q.From))
	}
	conditions := strings.NewReplacer(
		"$times", checkTimes(q).where, "$instruments", checkInstruments(q).where, "$inside", inside,
		"$wider", strings.ReplaceAll(checkScope(wider).where, "{from:", "{wider:"), "$", checkScope(q).where)
	for i := range all {
		all[i].text = conditions.Replace(all[i].text)
	}
	return all
}

const instrumentColumns = "exchange, market, symbol"

// missingUpdates finds updates that do not follow the ones before them by id, by the rule of the market
// (orderbook.Continuity): spot ids are consecutive, a futures update names its predecessor. The updates after
// the venue's ids went back are a sequence of their own.
func (c *checker) missingUpdates() sqlCheck {
	return sqlCheck{name: CheckMissingUpdates, table: depthTable.name(), text: `
WITH (SELECT groupArray((exchange, market, symbol, received_at)) FROM ` + c.tableName(gapTable.name()) + `
	WHERE $instruments AND reason = 'regressed') AS wiped
SELECT ` + instrumentColumns + `, count(), toUnixTimestamp64Nano(min(ts)),
	concat('after ids ', arrayStringConcat(arrayMap(x -> toString(x), groupArraySorted(5)(before)), ', '), if(count() > 5, ', …', ''))
FROM (
	SELECT ` + instrumentColumns + `, ts, first_id, prev_id,
		arrayCount(w -> w.1 = exchange AND w.2 = market AND w.3 = symbol AND w.4 <= received_at, wiped) AS life,
		row_number() OVER (PARTITION BY exchange, market, symbol, life ORDER BY first_id, last_id) AS n,
		if(n = 1, if(market = 'spot', first_id - 1, prev_id), max(last_id) OVER (
			PARTITION BY exchange, market, symbol, life ORDER BY first_id, last_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) AS before
	FROM ` + c.tableName(depthTable.name()) + ` WHERE $wider)
WHERE if(market = 'spot', first_id > before + 1, prev_id > before) AND $inside
GROUP BY ` + instrumentColumns}
}

// missingTrades finds ids that are not stored: the ids of trades are consecutive, and so are those of aggregates.
func (c *checker) missingTrades() sqlCheck {
	return sqlCheck{name: CheckMissingTrades, table: tradeTable.name(), text: `
SELECT ` + instrumentColumns + `, count(), toUnixTimestamp64Nano(min(ts)),
	concat(toString(sum(id - before - 1)), if(aggregate, ' aggregates', ' trades'), ' are missing')
FROM (
	SELECT ` + instrumentColumns + `, ts, id, aggregate, lagInFrame(id, 1, id - 1) OVER (
		PARTITION BY exchange, market, symbol, aggregate ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before
	FROM ` + c.tableName(tradeTable.name()) + ` WHERE $wider)
WHERE id > before + 1 AND $inside
GROUP BY ` + instrumentColumns + `, aggregate`}
}

// duplicates finds rows with the same key. Reads leave them out.
func (c *checker) duplicates(t table) sqlCheck {
	id, minor, received := t.keyColumns()
	if t == tradeTable {
		minor = "toInt64(aggregate)"
	}
	return sqlCheck{name: CheckDuplicates, table: t.name(), text: `
SELECT ` + instrumentColumns + `, toUInt64(sum(n - 1)), toUnixTimestamp64Nano(min(first)), concat('of ', toString(count()), ' keys')
FROM (
	SELECT ` + instrumentColumns + `, count() AS n, min(ts) AS first, ` + id + ` AS a, ` + minor + ` AS b, ` + received + ` AS c
	FROM ` + c.tableName(t.name()) + ` WHERE $
	GROUP BY ` + instrumentColumns + `, a, b, c HAVING n > 1)
GROUP BY ` + instrumentColumns}
}

// crossed finds books whose best bid is not below the best ask, or that have an empty side. An
// exchange shows both before an opening and in a halt.
func (c *checker) crossed() []sqlCheck {
	check := func(t table, bid, ask, empty string) sqlCheck {
		return sqlCheck{name: CheckCrossed, table: t.name(), text: `
SELECT ` + instrumentColumns + `, count(), toUnixTimestamp64Nano(min(ts)),
	concat(toString(countIf(NOT empty)), ' crossed, ', toString(countIf(empty)), ' with an empty side')
FROM (
	SELECT ` + instrumentColumns + `, ts, ` + bid + ` AS bid, ` + ask + ` AS ask, ` + empty + ` AS empty
	FROM ` + c.tableName(t.name()) + ` WHERE $)
WHERE empty OR bid >= ask
GROUP BY ` + instrumentColumns}
	}
	return []sqlCheck{
		check(tickerTable, "bid_price_e8", "ask_price_e8", "bid_qty_e8 = 0 OR ask_qty_e8 = 0"),
		check(snapshotTable, "bid_price_e8[1]", "ask_price_e8[1]", "length(bid_price_e8) = 0 OR length(ask_price_e8) = 0"),
	}
}

// silence finds spans without records of an instrument in which another one of its market has some.
// It compares seconds, which are far fewer than rows.
func (c *checker) silence(seconds int64) sqlCheck {
	active := ""
	for _, t := range []table{depthTable, tradeTable, tickerTable} {
		if active != "" {
			active += " UNION DISTINCT "
		}
		active += "SELECT DISTINCT " + instrumentColumns + ", toUnixTimestamp(toDateTime(ts, 'UTC')) AS second FROM " + c.tableName(t.name()) + " WHERE $times"
	}
	return sqlCheck{name: CheckSilence, args: []any{named("silence", seconds)}, text: `
SELECT ` + instrumentColumns + `, count(), toInt64(min(second)) * 1000000000, concat('up to ', toString(max(until - second)), ' s')
FROM (
	SELECT ` + instrumentColumns + `, second, rank,
		leadInFrame(second, 1, market_end) OVER later AS until,
		leadInFrame(rank, 1, market_rank + 1) OVER later AS until_rank
	FROM (
		SELECT ` + instrumentColumns + `, second, rank,
			max(second) OVER (PARTITION BY exchange, market) AS market_end,
			max(rank) OVER (PARTITION BY exchange, market) AS market_rank
		FROM (
			SELECT ` + instrumentColumns + `, second, dense_rank() OVER (PARTITION BY exchange, market ORDER BY second) AS rank
			FROM (` + active + `)))
	WINDOW later AS (PARTITION BY exchange, market, symbol ORDER BY second ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING))
WHERE $instruments AND until - second > {silence:Int64} AND until_rank > rank + 1
GROUP BY ` + instrumentColumns}
}

// skew finds records that were received before they were sent: one of the clocks is wrong.
func (c *checker) skew(t table, nanos int64) sqlCheck {
	return sqlCheck{name: CheckSkew, table: t.name(), args: []any{named("skew", nanos)}, text: `
SELECT ` + instrumentColumns + `, count(), toUnixTimestamp64Nano(min(ts)), concat('by up to ', toString(max(early) / 1e9), ' s')
FROM (
	SELECT ` + instrumentColumns + `, ts, toUnixTimestamp64Nano(ts) - toUnixTimestamp64Nano(received_at) AS early
	FROM ` + c.tableName(t.name()) + ` WHERE ($) AND timed AND toUnixTimestamp64Nano(received_at) != 0)
WHERE early > {skew:Int64}
GROUP BY ` + instrumentColumns}
}
