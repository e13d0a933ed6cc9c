package chstore

import (
	"context"
	"math"

	"github.com/marketprism/marketprism/orderbook"
)

// An idOrder reads the records of one instrument in the order of their time, but puts updates in the order of
// their ids, as far as clocks can be apart: the two differ where several connections to servers with different
// clocks were recorded. An update gets the place, and the time, of the one that it precedes. No update is put
// before a Gap: ids may start again there. Replay and Check read by it; Books does not, as it gives the book
// that BookAt gives at each moment, in which a late update is missing until its time.
type idOrder struct {
	records *merge
	ended   bool

	window  []windowRecord // in the order of time
	highest int64          // first id of the updates read since the last Gap
	late    int            // updates in window with a lower one
}

type windowRecord struct {
	timedRecord
	late bool
}

func newIDOrder(records *merge) *idOrder { return &idOrder{records: records, highest: math.MinInt64} }

// next returns the next record and its time, and whether there is one.
func (o *idOrder) next(ctx context.Context) (timedRecord, bool, error) {
	if err := o.fill(ctx); err != nil || len(o.window) == 0 {
		return timedRecord{}, false, err
	}
	if o.late > 0 && o.window[0].rec.Update != nil {
		o.putLowestFirst()
	}
	first := o.window[0]
	o.window[0] = windowRecord{} // for the garbage collector
	o.window = o.window[1:]
	if first.late {
		o.late--
	}
	return first.timedRecord, true, nil
}

// fill reads what may belong before the first record.
func (o *idOrder) fill(ctx context.Context) error {
	for !o.ended && len(o.window) < maxPending {
		if n := len(o.window); n > 0 && o.window[n-1].at.Sub(o.window[0].at) > clockSkew {
			return nil
		}
		rec, ok, err := o.records.nextTimed(ctx)
		if err != nil {
			return err
		}
		if o.ended = !ok; !ok {
			return nil
		}
		o.add(rec)
	}
	return nil
}

func (o *idOrder) add(t timedRecord) {
	r, rec := windowRecord{timedRecord: t}, &t.rec
	switch {
	case rec.Gap != nil:
		o.highest = math.MinInt64
	case rec.Update != nil:
		if r.late = rec.Update.FirstID < o.highest; r.late {
			o.late++
		}
		o.highest = max(o.highest, rec.Update.FirstID)
	}
	o.window = append(o.window, r)
}

// putLowestFirst exchanges the first record, which is an update, with the update of the lowest id.
func (o *idOrder) putLowestFirst() {
	first := 0
	for i := range o.window {
		switch r := &o.window[i].rec; {
		case r.Gap != nil:
			o.exchange(first)
			return
		case r.Update != nil && precedes(r.Update, o.window[first].rec.Update):
			first = i
		}
	}
	o.exchange(first)
}

func (o *idOrder) exchange(i int) {
	a, b := &o.window[0], &o.window[i]
	a.rec, b.rec = b.rec, a.rec
	a.late, b.late = b.late, a.late
}

func precedes(u, v *orderbook.Update) bool {
	return u.FirstID < v.FirstID || u.FirstID == v.FirstID && u.LastID < v.LastID
}
