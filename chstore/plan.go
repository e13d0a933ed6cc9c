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
	done      int // how many of the first records are stored; without a source the table cannot say
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
	var refused []sink.Refusal
	for i := range recs {
		if err := checkRecord(&recs[i]); err != nil {
			refused = append(refused, sink.Refusal{Index: i, Err: &RecordError{Index: i, Key: recs[i].Key(), Err: err}})
		}
	}
	if refused != nil {
		return nil, &sink.RefusedError{Records: refused}
	}
	p, ok := pl.plans.Get().(*plan)
	if !ok {
		p = new(plan)
	}
	for t := range tableCount {
		p.tables[t].step = newPartitioner(pl.db.partition(t))
	}
	for i := range recs {
		r := &recs[i]
		tp := &p.tables[tableOf(r.Kind())]
		g := tp.group(r.Origin.Source, tp.step.id(nanos(r.Time())))
		g.recs = append(g.recs, r)
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
	g.source, g.partition, g.done = source, partition, 0
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

// blockLen returns how many of the first records fit in limit bytes, at least one.
func blockLen(recs []*marketprism.Record, limit int) int {
	size := 0
	for i, r := range recs {
		size += rowBytes(r)
		if size > limit && i > 0 {
			return i
		}
	}
	return len(recs)
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

// blockBytes estimates the size of records in a block.
func blockBytes(recs []*marketprism.Record) (n int64) {
	for _, r := range recs {
		n += int64(rowBytes(r))
	}
	return n
}

// timeRange returns the lowest and the highest Record.Time of records.
func timeRange(recs []*marketprism.Record) (oldest, newest time.Time) {
	oldest = recs[0].Time()
	for _, r := range recs {
		switch at := r.Time(); {
		case at.Before(oldest):
			oldest = at
		case at.After(newest):
			newest = at
		}
	}
	if newest.Before(oldest) {
		newest = oldest
	}
	return oldest, newest
}

// sequenceRange returns the lowest and the highest sequence of records.
func sequenceRange(recs []*marketprism.Record) (first, last uint64) {
	first = recs[0].Origin.Sequence
	for _, r := range recs {
		first = min(first, r.Origin.Sequence)
		last = max(last, r.Origin.Sequence)
	}
	return first, last
}
