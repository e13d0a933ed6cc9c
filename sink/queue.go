package sink

import (
	"time"

	"github.com/marketprism/marketprism"
)

// A queue holds records in order, within bounds. They leave it at its head only: taken as part of a
// batch, which counts against the bounds until it is settled, or dropped, where holes are kept.
type queue struct {
	maxRecords, maxBytes int

	waiting ring
	bytes   int       // of the waiting ones
	since   time.Time // when the first of them came, or became the first

	inFlight                   bool
	flyingRecords, flyingBytes int // of the batch in flight, without its gaps

	holes *holes // nil where nothing is ever dropped

	// Positions count the records that came, from 0.
	came    uint64 // of the next record to come
	left    uint64 // of the one at the head
	flyFrom uint64 // what settled returned when the batch in flight was taken
}

// records and size are what counts against the bounds.
func (q *queue) records() int { return q.waiting.n + q.flyingRecords }
func (q *queue) size() int    { return q.bytes + q.flyingBytes }

func (q *queue) fits(records, bytes int) bool {
	return q.records()+records <= q.maxRecords && q.size()+bytes <= q.maxBytes
}

// push appends a copy of r.
func (q *queue) push(now time.Time, r *marketprism.Record, size int) {
	if q.waiting.n == 0 {
		q.since = now
	}
	q.waiting.push(r.Clone())
	q.bytes += size
	q.came++
}

func (q *queue) pop() marketprism.Record {
	r := q.waiting.pop()
	q.bytes -= recordSize(&r)
	q.left++
	return r
}

// force appends a copy of r, dropping as many records from the head as need be, r itself if even that
// makes no room. It returns dropped with those appended that left no trace of their own.
func (q *queue) force(now time.Time, r *marketprism.Record, size int, dropped []marketprism.Record) []marketprism.Record {
	for !q.fits(1, size) && q.waiting.n > 0 {
		position := q.left
		if oldest := q.pop(); !q.holes.open(&oldest, position) {
			dropped = append(dropped, oldest)
		}
	}
	if q.fits(1, size) {
		q.push(now, r, size)
		return dropped
	}
	newest := r.Clone()
	if !q.holes.open(&newest, q.left) {
		dropped = append(dropped, newest)
	}
	q.came++
	q.left++
	return dropped
}

// take puts the records due next into batch, at most limit unless there are more gaps than that, and
// appends to dropped those that a hole has made useless.
func (q *queue) take(now time.Time, limit int, batch, dropped []marketprism.Record) (_, _ []marketprism.Record) {
	q.flyFrom = q.settled()
	if q.holes != nil {
		batch = q.holes.takeGaps(batch)
	}
	for q.waiting.n > 0 && len(batch) < limit {
		r := q.pop()
		if q.holes != nil && !q.holes.pass(&r) {
			dropped = append(dropped, r)
			continue
		}
		q.flyingRecords++
		q.flyingBytes += recordSize(&r)
		batch = append(batch, r)
	}
	q.inFlight = len(batch) > 0
	q.since = now
	return batch, dropped
}

// settle ends the flight of the batch.
func (q *queue) settle() { q.inFlight, q.flyingRecords, q.flyingBytes = false, 0, 0 }

// settled is the position before which every record was accepted or dropped, and the gap for those
// dropped was accepted too.
func (q *queue) settled() uint64 {
	switch {
	case q.inFlight:
		return q.flyFrom
	case q.gaps() > 0:
		return q.holes.gapsFrom
	}
	return q.left
}

// gaps returns how many wait for the next batch.
func (q *queue) gaps() int {
	if q.holes == nil {
		return 0
	}
	return len(q.holes.gaps)
}

const (
	recordBytes = 256 // a Record and its largest payload but for the levels
	levelBytes  = 16
)

func sizeOf(recs []marketprism.Record) (bytes int) {
	for i := range recs {
		bytes += recordSize(&recs[i])
	}
	return bytes
}

// recordSize is about the memory that a copy of r occupies. It depends on nothing that could change
// while r is queued.
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
