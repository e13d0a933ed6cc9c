package chstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/marketprism/marketprism"
)

// A checker runs the checks of a CheckQuery and adds what they find to a report.
type checker struct {
	*db
	q      CheckQuery
	scope  scope // the rows of a table that the query selects
	report *Report
}

// bookCost is how much longer a row of the books takes than a row of the other checks, which run in the server.
const bookCost = 40

// A progress counts rows.
type progress struct {
	done, total uint64
	report      func(done float64)
}

func (p *progress) add(rows uint64) {
	p.done += rows
	if p.report != nil && p.total > 0 {
		p.report(min(1, float64(p.done)/float64(p.total)))
	}
}

// survey counts the rows of each stored instrument.
func (c *checker) survey(ctx context.Context) (map[marketprism.Instrument]uint64, error) {
	stored := make(map[marketprism.Instrument]uint64)
	text := "SELECT exchange, market, symbol, sum(n) FROM ("
	for t := range tableCount {
		if t > 0 {
			text += " UNION ALL "
		}
		text += "SELECT exchange, market, symbol, count() AS n FROM " + c.tableName(t.name()) +
			" WHERE " + c.scope.where + " GROUP BY exchange, market, symbol"
	}
	err := c.conn.eachRow(ctx, text+") GROUP BY exchange, market, symbol", c.scope.args, func(rows driver.Rows) error {
		var i marketprism.Instrument
		var market string
		var n uint64
		if err := rows.Scan(&i.Exchange, &market, &i.Symbol, &n); err != nil {
			return err
		}
		i.Market = marketprism.Market(market)
		stored[i] = n
		c.report.Instruments++
		c.report.Rows += n
		return nil
	})
	if err != nil {
		return nil, checkError("survey", ctx, err)
	}
	return stored, nil
}

// A sqlCheck is a query that selects exchange, market, symbol, count, the time of the first in nanoseconds, and
// a detail.
type sqlCheck struct {
	name  CheckName
	table string
	text  string
	args  []any
}

// run runs a check of the rows and reports its findings. Its query has the parameters of sc beside its own.
func (c *checker) run(ctx context.Context, check sqlCheck, sc scope) error {
	c.report.Checks++
	err := c.conn.eachRow(ctx, check.text, append(sc.args[:len(sc.args):len(sc.args)], check.args...), func(rows driver.Rows) error {
		f := Finding{Check: check.name, Table: check.table}
		var market string
		var first int64
		if err := rows.Scan(&f.Instrument.Exchange, &market, &f.Instrument.Symbol, &f.Count, &first, &f.Detail); err != nil {
			return err
		}
		f.Instrument.Market, f.First = marketprism.Market(market), fromNanos(first)
		c.report.add(f)
		return nil
	})
	if err != nil {
		return checkError(string(check.name), ctx, err)
	}
	return nil
}

// checkTables examines the state of the tables.
func (c *checker) checkTables(ctx context.Context) error {
	if c.q.Overdue > 0 {
		for t := range tableCount {
			if ttl := t.ttl(c.cfg.TTL); ttl > 0 {
				if err := c.run(ctx, c.overdue(t, ttl+c.q.Overdue), scope{}); err != nil {
					return err
				}
			}
		}
	}
	if c.q.Parts > 0 {
		if err := c.runParts(ctx, CheckParts, "SELECT substring(table, {skip:UInt64}), partition_id, count(), 'parts' FROM system.parts "+
			"WHERE database = {database:String} AND table IN {tables:Array(String)} AND active GROUP BY table, partition_id HAVING count() > {most:UInt64}",
			named("most", uint64(c.q.Parts))); err != nil {
			return err
		}
	}
	err := c.runParts(ctx, CheckDetached, "SELECT substring(table, {skip:UInt64}), ifNull(partition_id, ''), count(), arrayStringConcat(arraySort(groupUniqArray(if(reason = '', 'by hand', reason))), ', ') "+
		"FROM system.detached_parts WHERE database = {database:String} AND table IN {tables:Array(String)} GROUP BY table, partition_id")
	if err != nil {
		return err
	}
	c.report.Checks++
	plan, err := (&migrator{ddl{db: c.db}}).plan(ctx)
	var diff *SchemaDiff
	if errors.As(err, &diff) {
		for _, d := range diff.Differences {
			c.report.add(Finding{Check: CheckSchema, Table: strings.TrimPrefix(d.Table, c.localPrefix()), Count: 1, Detail: d.Error()})
		}
		return nil
	}
	if err != nil {
		return err
	}
	if len(plan) > 0 {
		c.report.add(Finding{Check: CheckSchema, Count: uint64(len(plan)), Detail: "first of what Migrate would run: " + firstLine(plan[0])})
	}
	return nil
}

