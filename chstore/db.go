package chstore

import (
	"context"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
)

// A db is the tables of a Config on a server: what every part of a Store works with.
type db struct {
	conn  *Conn
	cfg   Config
	hooks Hooks
}

// observe starts to time a read. The function it returns calls Hooks.Answered with the result.
func (d *db) observe(op Op) (end func(err *error)) {
	start := time.Now()
	return func(err *error) {
		hook.Call(d.hooks.Answered, AnswerInfo{Op: op, Took: time.Since(start), Err: *err})
	}
}

// tableName returns the qualified, quoted name that a table or view is read by.
func (d *db) tableName(name string) string { return d.quoted(d.cfg.TablePrefix + name) }

// localName returns the name of the table with the rows of the connected server. Without a cluster it is the
// name that the table is read by.
func (d *db) localName(t table) string { return d.localPrefix() + t.name() }

func (d *db) localPrefix() string {
	if d.cfg.Cluster.Name == "" {
		return d.cfg.TablePrefix
	}
	return d.cfg.TablePrefix + "local_"
}

// quoted returns the qualified, quoted form of a name that has its prefix.
func (d *db) quoted(name string) string { return "`" + d.cfg.Database + "`.`" + name + "`" }

// partition returns the time span of a table's partitions.
func (d *db) partition(t table) Partition {
	if d.cfg.Partition != 0 {
		return d.cfg.Partition
	}
	return t.partition()
}

// tableArgs returns the parameters for queries of system tables: the database, the names of the record
// tables, and skip, where in such a name the part without the prefix begins.
func (d *db) tableArgs() []any {
	var names []string
	for t := range tableCount {
		names = append(names, d.localName(t))
	}
	return []any{
		named("database", d.cfg.Database), named("tables", names),
		named("skip", uint64(len(d.localPrefix())+1)),
	}
}

// current returns the settings with which a SELECT sees every confirmed INSERT, on whichever replica.
func (d *db) current() clickhouse.Settings {
	if !d.cfg.Cluster.replicated() {
		return nil
	}
	return clickhouse.Settings{"select_sequential_consistency": 1}
}

// named returns a parameter of a query.
func named(name string, value any) any { return clickhouse.Named(name, value) }

// A scope is the WHERE condition that selects rows, with its parameters.
type scope struct {
	where string
	args  []any
}

// newScope selects the rows of an instrument from one time to another; a zero time is no bound.
func newScope(i marketprism.Instrument, from, to time.Time) scope {
	sc := scope{
		where: "exchange = {exchange:String} AND market = {market:String} AND symbol = {symbol:String}",
		args: []any{
			named("exchange", i.Exchange),
			named("market", string(i.Market)),
			named("symbol", i.Symbol),
		},
	}
	sc.addTimes(from, to)
	return sc
}

// addTimes adds the conditions that ts is at or after from, and before to.
func (sc *scope) addTimes(from, to time.Time) {
	if !from.IsZero() {
		sc.add("ts >= fromUnixTimestamp64Nano({from:Int64}, 'UTC')", "from", clamp(from))
	}
	if !to.IsZero() {
		sc.add("ts < fromUnixTimestamp64Nano({to:Int64}, 'UTC')", "to", clamp(to))
	}
}

// add adds a condition with one parameter.
func (sc *scope) add(condition, name string, value any) {
	sc.where += " AND " + condition
	sc.args = append(sc.args[:len(sc.args):len(sc.args)], named(name, value))
}

// clamp returns the nanoseconds of a time since 1970, or the nearest that can be stored.
func clamp(t time.Time) int64 {
	switch {
	case t.Unix() < 0:
		return 0
	case t.After(lastTime):
		return lastTime.UnixNano()
	}
	return t.UnixNano()
}

// query runs a SELECT of a table's rows. The tail follows the condition: ORDER BY, LIMIT.
func (d *db) query(ctx context.Context, t table, expressions []string, sc scope, tail string) (driver.Rows, error) {
	rows, err := d.conn.readInBlocks(ctx, readBlockRows, "SELECT "+strings.Join(expressions, ", ")+" FROM "+d.tableName(t.name())+
		" WHERE "+sc.where+" "+tail, sc.args...)
	if err != nil {
		return nil, t.readError(ctx, err)
	}
	return rows, nil
}
