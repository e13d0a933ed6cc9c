package chstore

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// maxAhead bounds the markers that a feed reads ahead.
const maxAhead = 64

// A feed reads the records of one instrument in the order in which they make a book: that of their time, but a
// snapshot comes before the updates that follow it by id. The only time of a spot snapshot is that of its
// arrival, which is after some of them.
type feed struct {
	epochs  epochs
	records *merge                                      // all kinds but markers
	read    func(context.Context) (*timedRecord, error) // reads records, by time or by id
	head    *timedRecord                                // the next one of them; nil if there is none
	markers *merge                                      // snapshots; by contract gaps as well
	ahead   []*marker                                   // markers read before they are due
	ended   bool                                        // there are no more markers
	pool    *recordPool                                 // of the records that next returns
	epoch   int                                         // of the record returned last
	id      int64                                       // the highest update id returned in that epoch
	last    time.Time

	highest int64     // the highest id of the updates returned in that epoch
	sent    time.Time // the time of that update

	// Snapshots of the first epoch below floor, the id of the book that the feed continues, are left out if they
	// were received before stale.
	floor      int64
	floorEpoch int
	stale      time.Time
}

// A marker is a Snapshot or a Gap, which begins or ends a span of updates.
type marker struct {
	marketprism.Record
	epoch int
}

// bookKinds returns the kinds of record that make a book.
func bookKinds() []marketprism.Kind {
	return []marketprism.Kind{marketprism.KindUpdate, marketprism.KindSnapshot, marketprism.KindGap}
}

// openFeed starts the queries. It reads snapshots up to the time late after q.To, since one that arrived that late
// may precede updates before q.To. The caller must close the feed, even after an error.
func openFeed(ctx context.Context, d *db, q Query, late time.Duration) (*feed, error) {
	f := newFeed(&recordPool{})
	f.read = f.records.next
	return f, f.open(ctx, d, q, late, marketprism.KindSnapshot)
}

func newFeed(pool *recordPool) *feed {
	return &feed{epochs: epochs{{}}, records: &merge{pool: pool}, markers: &merge{pool: &recordPool{}}, pool: pool, id: math.MinInt64, highest: math.MinInt64, floor: math.MinInt64}
}

// open starts the queries of a new feed whose markers are of some kinds.
func (f *feed) open(ctx context.Context, d *db, q Query, late time.Duration, kinds ...marketprism.Kind) (err error) {
	if f.epochs, err = readEpochs(ctx, d, q.Instrument); err != nil {
		return err
	}
	all := q.Kinds
	if len(all) == 0 {
		all = marketprism.Kinds()
	}
	var markers, others []marketprism.Kind
	for _, k := range all {
		if slices.Contains(kinds, k) {
			markers = append(markers, k)
		} else {
			others = append(others, k)
		}
	}
	if q.Kinds = others; len(others) > 0 {
		if err := f.records.open(ctx, d, q, f.epochs); err != nil {
			return err
		}
	}
	if f.ended = len(markers) == 0; f.ended {
		return nil
	}
	if q.Kinds = markers; !q.To.IsZero() {
		q.To = q.To.Add(late)
	}
	return f.markers.open(ctx, d, q, f.epochs)
}

// continueAfter makes the feed the continuation of a book, also of one that is not synced: a snapshot with a lower id
// that comes later is of the next epoch.
func (f *feed) continueAfter(b *bookBuilder) {
	if b.last.IsZero() {
		return
	}
	f.epoch, f.id, f.highest, f.sent = f.epochs.of(&b.base), b.id(), b.id(), b.last
}

func (f *feed) close() {
	f.records.close()
	f.markers.close()
}

// next returns the next record, with the time from which it counts; nil if there is none. That time never goes back.
// Where ids show that they went back, and no record says so, it returns a Gap of its own. The caller may put the record
// back into the pool.
func (f *feed) next(ctx context.Context) (*timedRecord, error) {
	if err := f.fill(ctx); err != nil {
		return nil, err
	}
	if f.head == nil && len(f.ahead) == 0 {
		return nil, nil
	}
	r := f.step()
	if r.at.Before(f.last) {
		r.at = f.last
	}
	f.last = r.at
	return r, nil
}

// step returns the next record of those that have been read.
func (f *feed) step() *timedRecord {
	if f.headRegressed() {
		if i := f.leftOver(); i >= 0 {
			s := f.take(i)
			return f.pool.of(s.Record, s.Time())
		}
		u := f.head.rec.Update
		r := f.pool.of(marketprism.Record{Instrument: f.head.rec.Instrument, ReceivedAt: f.head.at, Gap: &orderbook.Gap{
			After: f.highest, Reason: orderbook.GapRegressed, Err: &orderbook.SequenceError{Want: f.highest + 1, Got: u.FirstID},
		}}, f.head.at)
		f.forgetIDs()
		return r
	}
	switch i := f.predecessor(); {
	case len(f.ahead) > 0 && (f.head == nil || f.isDue(f.ahead[0])):
		s := f.take(0)
		return f.pool.of(s.Record, s.Time())
	case i >= 0:
		return f.pool.of(f.take(i).Record, f.head.at)
	}
	f.reach(f.epochs.of(&f.head.rec))
	if u := f.head.rec.Update; u != nil {
		f.returns(u)
	}
	return f.takeHead()
}

