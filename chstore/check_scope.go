package chstore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/marketprism/marketprism"
)

const instrumentColumns = "exchange, market, symbol"

// checkScope returns the condition on the rows of every table of records: the instruments, and the times.
func checkScope(q CheckQuery) scope {
	sc := checkInstruments(q)
	times := checkTimes(q)
	return scope{where: sc.where + " AND " + times.where, args: append(sc.args, times.args...)}
}

func checkInstruments(q CheckQuery) scope {
	sc := scope{where: "true"}
	if len(q.Instruments) > 0 {
		sc.where = "("
		for n, i := range q.Instruments {
			if n > 0 {
				sc.where += " OR "
			}
			sc.where += fmt.Sprintf("exchange = {exchange%[1]d:String} AND market = {market%[1]d:String} AND symbol = {symbol%[1]d:String}", n)
			sc.args = append(sc.args, named(fmt.Sprintf("exchange%d", n), i.Exchange),
				named(fmt.Sprintf("market%d", n), string(i.Market)), named(fmt.Sprintf("symbol%d", n), i.Symbol))
		}
		sc.where += ")"
	}
	return sc
}

func checkTimes(q CheckQuery) scope {
	sc := scope{where: "true"}
	sc.addTimes(q.From, q.To)
	return sc
}

// expand replaces $ by the condition on rows, and $times and $instruments by its two parts. $wider is $ with some time
// before, which needs widerArgs, and $inside limits rows to the times themselves: a missing range that begins just before
// them is found, and reported once.
func (c *checker) expand(text string) string {
	q := c.q
	wider, inside := q, "true"
	if !q.From.IsZero() {
		wider.From, inside = q.From.Add(-lookBack), fmt.Sprintf("toUnixTimestamp64Nano(ts) >= %d", clamp(q.From))
	}
	return strings.NewReplacer(
		"$times", checkTimes(q).where, "$instruments", checkInstruments(q).where, "$inside", inside,
		"$wider", strings.ReplaceAll(checkScope(wider).where, "{from:", "{wider:"), "$", checkScope(q).where).Replace(text)
}

// widerArgs returns the parameters that $wider has beside those of $.
func (c *checker) widerArgs() []any {
	if c.q.From.IsZero() {
		return nil
	}
	return []any{named("wider", clamp(c.q.From.Add(-lookBack)))}
}

func checkError(what string, ctx context.Context, err error) error {
	return fmt.Errorf("chstore: check %s: %w", what, withCause(ctx, err))
}

// A wipe is a time from which the ids of an instrument count as another epoch: a stored Gap with GapRegressed says so, or
// the ids themselves (see epoch), which is all there is where no collector was connected, or trades alone are collected.
type wipe struct {
	instrument marketprism.Instrument
	aggregate  bool
	at         int64 // by the exchange's clock, ns since 1970
}

// The wipes of the instruments of a query: of updates, and of trades, whose ids count by themselves.
type wipes struct{ updates, trades []wipe }

// An idColumn says where a table has ids that rise with the exchange's clock. The time of a trade is that of the matching
// engine: a copy that was fetched later has it, too.
type idColumn struct{ id, aggregate, at string }

func idsOf(t table) idColumn {
	if t == tradeTable {
		return idColumn{"id", "aggregate", "toUnixTimestamp64Nano(if(toUnixTimestamp64Nano(trade_time) = 0, ts, trade_time))"}
	}
	return idColumn{"last_id", "false", "toUnixTimestamp64Nano(ts)"}
}

// readWipes finds when ids went back, some time before q.From included.
func (c *checker) readWipes(ctx context.Context) (w wipes, err error) {
	var known []wipe
	err = c.conn.eachRow(ctx, c.expand("SELECT "+instrumentColumns+", false, toUnixTimestamp64Nano(ts), toInt64(0) FROM "+c.tableName(gapTable.name())+
		" WHERE $instruments AND reason = 'regressed'"), c.scope.args, func(rows driver.Rows) error {
		found, _, err := scanWipe(rows)
		known = append(known, found)
		return err
	})
	if err != nil {
		return w, checkError("wipes", ctx, err)
	}
	if w.updates, err = c.derivedWipes(ctx, depthTable, known); err == nil {
		w.trades, err = c.derivedWipes(ctx, tradeTable, known)
	}
	if err != nil {
		return w, checkError("wipes", ctx, err)
	}
	return w, nil
}