// overdue finds rows that are stored long after their TTL.
func (c *checker) overdue(t table, after time.Duration) sqlCheck {
	return sqlCheck{name: CheckOverdue, table: t.name(), text: `
SELECT '', '', '', count(), toUnixTimestamp64Nano(min(ts)), 'rows that have expired'
FROM ` + c.tableName(t.name()) + ` WHERE ts < now64(9, 'UTC') - toIntervalSecond({after:Int64})
HAVING count() > 0`, args: []any{named("after", int64(after/time.Second))}}
}

// runParts runs a check of the parts. Its query selects table, partition, count and detail.
func (c *checker) runParts(ctx context.Context, name CheckName, text string, args ...any) error {
	c.report.Checks++
	err := c.conn.eachRow(ctx, text, append(args, c.tableArgs()...), func(rows driver.Rows) error {
		f := Finding{Check: name}
		if err := rows.Scan(&f.Table, &f.Partition, &f.Count, &f.Detail); err != nil {
			return err
		}
		c.report.add(f)
		return nil
	})
	if err != nil {
		return checkError(string(name), ctx, err)
	}
	return nil
}

// A CheckName is one check of Check.
type CheckName string

// The checks.
const (
	CheckMissingInstrument CheckName = "missing"      // nothing is stored of an instrument of the query
	CheckMissingUpdates    CheckName = "update_holes" // updates are missing, by their ids
	CheckMissingTrades     CheckName = "trade_holes"  // trades are missing, by their ids; those of futures may also be none of the market that no collector saw
	CheckDuplicates        CheckName = "duplicates"   // rows have the same key
	CheckCrossed           CheckName = "crossed"      // a ticker, a snapshot, or a book after an update is crossed, or has an empty side
	CheckSilence           CheckName = "silence"      // no record, after its first one, while another instrument of the market had some
	CheckSkew              CheckName = "skew"         // received before it was sent
	CheckSnapshots         CheckName = "snapshots"    // a snapshot differs from the book that the updates make of the snapshot before; or updates contradict the ids of a snapshot, or a gap that says that ids went back
	CheckNoSnapshot        CheckName = "no_snapshot"  // an instrument has updates, and no snapshot to apply them to
	CheckValues            CheckName = "values"       // a price or a quantity is below zero, or a first id above the last
	CheckTimes             CheckName = "times"        // a time is before 1971 or in the future
	CheckOverdue           CheckName = "overdue"      // rows are stored long after their TTL
	CheckParts             CheckName = "parts"        // a partition has too many parts
	CheckDetached          CheckName = "detached"     // parts are set aside, by hand or by a server that found them broken
	CheckSchema            CheckName = "schema"       // tables differ from Config: Plan returns the changes
)

// A Report is the result of Check.
type Report struct {
	From        time.Time `json:"from,omitzero"` // zero: no bound
	To          time.Time `json:"to,omitzero"`
	Instruments int       `json:"instruments"`
	Rows        uint64    `json:"rows"`
	Checks      int       `json:"checks"` // that ran
	Findings    []Finding `json:"findings"`
}

