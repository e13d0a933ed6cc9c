package orderbook

import (
	"time"
	"unsafe"
)

// A buffer keeps copies of updates in the order of their arrival. The levels of all of them share one
// array, so buffering allocates nothing once that has grown.
type buffer struct {
	updates []bufferedUpdate
	levels  []Level
	head    int // updates before it are read
}

// A bufferedUpdate has its levels at levels[at:], bids first; first sets the slices in Update.
type bufferedUpdate struct {
	Update
	receivedAt     time.Time
	at, bids, asks int
}

func (b *buffer) len() int { return len(b.updates) - b.head }

// bytes returns the memory of the unread updates together with u.
func (b *buffer) bytes(u *Update) int {
	levels := len(b.levels) + len(u.Bids) + len(u.Asks)
	if b.head < len(b.updates) {
		levels -= b.updates[b.head].at
	}
	return levels*int(unsafe.Sizeof(Level{})) + (b.len()+1)*int(unsafe.Sizeof(bufferedUpdate{}))
}

// add appends a copy of u. It invalidates the result of first.
func (b *buffer) add(receivedAt time.Time, u *Update) {
	switch {
	case b.len() == 0:
		b.clear()
	case b.head > b.len():
		b.compact()
	}
	kept := bufferedUpdate{Update: *u, receivedAt: receivedAt, at: len(b.levels), bids: len(u.Bids), asks: len(u.Asks)}
	kept.Bids, kept.Asks = nil, nil
	b.levels = append(b.levels, u.Bids...)
	b.levels = append(b.levels, u.Asks...)
	b.updates = append(b.updates, kept)
}

// first returns the oldest unread update; there must be one. It is valid until the next add or clear,
// also after next.
func (b *buffer) first() *bufferedUpdate {
	u := &b.updates[b.head]
	asks := u.at + u.bids
	u.Bids = b.levels[u.at:asks:asks]
	u.Asks = b.levels[asks : asks+u.asks : asks+u.asks]
	return u
}

func (b *buffer) next() { b.head++ }

// compact moves the unread updates to the front.
func (b *buffer) compact() {
	used := b.updates[b.head].at
	b.levels = append(b.levels[:0], b.levels[used:]...)
	b.updates = append(b.updates[:0], b.updates[b.head:]...)
	b.head = 0
	for i := range b.updates {
		b.updates[i].at -= used
	}
}

// roomKept bounds the memory of an empty buffer, in levels.
const roomKept = 4096

func (b *buffer) clear() {
	if cap(b.levels) > roomKept {
		b.levels, b.updates = nil, nil
	}
	b.levels, b.updates, b.head = b.levels[:0], b.updates[:0], 0
}