func scanWipe(rows driver.Rows) (w wipe, id int64, err error) {
	var market string
	err = rows.Scan(&w.instrument.Exchange, &market, &w.instrument.Symbol, &w.aggregate, &w.at, &id)
	w.instrument.Market = marketprism.Market(market)
	return w, id, err
}

// derivedWipes adds to the known wipes those that the ids of a table show: an id is not above that of the last row that was
// sent more than clockSkew before it.
func (c *checker) derivedWipes(ctx context.Context, t table, known []wipe) ([]wipe, error) {
	type candidate struct {
		wipe
		id int64
	}
	var candidates []candidate
	ids := idsOf(t)
	err := c.conn.eachRow(ctx, c.expand(`
SELECT `+instrumentColumns+`, aggregate, at, id
FROM (
	SELECT *, before > 0 AND id <= before AS back, lagInFrame(back) OVER by_time AS was_back, lagInFrame(at) OVER by_time AS was_at
	FROM (
		SELECT *, last_value(id) OVER (
			PARTITION BY exchange, market, symbol, aggregate, epoch ORDER BY intDiv(at, 1000000) RANGE BETWEEN UNBOUNDED PRECEDING AND {skew:UInt64} PRECEDING) AS before
		FROM (
			SELECT `+instrumentColumns+`, `+ids.aggregate+` AS aggregate, `+ids.at+` AS at, `+ids.id+` AS id, `+epochOf(ids.at)+` AS epoch
			FROM `+c.tableName(t.name())+` WHERE $wider))
	WINDOW by_time AS (PARTITION BY exchange, market, symbol, aggregate, epoch ORDER BY at, id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW))
WHERE back AND (NOT was_back OR intDiv(at, 1000000) - intDiv(was_at, 1000000) >= {skew:UInt64})
ORDER BY exchange, market, symbol, aggregate, at, id`), slices.Concat(c.scope.args, c.widerArgs(), wipeArgs(known, named("skew", uint64(clockSkew.Milliseconds())+1))), func(rows driver.Rows) error {
		w, id, err := scanWipe(rows)
		candidates = append(candidates, candidate{w, id})
		return err
	})
	all := slices.Clone(known)
	var last wipe
	for i := 0; err == nil && i < len(candidates); i++ {
		w := candidates[i]
		if last.instrument == w.instrument && last.aggregate == w.aggregate && w.at-last.at <= int64(clockSkew) {
			continue // rows are out of order just after a wipe
		}
		// The rows before it, of the time in which nothing proves it, are of the new epoch if their ids are lower still.
		sc := newScope(w.instrument, time.Time{}, time.Time{})
		sc.add(ids.aggregate+" = {aggregate:Bool}", "aggregate", w.aggregate)
		sc.add(ids.at+" BETWEEN {since:Int64} AND {until:Int64}", "since", w.at-int64(clockSkew))
		sc.add(ids.id+" <= {id:Int64}", "id", w.id)
		sc.args = append(sc.args, named("until", w.at))
		err = c.conn.oneRow(ctx, nil, "SELECT min("+ids.at+") FROM "+c.tableName(t.name())+" WHERE "+sc.where, sc.args, &w.at)
		last = w.wipe
		all = append(all, last)
	}
	return all, err
}

// epochOf returns the expression that counts the wipes up to a row's time in ns, by the arguments of wipeArgs.
func epochOf(at string) string {
	return "arrayCount((w, w_at) -> w = concat(exchange, ':', market, ':', symbol) AND w_at <= " + at + ", {wiped:Array(String)}, {wiped_at:Array(Int64)})"
}

// wipeArgs returns the parameters of epochOf after others.
func wipeArgs(all []wipe, args ...any) []any {
	names, times := []string{}, []int64{}
	for _, w := range all {
		names, times = append(names, w.instrument.String()), append(times, w.at)
	}
	return append(args, named("wiped", names), named("wiped_at", times))
}