// A Finding is the result of one check for one instrument, or for one table.
type Finding struct {
	Check      CheckName              `json:"check"`
	Table      string                 `json:"table,omitempty"` // without the prefix
	Instrument marketprism.Instrument `json:"instrument,omitzero"`
	Partition  string                 `json:"partition,omitempty"`
	Count      uint64                 `json:"count"`          // of missing ranges, rows, spans, parts or statements
	First      time.Time              `json:"first,omitzero"` // Record.Time of the first
	Detail     string                 `json:"detail"`
}

// OK reports whether nothing was found.
func (r *Report) OK() bool { return len(r.Findings) == 0 }

// String returns the report as a table for people, a line for each finding.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d instruments, %d rows, %d checks: ", r.Instruments, r.Rows, r.Checks)
	if r.OK() {
		b.WriteString("OK\n")
		return b.String()
	}
	fmt.Fprintf(&b, "%d findings\n", len(r.Findings))
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CHECK\tWHERE\tCOUNT\tFIRST\tDETAIL")
	for _, f := range r.Findings {
		var where []string
		if f.Instrument != (marketprism.Instrument{}) {
			where = append(where, f.Instrument.String())
		}
		for _, s := range []string{f.Table, f.Partition} {
			if s != "" {
				where = append(where, s)
			}
		}
		first := ""
		if !f.First.IsZero() {
			first = f.First.Format(time.RFC3339Nano)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", f.Check, strings.Join(where, " "), f.Count, first, f.Detail)
	}
	w.Flush()
	return b.String()
}

func (r *Report) add(f Finding) { r.Findings = append(r.Findings, f) }

// sort sorts the findings, whose order would depend on the server.
func (r *Report) sort() {
	slices.SortFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Check, b.Check), cmp.Compare(a.Table, b.Table),
			cmp.Compare(a.Instrument.String(), b.Instrument.String()), cmp.Compare(a.Partition, b.Partition))
	})
}

// sqlChecks returns the checks that the server runs by itself, written for expand.
func (c *checker) sqlChecks(w wipes) []sqlCheck {
	q := c.q
	all := []sqlCheck{c.missingUpdates(w), c.missingTrades(w)}
	for t := range tableCount {
		all = append(all, c.duplicates(t, w))
	}
	all = append(all, c.crossed()...)
	all = append(all, c.rowChecks()...)
	if q.Silence > 0 {
		all = append(all, c.silence(int64(q.Silence.Seconds())))
	}
	if q.Skew > 0 {
		for t := range tableCount {
			all = append(all, c.skew(t, int64(q.Skew)))
		}
	}
	for i := range all {
		all[i].text = c.expand(all[i].text)
	}
	return all
}

// missingUpdates finds updates that do not follow the ones before them by id, by the rule of the market
// (orderbook.Continuity): spot ids are consecutive, a futures update names its predecessor. The updates of an epoch
// are a sequence of their own.
func (c *checker) missingUpdates(w wipes) sqlCheck {
	return sqlCheck{name: CheckMissingUpdates, table: depthTable.name(), args: wipeArgs(w.updates, c.widerArgs()...), text: `
SELECT ` + instrumentColumns + `, count(), toUnixTimestamp64Nano(min(ts)),
	concat('after ids ', arrayStringConcat(arrayMap(x -> toString(x), groupArraySorted(5)(before)), ', '), if(count() > 5, ', …', ''))
FROM (
	SELECT ` + instrumentColumns + `, ts, first_id, prev_id, ` + epochOf(idsOf(depthTable).at) + ` AS epoch,
		row_number() OVER (PARTITION BY exchange, market, symbol, epoch ORDER BY first_id, last_id) AS n,
		if(n = 1, if(market = 'spot', first_id - 1, prev_id), max(last_id) OVER (
			PARTITION BY exchange, market, symbol, epoch ORDER BY first_id, last_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) AS before
	FROM ` + c.tableName(depthTable.name()) + ` WHERE $wider)
WHERE if(market = 'spot', first_id > before + 1, prev_id > before) AND $inside
GROUP BY ` + instrumentColumns}
}

