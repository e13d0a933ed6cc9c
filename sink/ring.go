package sink

import "github.com/marketprism/marketprism"

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
	q.slots[q.head] = marketprism.Record{} // let go of what it points to
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
