package chstore

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/marketprism/marketprism"
)

// A Query selects records of one instrument.
type Query struct {
	Instrument marketprism.Instrument
	Kinds      []marketprism.Kind // none means all
	From, To   time.Time          // on Record.Time(), From included and To not; zero means no bound
}

// Records returns the records that q selects in the order of Record.Time(), and of equal times book
// records by update id, then trades by id. A record that is stored more than once, by Record.Key, is
// returned once, the earliest. Records belong to the caller. Times are in UTC; sides without levels
// are nil; the cause of a gap is an orderbook.Cause.
//
// Time order is not the order of arrival: a snapshot without a time of the exchange stands where it
// was received, which can be after updates that follow it by id. BookAt puts them together by id.
//
// An error ends the iteration. Records stream from the server, one query for each table: memory does
// not grow with the range. The queries end when the caller stops, or ctx ends.
func (s *Store) Records(ctx context.Context, q Query) iter.Seq2[marketprism.Record, error] {
	return func(yield func(marketprism.Record, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		end := s.observe(OpRecords)
		m, err := s.openMerge(ctx, q)
		end(&err)
		defer m.close()
		defer cancel() // before close, which would otherwise read all that is left
		for err == nil {
			var rec marketprism.Record
			var ok bool
			if rec, ok, err = m.next(ctx); err == nil {
				if !ok || !yield(rec, nil) {
					return
				}
			}
		}
		yield(marketprism.Record{}, err)
	}
}

// scope is the condition that selects an instrument's rows of a span of time, and its parameters.
type scope struct {
	where string
	args  []any
}

func newScope(i marketprism.Instrument, from, to time.Time) scope {
	sc := scope{
		where: "exchange = {exchange:String} AND market = {market:String} AND symbol = {symbol:String}",
		args: []any{
			clickhouse.Named("exchange", i.Exchange),
			clickhouse.Named("market", string(i.Market)),
			clickhouse.Named("symbol", i.Symbol),
		},
	}
	if !from.IsZero() {
		sc.add("ts >= fromUnixTimestamp64Nano({from:Int64}, 'UTC')", "from", clamp(from))
	}
	if !to.IsZero() {
		sc.add("ts < fromUnixTimestamp64Nano({to:Int64}, 'UTC')", "to", clamp(to))
	}
	return sc
}

// add adds a condition with one parameter.
func (sc *scope) add(condition, name string, value any) {
	sc.where += " AND " + condition
	sc.args = append(sc.args[:len(sc.args):len(sc.args)], clickhouse.Named(name, value))
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

// kindsByTable returns which kinds are wanted of each table.
func kindsByTable(kinds []marketprism.Kind) (byTable [tableCount][]marketprism.Kind, err error) {
	if len(kinds) == 0 {
		kinds = marketprism.Kinds()
	}
	for _, k := range kinds {
		if k.String() == "unknown" {
			return byTable, fmt.Errorf("%w: %d", marketprism.ErrKind, k)
		}
		t := tableOf(k)
		byTable[t] = append(byTable[t], k)
	}
	return byTable, nil
}

// readBlockRows bounds the rows of one block of an answer, and with it the memory of a reader: the
// driver holds up to three blocks of each query.
const readBlockRows = 4096

// query runs a SELECT of a table's rows.
func (s *Store) query(ctx context.Context, t table, expressions []string, sc scope, tail string) (driver.Rows, error) {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_block_size": readBlockRows}))
	rows, err := s.conn.Query(ctx, "SELECT "+strings.Join(expressions, ", ")+" FROM "+s.tableName(t.name())+
		" WHERE "+sc.where+" "+tail, sc.args...)
	if err != nil {
		return nil, t.readError(ctx, err)
	}
	return rows, nil
}

// readError describes what went wrong with reading a table.
func (t table) readError(ctx context.Context, err error) error {
	return fmt.Errorf("chstore: read %s: %w", t.name(), withCause(ctx, err))
}
