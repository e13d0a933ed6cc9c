package chstore

import (
	"fmt"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A plan is what a Write has to do: its records by table, source and partition, in their order.
type plan struct {
	tables [tableCount]tablePlan
}

type tablePlan struct {
	groups []group
	last   int // the group of the last record, the likeliest one of the next
	step   partitioner
}

// A group is records of one source for one partition of one table. All of it, or a leading part that
// is large enough, goes into one INSERT, which ClickHouse makes one part: stored whole or not at all.
type group struct {
	source    string
	partition uint32
	recs      []*marketprism.Record
	done      int // leading records known to be stored, where they have no source to ask about
}

// check returns the cause for which a record cannot be stored.
func check(r *marketprism.Record) error {
	if err := r.Validate(); err != nil {
		return err
	}
	if r.Origin.Source != "" && r.Origin.Sequence == 0 {
		return ErrOrigin
	}
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
	case r.Gap != nil:
		if _, err := orderbook.ParseGapReason(r.Gap.Reason.String()); err != nil {
			return fmt.Errorf("%w: %d", err, r.Gap.Reason)
		}
	}
	if !ok {
		return ErrTime
	}
	return nil
}

// newPlan sorts recs. Its error is a *RecordError.
func (s *Store) newPlan(recs []marketprism.Record) (*plan, error) {
	for i := range recs {
		if err := check(&recs[i]); err != nil {
			return nil, &RecordError{Index: i, Key: recs[i].Key(), Err: err}
		}
	}
	p := s.plans.Get().(*plan)
	for t := range tableCount {
		p.tables[t].step = newPartitioner(s.partition(t))
	}
	for i := range recs {
		r := &recs[i]
		tp := &p.tables[tableOf(r.Kind())]
		g := tp.group(r.Origin.Source, tp.step.id(nanos(r.Time())))
		g.recs = append(g.recs, r)
	}
	return p, nil
}

// group finds or makes a group.
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
		tp.groups = tp.groups[:tp.last+1] // with the room its records had
	} else {
		tp.groups = append(tp.groups, group{})
	}
	g := &tp.groups[tp.last]
	g.source, g.partition, g.done = source, partition, 0
	return g
}

// maxPooled bounds the groups whose memory is kept for the next Write.
const maxPooled = 64

// release gives the plan's memory back, without the records it points to.
func (s *Store) release(p *plan) {
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
	s.plans.Put(p)
}

// takeBlock returns the number of leading records that fit in limit bytes, at least one.
func takeBlock(recs []*marketprism.Record, limit int) int {
	size := 0
	for i, r := range recs {
		size += rowBytes(r)
		if size > limit && i > 0 {
			return i
		}
	}
	return len(recs)
}

// rowBytes estimates what a record takes in a block: 16 bytes a level, and about 128 for the rest.
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
