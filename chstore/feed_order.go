package chstore

import (
	"context"
	"math"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// An idOrder gives the records of one instrument in the order of their time, but the updates among them in
// that of their ids, as far as clocks can be apart: where several connections to servers with different
// clocks were recorded, the two differ. An update takes the place, and the moment, of one that it comes
// before. None is brought before a Gap: ids may begin anew there.
type idOrder struct {
	records *merge
	ended   bool

	window  []heldRecord // in order of time
	highest int64        // first id of the updates read since the last Gap
	late    int          // updates in window with a lower one
}

type heldRecord struct {
	timedRecord
	late bool
}

func newIDOrder(records *merge) *idOrder { return &idOrder{records: records, highest: math.MinInt64} }

// next returns the next record and its moment; false if there is none.
func (o *idOrder) next(ctx context.Context) (timedRecord, bool, error) {
	if err := o.fill(ctx); err != nil || len(o.window) == 0 {
		return timedRecord{}, false, err
	}
	if o.late > 0 && o.window[0].rec.Update != nil {
		o.bringFirst()
	}
	first := o.window[0]
	o.window[0] = heldRecord{} // let go of what it points to
	o.window = o.window[1:]
	if first.late {
		o.late--
	}
	return first.timedRecord, true, nil
}

// fill reads what may belong before the first record.
func (o *idOrder) fill(ctx context.Context) error {
	for !o.ended && len(o.window) < maxHeld {
		if n := len(o.window); n > 0 && o.window[n-1].at.Sub(o.window[0].at) > clockSkew {
			return nil
		}
		rec, ok, err := o.records.next(ctx)
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

func (o *idOrder) add(rec marketprism.Record) {
	held := heldRecord{timedRecord: timedRecord{rec, rec.Time()}}
	switch {
	case rec.Gap != nil:
		o.highest = math.MinInt64
	case rec.Update != nil:
		if held.late = rec.Update.FirstID < o.highest; held.late {
			o.late++
		}
		o.highest = max(o.highest, rec.Update.FirstID)
	}
	o.window = append(o.window, held)
}

// bringFirst has the update with the lowest id change places with the first, which is an update.
func (o *idOrder) bringFirst() {
	first := 0
	for i := range o.window {
		switch r := &o.window[i].rec; {
		case r.Gap != nil:
			o.swap(first)
			return
		case r.Update != nil && before(r.Update, o.window[first].rec.Update):
			first = i
		}
	}
	o.swap(first)
}

func (o *idOrder) swap(i int) {
	a, b := &o.window[0], &o.window[i]
	a.rec, b.rec = b.rec, a.rec
	a.late, b.late = b.late, a.late
}

func before(u, v *orderbook.Update) bool {
	return u.FirstID < v.FirstID || u.FirstID == v.FirstID && u.LastID < v.LastID
}
