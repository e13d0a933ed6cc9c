package chstore

import (
	"context"
	"math"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// An idOrder reads the records of one instrument in the order of their time, but puts updates in the order of
// their ids, as far as clocks can be apart: the two differ where several connections to servers with different
// clocks were recorded. An update gets the place, and the time, of the one that it precedes. Of several that follow the
// one before, cut at other borders, that with the lowest ids is next. None leaves its epoch, in which alone ids say what
// came first. Replay and Check read by it; Books does not, as it gives the book that BookAt gives at each moment, in
// which a late update is missing until its time.
type idOrder struct {
	records    *merge
	epochs     epochs
	continuity orderbook.Continuity
	ended      bool

	id      int64     // the highest of the updates returned in an epoch
	sent    time.Time // the time of that update
	idEpoch int

	window    []windowRecord // in the order of time
	epoch     int            // of the last update read
	highest   int64          // first id of the updates read in it
	highestAt time.Time      // of that update
	late      int            // updates in window with a lower one
}

type windowRecord struct {
	*timedRecord
	epoch int
	late  bool
}

func newIDOrder(records *merge, all epochs, c orderbook.Continuity) *idOrder {
	return &idOrder{records: records, epochs: all, continuity: c, id: math.MinInt64, highest: math.MinInt64}
}

// next returns the next record and its time; nil if there is none.
func (o *idOrder) next(ctx context.Context) (*timedRecord, error) {
	if err := o.fill(ctx); err != nil || len(o.window) == 0 {
		return nil, err
	}
	if o.window[0].rec.Update != nil {
		o.arrange()
	}
	first := o.window[0]
	o.window[0] = windowRecord{} // for the garbage collector
	o.window = o.window[1:]
	if first.late {
		o.late--
	}
	return first.timedRecord, nil
}

// arrange puts the update that is next in the place of the first record, which is an update.
func (o *idOrder) arrange() {
	first := &o.window[0]
	if first.epoch != o.idEpoch || regressed(o.id, o.sent, first.rec.Update.LastID, first.at) {
		o.idEpoch, o.id = first.epoch, math.MinInt64
	}
	if o.late > 0 && first.rec.Update.LastID > o.id {
		o.exchange(o.following(o.id))
	}
	if id := first.rec.Update.LastID; id >= o.id {
		o.id, o.sent = id, first.rec.Time()
	}
}

// fill reads what may belong before the first record.
func (o *idOrder) fill(ctx context.Context) error {
	for !o.ended && len(o.window) < maxPending {
		if n := len(o.window); n > 0 && o.window[n-1].at.Sub(o.window[0].at) > clockSkew {
			return nil
		}
		rec, err := o.records.next(ctx)
		if err != nil {
			return err
		}
		if o.ended = rec == nil; o.ended {
			return nil
		}
		o.add(rec)
	}
	return nil
}

func (o *idOrder) add(t *timedRecord) {
	r := windowRecord{timedRecord: t, epoch: o.epochs.at(t.at)}
	if u := t.rec.Update; u != nil {
		r.late = r.epoch == o.epoch && u.FirstID < o.highest && t.at.Sub(o.highestAt) <= clockSkew
		if r.late {
			o.late++
		} else {
			o.epoch, o.highest, o.highestAt = r.epoch, u.FirstID, t.at
		}
	}
	o.window = append(o.window, r)
}

// following returns the index of the update that comes after an id, among those that may be of the first record's epoch
// and place; -1 if there is none.
func (o *idOrder) following(id int64) int {
	best, follows := -1, false
	for i := range o.window {
		r := &o.window[i]
		if r.epoch != o.window[0].epoch || r.at.Sub(o.window[0].at) > clockSkew {
			break
		}
		u := r.rec.Update
		if u == nil || u.LastID <= id {
			continue
		}
		switch next := o.continuity.Follows(id, u); {
		case best < 0, next && !follows:
			best, follows = i, next
		case next && u.LastID < o.window[best].rec.Update.LastID, !follows && precedes(u, o.window[best].rec.Update):
			best = i
		}
	}
	return best
}

// exchange puts an update in the place of the first record, which is an update, and that one in its own.
func (o *idOrder) exchange(i int) {
	a, b := &o.window[0], &o.window[i]
	a.timedRecord, b.timedRecord = b.timedRecord, a.timedRecord
	a.at, b.at = b.at, a.at
	a.late, b.late = b.late, a.late
}

// peek returns the update that comes next of those that end above an id, as far as it has been read; nil if none
// has.
func (o *idOrder) peek(above int64) *timedRecord {
	if len(o.window) > 0 {
		if i := o.following(above); i >= 0 {
			return o.window[i].timedRecord
		}
	}
	for i := range o.window {
		if u := o.window[i].rec.Update; u != nil && u.LastID > above {
			return o.window[i].timedRecord
		}
	}
	if next := o.records.peekUpdate(); next != nil && next.rec.Update.LastID > above {
		return next
	}
	return nil
}

func precedes(u, v *orderbook.Update) bool {
	return u.FirstID < v.FirstID || u.FirstID == v.FirstID && u.LastID < v.LastID
}
