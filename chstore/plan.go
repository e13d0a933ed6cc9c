package chstore

import (
	"sync"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/sink"
)

// A planner makes the plans of Writes, and reuses their memory. It is safe for concurrent use.
type planner struct {
	db    *db
	plans sync.Pool // of *plan
}

// A plan is the records of a Write by table, source and partition, in their order.
type plan struct {
	tables [tableCount]tablePlan
}

type tablePlan struct {
	groups []group
	last   int // the group of the last record, the likeliest for the next one
	step   partitioner
}

// A group is the records of one source for one partition of one table. All of it, or its first BlockBytes,
// goes into one INSERT, which ClickHouse makes one part: stored whole or not at all.
type group struct {
	source    string
	partition uint32
	recs      []*marketprism.Record
	bytes     int64 // estimated, see rowBytes
	done      int   // how many of the first records are stored; without a source the table cannot say
}

// checkRecord returns why a record cannot be stored.
func checkRecord(r *marketprism.Record) error {
	if !storableTimes(r) {
		return ErrTime
	}
	if err := r.Validate(); err != nil {
		return err
	}
	if r.Origin.Source != "" && r.Origin.Sequence == 0 {
		return ErrOrigin
	}
	return nil
}

// storableTimes reports whether all times of a record can be stored.
func storableTimes(r *marketprism.Record) bool {
	ok := storable(r.EventTime) && storable(r.ReceivedAt)
	switch {
	case r.Update != nil:
		ok = ok && storable(r.Update.EventTime) && storable(r.Update.TransactTime)
	case r.Snapshot != nil:
		ok = ok && storable(r.Snapshot.EventTime) && storable(r.Snapshot.TransactTime)
	case r.Trade != nil:
		ok = ok && storable(r.Trade.TradeTime)
	case r.Ticker != nil:
		ok = ok && storable(r.Ticker.TransactTime)
	}
	return ok
}

// plan groups recs. Its error is a *sink.RefusedError with a *RecordError for each record that cannot be stored.
func (pl *planner) plan(recs []marketprism.Record) (*plan, error) {
	p, ok := pl.plans.Get().(*plan)
	if !ok {
		p = new(plan)
	}
	for t := range tableCount {
		p.tables[t].step = newPartitioner(pl.db.partition(t))
	}
	var refused []sink.Refusal
	for i := range recs {
		r := &recs[i]
		if err := checkRecord(r); err != nil {
			refused = append(refused, sink.Refusal{Index: i, Err: &RecordError{Index: i, Key: r.Key(), Err: err}})
			continue
		}
		tp := &p.tables[tableOf(r.Kind())]
		g := tp.group(r.Origin.Source, tp.step.id(nanos(r.Time())))
		g.recs = append(g.recs, r)
		g.bytes += int64(rowBytes(r))
	}
	if refused != nil {
		pl.release(p)
		return nil, &sink.RefusedError{Records: refused}
	}
	return p, nil
}

// group returns the group of a source and partition, which it makes if there is none.
func (tp *tablePlan) group(source string, partition uint32) *group {
	if tp.last < len(tp.groups) {
		if g := &tp.groups[tp.last]; g.source == source && g.partition == partition {
			return g
		}
	}
	for i := range tp.groups {
		if g := &tp.groups[i]; g.source == source && g.partition == partition {
			tp.last = i
			return g
		}
	}
	tp.last = len(tp.groups)
	if tp.last < cap(tp.groups) {
		tp.groups = tp.groups[:tp.last+1] // its records' memory is reused
	} else {
		tp.groups = append(tp.groups, group{})
	}
	g := &tp.groups[tp.last]
	g.source, g.partition, g.bytes, g.done = source, partition, 0, 0
	return g
}

// maxPooled bounds the groups whose memory is kept for the next Write.
const maxPooled = 64

// release makes the memory of a plan available again, and drops its pointers to records.
func (pl *planner) release(p *plan) {
	for t := range p.tables {
		tp := &p.tables[t]
		if len(tp.groups) > maxPooled {
			tp.groups = nil
		}
		for i := range tp.groups {
			g := &tp.groups[i]
			clear(g.recs)
			g.source, g.recs = "", g.recs[:0]
		}
		tp.groups, tp.last = tp.groups[:0], 0
	}
	pl.plans.Put(p)
}

// rowBytes estimates the size of a record in a block: 16 bytes a level, and about 128 for the rest.
func rowBytes(r *marketprism.Record) int {
	const fixed, level = 128, 16
	switch {
	case r.Update != nil:
		return fixed + level*(len(r.Update.Bids)+len(r.Update.Asks))
	case r.Snapshot != nil:
		return fixed + level*(len(r.Snapshot.Bids)+len(r.Snapshot.Asks))
	}
	return fixed
}

// A block is the records of one INSERT, of which it is one at least.
type block struct {
	rows           int
	bytes          int64     // estimated, see rowBytes
	first, last    uint64    // the lowest and the highest sequence
	oldest, newest time.Time // the lowest and the highest Record.Time
}

// add adds a record, unless the block would then have more bytes than limit.
func (b *block) add(r *marketprism.Record, limit int) bool {
	size, at := int64(rowBytes(r)), r.Time()
	switch {
	case b.rows == 0:
		b.first, b.oldest, b.newest = r.Origin.Sequence, at, at
	case b.bytes+size > int64(limit):
		return false
	case at.Before(b.oldest):
		b.oldest = at
	case at.After(b.newest):
		b.newest = at
	}
	b.rows++
	b.bytes += size
	b.first, b.last = min(b.first, r.Origin.Sequence), max(b.last, r.Origin.Sequence)
	return true
}