// takeHead removes the head.
func (f *feed) takeHead() *timedRecord {
	r := f.head
	f.head = nil
	return r
}

// headRegressed reports whether the head is an update of an epoch that no record says has begun.
func (f *feed) headRegressed() bool {
	if f.head == nil || f.head.rec.Update == nil {
		return false
	}
	return regressed(f.highest, f.sent, f.head.rec.Update.LastID, f.head.rec.Time())
}

// leftOver returns the index of a marker from before ids went back at the head: it is older by both clocks, and a
// snapshot has no lower id than the updates before. It is -1 if there is none.
func (f *feed) leftOver() int {
	return slices.IndexFunc(f.ahead, func(m *marker) bool {
		return m.Time().Before(f.head.at) && m.ReceivedAt.Before(f.head.rec.ReceivedAt) && (m.Snapshot == nil || m.Snapshot.LastID >= f.highest)
	})
}

// returns notes that the head, an update, is returned.
func (f *feed) returns(u *orderbook.Update) {
	f.id = max(f.id, u.LastID)
	if u.LastID >= f.highest {
		f.highest, f.sent = u.LastID, f.head.rec.Time()
	}
}

// fill reads the next record, and the markers that may precede it.
func (f *feed) fill(ctx context.Context) (err error) {
	if f.head == nil {
		if f.head, err = f.read(ctx); err != nil {
			return err
		}
	}
	return f.readAhead(ctx)
}

// reach begins an epoch, unless it has begun.
func (f *feed) reach(epoch int) {
	if epoch > f.epoch {
		f.epoch = epoch
		f.forgetIDs()
	}
}

// forgetIDs forgets the ids of an epoch that has ended.
func (f *feed) forgetIDs() { f.id, f.highest = math.MinInt64, math.MinInt64 }

// readAhead reads the markers that may precede the head.
func (f *feed) readAhead(ctx context.Context) error {
	for !f.ended && len(f.ahead) < maxAhead {
		if n := len(f.ahead); n > 0 && f.head != nil && f.ahead[n-1].Time().After(f.head.at.Add(lookBack)) {
			return nil
		}
		r, err := f.markers.next(ctx)
		if err != nil {
			return err
		}
		if r == nil {
			f.ended = true
			return nil
		}
		m := &marker{r.rec, f.epochs.of(&r.rec)}
		f.markers.pool.put(r)
		if m.Snapshot != nil && m.Snapshot.LastID < f.floor && m.epoch <= f.floorEpoch && m.ReceivedAt.Before(f.stale) {
			continue
		}
		f.ahead = append(f.ahead, m)
	}
	return nil
}

// isDue reports whether a marker precedes the head by its own epoch and time.
func (f *feed) isDue(m *marker) bool {
	head := &f.head.rec
	if order := m.epoch - f.epochs.of(head); order != 0 {
		return order < 0
	}
	order := m.Time().Compare(f.head.at)
	switch {
	case order != 0:
		return order < 0
	case m.Gap != nil:
		return true
	case head.Update != nil:
		return m.Snapshot.LastID <= head.Update.LastID
	}
	return head.Trade != nil || head.Ticker != nil && m.Snapshot.LastID <= head.Ticker.UpdateID
}

// predecessor returns the index of the first snapshot that the head, an update, follows by id, while no update
// beyond that id has been returned; -1 if there is none. A snapshot of another epoch or one that was received much
// later does not count: ids start again where a market is wiped.
func (f *feed) predecessor() int {
	if f.head == nil || f.head.rec.Update == nil {
		return -1
	}
	head := &f.head.rec
	epoch, above := f.epochs.of(head), f.id
	if epoch > f.epoch {
		above = math.MinInt64
	}
	for i := range f.ahead {
		m := f.ahead[i]
		if m.Snapshot == nil || m.epoch != epoch {
			continue
		}
		if id := m.Snapshot.LastID; id >= above && id < head.Update.LastID && !m.ReceivedAt.After(head.ReceivedAt.Add(lookBack)) {
			return i
		}
	}
	return -1
}

// take removes a marker.
func (f *feed) take(i int) *marker {
	m := f.ahead[i]
	f.ahead = slices.Delete(f.ahead, i, i+1)
	f.reach(m.epoch)
	if m.Snapshot != nil && m.epoch == f.epoch {
		f.id = max(f.id, m.Snapshot.LastID)
	}
	return m
}