// missingTrades finds ids that are not stored: the ids of trades are consecutive within an epoch, and so are those of
// aggregates. Some ids of futures trades are of none of the market. The trade after them names the first (Trade.FirstID), if
// the collector saw them.
func (c *checker) missingTrades(w wipes) sqlCheck {
	return sqlCheck{name: CheckMissingTrades, table: tradeTable.name(), args: wipeArgs(w.trades, c.widerArgs()...), text: `
SELECT ` + instrumentColumns + `, count(), toUnixTimestamp64Nano(min(ts)),
	concat(toString(sum(begin - before - 1)), multiIf(aggregate, ' aggregates are missing', market = 'spot', ' trades are missing',
		' ids have no trade: it is missing, or none of the market (NA, INSURANCE_FUND, ADL)'))
FROM (
	SELECT ` + instrumentColumns + `, ts, aggregate, if(aggregate OR first_id = 0, id, first_id) AS begin, lagInFrame(id, 1, begin - 1) OVER (
		PARTITION BY exchange, market, symbol, aggregate, ` + epochOf(idsOf(tradeTable).at) + ` ORDER BY id, begin ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before
	FROM ` + c.tableName(tradeTable.name()) + ` WHERE $wider)
WHERE begin > before + 1 AND $inside
GROUP BY ` + instrumentColumns + `, aggregate`}
}

// duplicates finds rows with the same key in an epoch. Reads leave them out.
func (c *checker) duplicates(t table, w wipes) sqlCheck {
	wiped := w.updates
	id, minor, received := t.keyColumns()
	if t == tradeTable {
		minor, wiped = "(aggregate, "+minor+")", w.trades
	}
	return sqlCheck{name: CheckDuplicates, table: t.name(), args: wipeArgs(wiped), text: `
SELECT ` + instrumentColumns + `, toUInt64(sum(n - 1)), toUnixTimestamp64Nano(min(first)), concat('of ', toString(count()), ' keys')
FROM (
	SELECT ` + instrumentColumns + `, count() AS n, min(ts) AS first, ` + id + ` AS a, ` + minor + ` AS b, ` + received + ` AS c, ` + epochOf(idsOf(t).at) + ` AS epoch
	FROM ` + c.tableName(t.name()) + ` WHERE $
	GROUP BY ` + instrumentColumns + `, a, b, c, epoch HAVING n > 1)
GROUP BY ` + instrumentColumns}
}

// crossed finds books whose best bid is not below the best ask, or that have an empty side. An
// exchange shows both before an opening and in a halt. The empty snapshot with id -1 is the true book of an instrument that
// never had an update (tardis-node, commit 8b6889e).
func (c *checker) crossed() []sqlCheck {
	check := func(t table, bid, ask, empty string) sqlCheck {
		return sqlCheck{name: CheckCrossed, table: t.name(), text: `
SELECT ` + instrumentColumns + `, count(), toUnixTimestamp64Nano(min(ts)),
	concat(toString(countIf(NOT empty)), ' crossed, ', toString(countIf(empty)), ' with an empty side')
FROM (
	SELECT ` + instrumentColumns + `, ts, ` + bid + ` AS bid, ` + ask + ` AS ask, ` + empty + ` AS empty
	FROM ` + c.tableName(t.name()) + ` WHERE $)
WHERE empty OR bid >= ask AND bid != 0
GROUP BY ` + instrumentColumns}
	}
	return []sqlCheck{
		check(tickerTable, "bid_price_e8", "ask_price_e8", "bid_qty_e8 = 0 OR ask_qty_e8 = 0"),
		check(snapshotTable, "bid_price_e8[1]", "ask_price_e8[1]", "least(length(bid_price_e8), length(ask_price_e8)) = 0 AND NOT (last_id = -1 AND greatest(length(bid_price_e8), length(ask_price_e8)) = 0)"),
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
		active += "SELECT DISTINCT " + instrumentColumns + ", intDiv(toUnixTimestamp64Nano(ts), 1000000000) AS second FROM " + c.tableName(t.name()) + " WHERE $times AND " + plausible
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
