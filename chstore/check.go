package chstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/defaults"
)

// A CheckQuery says what Check looks at, and what it takes for wrong. The zero value is everything
// that is stored, with the defaults. The tables themselves are always looked at as a whole.
type CheckQuery struct {
	Instruments []marketprism.Instrument // none means all that are stored
	From, To    time.Time                // on Record.Time(), From included and To not; zero means no bound

	// Silence is how long an instrument may have no records while another one of its market has some.
	// 0 means a minute, negative turns the check off. It counts in whole seconds.
	Silence time.Duration
	// Skew is how much earlier than the exchange's clock the collector's may show the arrival of a
	// record. 0 means a second, negative turns the check off.
	Skew time.Duration
	// Overdue is for how long rows may be there after their TTL. 0 means a day, negative turns the
	// check off.
	Overdue time.Duration
	// Parts is how many parts a partition may have: ClickHouse delays INSERTs above 1000 and refuses
	// them above 3000. 0 means 500, negative turns the check off.
	Parts int
	// SkipBooks leaves out what is looked for by rebuilding the books here, from all updates: CheckSnapshots, and
	// CheckCrossed between two snapshots.
	SkipBooks bool

	// Progress is told, from 0 to 1, how much is done: by the rows to be read. Nil means nobody. It is called
	// between two parts of the work, on the goroutine of Check, for which it should not take long.
	Progress func(done float64)
}

// ErrCheck is wrapped by the error of Check for a query it cannot follow.
var ErrCheck = errors.New("chstore: cannot check")

func (q CheckQuery) withDefaults() (CheckQuery, error) {
	defaults.Set(&q.Silence, time.Minute)
	defaults.Set(&q.Skew, time.Second)
	defaults.Set(&q.Overdue, 24*time.Hour)
	defaults.Set(&q.Parts, 500)
	if q.Silence > 0 && q.Silence < time.Second {
		return q, fmt.Errorf("%w: Silence %v is less than a second", ErrCheck, q.Silence)
	}
	return q, nil
}

// Check looks for what is wrong with the data and the tables, and reports it. What is counted, is
// counted by the server; books are rebuilt here, from one pass over the updates.
//
// The error is the driver's, or wraps ErrCheck. What the data has wrong is no error but a Finding.
// Duplicates cost the server memory for the ids of the range: check long ranges piece by piece.
func (s *Store) Check(ctx context.Context, q CheckQuery) (r Report, err error) {
	defer s.observe(opCheck)(&err)
	if q, err = q.withDefaults(); err != nil {
		return r, err
	}
	sc := checkScope(q)
	r.From, r.To = q.From, q.To
	stored, err := s.survey(ctx, sc, &r)
	if err != nil {
		return r, err
	}
	for _, i := range q.Instruments {
		if stored[i] == 0 {
			r.add(Finding{Check: CheckMissing, Instrument: i, Count: 1, Detail: "nothing is stored"})
		}
	}
	checks := s.checks(q)
	progress := progress{total: uint64(len(checks)) * r.Rows, tell: q.Progress}
	if !q.SkipBooks {
		progress.total += bookCost * r.Rows
	}
	for _, c := range checks {
		if err := s.runCheck(ctx, c, sc, &r); err != nil {
			return r, err
		}
		progress.add(r.Rows)
	}
	if !q.SkipBooks {
		for i, rows := range stored {
			if err := s.checkBooks(ctx, i, q, &r); err != nil {
				return r, err
			}
			progress.add(bookCost * rows)
		}
	}
	if err := s.checkTables(ctx, q, &r); err != nil {
		return r, err
	}
	if q.Progress != nil {
		q.Progress(1)
	}
	r.sort()
	return r, nil
}

// checkScope is the condition on the rows of every table of records: of the instruments, and of the times.
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

// bookCost is how much longer the books take than one of the other checks, row by row: those stay in the server.
const bookCost = 40

// A progress counts rows.
type progress struct {
	done, total uint64
	tell        func(done float64)
}

func (p *progress) add(rows uint64) {
	p.done += rows
	if p.tell != nil && p.total > 0 {
		p.tell(min(1, float64(p.done)/float64(p.total)))
	}
}

// survey counts the rows of the instruments there are.
func (s *Store) survey(ctx context.Context, sc scope, r *Report) (map[marketprism.Instrument]uint64, error) {
	stored := make(map[marketprism.Instrument]uint64)
	text := "SELECT exchange, market, symbol, sum(n) FROM ("
	for t := range tableCount {
		if t > 0 {
			text += " UNION ALL "
		}
		text += "SELECT exchange, market, symbol, count() AS n FROM " + s.tableName(t.name()) +
			" WHERE " + sc.where + " GROUP BY exchange, market, symbol"
	}
	rows, err := s.conn.Query(ctx, text+") GROUP BY exchange, market, symbol", sc.args...)
	if err != nil {
		return nil, checkError("survey", ctx, err)
	}
	defer rows.Close()
	for rows.Next() {
		var i marketprism.Instrument
		var market string
		var n uint64
		if err := rows.Scan(&i.Exchange, &market, &i.Symbol, &n); err != nil {
			return nil, checkError("survey", ctx, err)
		}
		i.Market = marketprism.Market(market)
		stored[i] = n
		r.Instruments++
		r.Rows += n
	}
	if err := rows.Err(); err != nil {
		return nil, checkError("survey", ctx, err)
	}
	return stored, nil
}

// A sqlCheck is a query for exchange, market, symbol, count, the time of the first in nanoseconds, and
// a detail.
type sqlCheck struct {
	name  CheckName
	table string
	text  string
	args  []any
}

func (s *Store) runCheck(ctx context.Context, c sqlCheck, sc scope, r *Report) error {
	r.Checks++
	rows, err := s.conn.Query(ctx, c.text, append(sc.args[:len(sc.args):len(sc.args)], c.args...)...)
	if err != nil {
		return checkError(string(c.name), ctx, err)
	}
	defer rows.Close()
	for rows.Next() {
		f := Finding{Check: c.name, Table: c.table}
		var market string
		var first int64
		if err := rows.Scan(&f.Instrument.Exchange, &market, &f.Instrument.Symbol, &f.Count, &first, &f.Detail); err != nil {
			return checkError(string(c.name), ctx, err)
		}
		f.Instrument.Market, f.First = marketprism.Market(market), fromNanos(first)
		r.add(f)
	}
	if err := rows.Err(); err != nil {
		return checkError(string(c.name), ctx, err)
	}
	return nil
}

func checkError(what string, ctx context.Context, err error) error {
	return fmt.Errorf("chstore: check %s: %w", what, withCause(ctx, err))
}

func named(name string, value any) any { return clickhouse.Named(name, value) }
