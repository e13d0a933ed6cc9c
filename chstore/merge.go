package chstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A merge joins the rows of several tables, each in time order, into one sequence.
type merge struct {
	cursors []*cursor
	pool    *recordPool
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
		m.cursors = append(m.cursors, openCursor(ctx, d, table(t), kinds, q, all, m.pool))
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

// next returns the earliest remaining record with its own time; nil if there is none. The caller puts it back into the pool.
func (m *merge) next(ctx context.Context) (*timedRecord, error) {
	var first *cursor
	for _, c := range m.cursors {
		if c.head != nil && (first == nil || c.before(first)) {
			first = c
		}
	}
	if first == nil {
		return nil, nil
	}
	rec := first.head
	return rec, first.advance(ctx)
}

// peekUpdate returns the update that comes next; nil if there is none.
func (m *merge) peekUpdate() *timedRecord {
	for _, c := range m.cursors {
		if c.rows.table == depthTable {
			return c.head
		}
	}
	return nil
}

func (m *merge) close() {
	for _, c := range m.cursors {
		c.rows.close()
	}
}

// A timedRecord is a record and the time from which it counts. It is passed on by its address: a Record is large, and a
// replay hands each from step to step.
type timedRecord struct {
	rec    marketprism.Record
	at     time.Time
	memory payloads // of rec, where the pool reuses it

	update [1]orderbook.Update // the first memory for each payload
	trade  [1]marketprism.Trade
	ticker [1]marketprism.Ticker
}

// A recordPool holds timedRecords that were used, for one goroutine.
type recordPool struct {
	free  []*timedRecord
	reuse bool // also the memory of the records' payloads
}

// The most records that a pool keeps, and the most levels of one: more than most updates have.
const (
	pooledRecords = 1 << 13
	pooledLevels  = 1 << 9
)

// get returns a record to be filled.
func (p *recordPool) get() *timedRecord {
	if n := len(p.free) - 1; n >= 0 {
		r := p.free[n]
		p.free = p.free[:n]
		return r
	}
	r := new(timedRecord)
	if p.reuse {
		r.memory = payloads{updates: r.update[:0], trades: r.trade[:0], tickers: r.ticker[:0], single: true}
	}
	return r
}

// of returns a record with a time.
func (p *recordPool) of(rec marketprism.Record, at time.Time) *timedRecord {
	r := p.get()
	r.rec, r.at = rec, at
	return r
}

// put takes a record back that is no longer used.
func (p *recordPool) put(r *timedRecord) {
	if len(p.free) < pooledRecords && cap(r.memory.levels) <= pooledLevels {
		p.free = append(p.free, r)
	}
}

// A cursor reads the rows of one table.
type cursor struct {
	rows  *rowStream
	dedup [marketprism.KindTicker + 1]*dedup
	pool  *recordPool

	head *timedRecord // the next one; nil if there is none
	rank rank         // of head
}

func openCursor(ctx context.Context, d *db, t table, kinds []marketprism.Kind, q Query, all epochs, pool *recordPool) *cursor {
	c := &cursor{pool: pool}
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
	for c.head = c.pool.get(); c.rows.advance(); {
		memory := &c.rows.memory
		if c.pool.reuse {
			memory = &c.head.memory
			memory.reset()
		}
		if c.rank, err = c.rows.record(&c.head.rec, memory); err != nil {
			return err
		}
		duplicate, err := c.dedup[c.rank.kind].isDuplicate(ctx, c.rank, &c.head.rec, c.rows.ts(), c.rows.received())
		if err != nil || !duplicate {
			c.head.at = c.head.rec.Time()
			return err
		}
	}
	c.head = nil
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
	if c, d := regressedGap(&c.head.rec), regressedGap(&d.head.rec); c != d {
		return c // it has the time of the first update of its epoch
	}
	if order := cmp.Compare(c.rank.id, d.rank.id); order != 0 {
		return order < 0
	}
	return t.precedence() < u.precedence()
}
