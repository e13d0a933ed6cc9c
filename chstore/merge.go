package chstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/marketprism/marketprism"
)

// A merge joins the rows of several tables, each in time order, into one sequence.
type merge struct {
	cursors []*cursor
}

// open starts the queries. The caller must close the merge, even after an error.
func (m *merge) open(ctx context.Context, d *db, q Query, all epochs) error {
	byTable, err := kindsByTable(q.Kinds)
	if err != nil {
		return err
	}
	for t, kinds := range byTable {
		if len(kinds) == 0 {
			continue
		}
		m.cursors = append(m.cursors, openCursor(ctx, d, table(t), kinds, q, all))
	}
	for _, c := range m.cursors {
		if err := c.advance(ctx); err != nil {
			return err
		}
	}
	return nil
}

// kindsByTable returns the wanted kinds of each table.
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

// next returns the earliest remaining record, and whether there is one.
func (m *merge) next(ctx context.Context) (marketprism.Record, bool, error) {
	var first *cursor
	for _, c := range m.cursors {
		if !c.done && (first == nil || c.before(first)) {
			first = c
		}
	}
	if first == nil {
		return marketprism.Record{}, false, nil
	}
	rec := first.rec
	return rec, true, first.advance(ctx)
}

// A timedRecord is a record and the time from which it counts.
type timedRecord struct {
	rec marketprism.Record
	at  time.Time
}

// nextTimed is next with the record's own time.
func (m *merge) nextTimed(ctx context.Context) (timedRecord, bool, error) {
	rec, ok, err := m.next(ctx)
	return timedRecord{rec, rec.Time()}, ok, err
}

// peekUpdate returns the update that comes next; nil if there is none.
func (m *merge) peekUpdate() *marketprism.Record {
	for _, c := range m.cursors {
		if c.rows.table == depthTable && !c.done {
			return &c.rec
		}
	}
	return nil
}

func (m *merge) close() {
	for _, c := range m.cursors {
		c.rows.close()
	}
}

// A cursor reads the rows of one table.
type cursor struct {
	rows  *rowStream
	dedup [marketprism.KindTicker + 1]*dedup

	rec  marketprism.Record // the next one
	rank rank               // of rec
	done bool               // there is no next one
}

func openCursor(ctx context.Context, d *db, t table, kinds []marketprism.Kind, q Query, all epochs) *cursor {
	c := &cursor{}
	sc := newScope(q.Instrument, q.From, q.To)
	if t == tradeTable && !(slices.Contains(kinds, marketprism.KindTrade) && slices.Contains(kinds, marketprism.KindAggTrade)) {
		sc.add("aggregate = {aggregate:Bool}", "aggregate", kinds[0] == marketprism.KindAggTrade)
	}
	for _, k := range kinds {
		c.dedup[k] = newDedup(d, t, k, sc, all)
	}
	c.rows = d.stream(ctx, t, q.Instrument, sc, "ORDER BY ts, "+t.order()+", received_at")
	return c
}

// advance moves to the next row that is no duplicate.
func (c *cursor) advance(ctx context.Context) (err error) {
	for c.rows.advance() {
		if c.rank, err = c.rows.record(&c.rec); err != nil {
			return err
		}
		duplicate, err := c.dedup[c.rank.kind].isDuplicate(ctx, c.rank, &c.rec, c.rows.ts(), c.rows.received())
		if err != nil || !duplicate {
			return err
		}
	}
	c.done = true
	return c.rows.err
}

// before reports whether c's record comes before d's, which is of another table.
func (c *cursor) before(d *cursor) bool {
	if order := cmp.Compare(c.rows.ts(), d.rows.ts()); order != 0 {
		return order < 0
	}
	t, u := c.rows.table, d.rows.table
	if t == tradeTable || u == tradeTable {
		return u == tradeTable
	}
	if c, d := regressedGap(&c.rec), regressedGap(&d.rec); c != d {
		return c // it has the time of the first update of its epoch
	}
	if order := cmp.Compare(c.rank.id, d.rank.id); order != 0 {
		return order < 0
	}
	return t.precedence() < u.precedence()
}
