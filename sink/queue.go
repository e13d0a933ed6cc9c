package sink

import (
	"time"

	"github.com/marketprism/marketprism"
)

// A queue holds records in order, within bounds. They leave it at its head only: taken as part of a
// batch, which counts against the bounds until it is completed, or dropped if there is a gapTracker.
type queue struct {
	maxRecords, maxBytes int

	pending ring
	bytes   int       // of pending
	since   time.Time // when the first of pending came, or became the first

	inFlight                       bool
	inFlightRecords, inFlightBytes int // of the batch in flight, without its gaps

	gaps *gapTracker    // nil if no record is ever dropped
	lost *damageTracker // of records that the destination refused; nil until it refuses one

	// Positions count the records that came, from 0.
	came         uint64 // of the next record to come
	left         uint64 // of the one at the head
	inFlightFrom uint64 // what completed returned when the batch in flight was taken
}

// records and size count against the bounds.
func (q *queue) records() int { return q.pending.n + q.inFlightRecords }
func (q *queue) size() int    { return q.bytes + q.inFlightBytes }

func (q *queue) fits(records, bytes int) bool {
	return q.records()+records <= q.maxRecords && q.size()+bytes <= q.maxBytes
}

// push appends a copy of r.
func (q *queue) push(now time.Time, r *marketprism.Record, size int) {
	if q.pending.n == 0 {
		q.since = now
	}
	q.pending.push(r.Clone())
	q.bytes += size
	q.came++
}

func (q *queue) pop() marketprism.Record {
	r := q.pending.pop()
	q.bytes -= recordSize(&r)
	q.left++
	return r
}

// force appends a copy of r and drops as many records from the head as necessary, or r itself if even
// that makes no room. It appends to dropped those that are not kept as a Gap.
func (q *queue) force(now time.Time, r *marketprism.Record, size int, dropped []marketprism.Record) []marketprism.Record {
	for !q.fits(1, size) && q.pending.n > 0 {
		position := q.left
		if oldest := q.pop(); !q.gaps.lose(&oldest, position) {
			dropped = append(dropped, oldest)
		}
	}
	if q.fits(1, size) {
		q.push(now, r, size)
		return dropped
	}
	newest := r.Clone()
	if !q.gaps.lose(&newest, q.left) {
		dropped = append(dropped, newest)
	}
	q.came++
	q.left++
	return dropped
}

// take moves the next records to batch, at most limit unless there are more gaps than that, and
// appends to dropped the Updates that a gap or a refusal before them makes useless.
func (q *queue) take(now time.Time, limit int, batch, dropped []marketprism.Record) (_, _ []marketprism.Record) {
	q.inFlightFrom = q.completed()
	if q.lost != nil {
		q.lost.begin()
	}
	if q.gaps != nil {
		batch = q.gaps.takeGaps(batch)
	}
	for q.pending.n > 0 && len(batch) < limit {
		r := q.pop()
		useful := q.gaps == nil || q.gaps.pass(&r)
		if useful && q.lost != nil {
			useful = q.lost.tracker.pass(&r)
		}
		if !useful {
			dropped = append(dropped, r)
			continue
		}
		q.inFlightRecords++
		q.inFlightBytes += recordSize(&r)
		batch = append(batch, r)
	}
	q.inFlight = len(batch) > 0
	q.since = now
	return batch, dropped
}

// complete notes that the destination accepted the batch in flight.
func (q *queue) complete() { q.inFlight, q.inFlightRecords, q.inFlightBytes = false, 0, 0 }

// refuse leaves out records of the batch in flight that the destination refused, as damageTracker.refuse does.
func (q *queue) refuse(recs []marketprism.Record, refused []Refusal) (kept, useless []marketprism.Record) {
	if q.lost == nil {
		q.lost = &damageTracker{tracker: newGapTracker()}
	}
	return q.lost.refuse(recs, refused)
}

// delivered notes that the destination accepted recs, the first that are left of the batch in flight.
func (q *queue) delivered(recs []marketprism.Record) {
	if q.lost != nil {
		q.lost.delivered(recs)
	}
}

// completed returns the position before which every record was accepted or dropped, and the gaps for those
// dropped were accepted too.
func (q *queue) completed() uint64 {
	switch {
	case q.inFlight:
		return q.inFlightFrom
	case q.pendingGaps() > 0:
		return q.gaps.gapsFrom
	}
	return q.left
}

// pendingGaps returns the number of gaps for the next batch.
func (q *queue) pendingGaps() int {
	if q.gaps == nil {
		return 0
	}
	return len(q.gaps.gaps)
}

const (
	recordBytes = 256 // a Record and its largest payload, without levels
	levelBytes  = 16
)

func sizeOf(recs []marketprism.Record) (bytes int) {
	for i := range recs {
		bytes += recordSize(&recs[i])
	}
	return bytes
}

// recordSize returns about the memory of a copy of r. It depends only on what does not change while r is
// queued.
func recordSize(r *marketprism.Record) int {
	n := recordBytes
	switch {
	case r.Update != nil:
		n += levelBytes * (len(r.Update.Bids) + len(r.Update.Asks))
	case r.Snapshot != nil:
		n += levelBytes * (len(r.Snapshot.Bids) + len(r.Snapshot.Asks))
	}
	return n
}

// A ring is a first-in-first-out queue of records. It grows as needed and never shrinks.
type ring struct {
	slots []marketprism.Record
	head  int // index of the oldest
	n     int
}

func (q *ring) push(r marketprism.Record) {
	if q.n == len(q.slots) {
		q.grow()
	}
	q.slots[(q.head+q.n)%len(q.slots)] = r
	q.n++
}

// pop removes the oldest record. There must be one.
func (q *ring) pop() marketprism.Record {
	r := q.slots[q.head]
	q.slots[q.head] = marketprism.Record{} // frees the memory that it points to
	q.head = (q.head + 1) % len(q.slots)
	q.n--
	return r
}

func (q *ring) grow() {
	slots := make([]marketprism.Record, max(64, 2*len(q.slots)))
	n := copy(slots, q.slots[q.head:])
	copy(slots[n:], q.slots[:q.head])
	q.slots, q.head = slots, 0
}
