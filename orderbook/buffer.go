package orderbook

import (
	"time"
	"unsafe"
)

// A buffer keeps copies of the updates that wait for a snapshot. The levels of all of them lie in
// one array, so that buffering costs no allocation once it has grown.
type buffer struct {
	updates []bufferedUpdate
	levels  []Level
	head    int // updates before it are used up
}

// A bufferedUpdate has its levels at levels[at:], bids first; the slices in Update are set when it is read.
type bufferedUpdate struct {
	Update
	receivedAt     time.Time
	at, bids, asks int
}

func (b *buffer) len() int { return len(b.updates) - b.head }

// bytes returns the memory that the waiting updates take, to which u would add.
func (b *buffer) bytes(u *Update) int {
	levels := len(b.levels) + len(u.Bids) + len(u.Asks)
	if b.head < len(b.updates) {
		levels -= b.updates[b.head].at
	}
	return levels*int(unsafe.Sizeof(Level{})) + (b.len()+1)*int(unsafe.Sizeof(bufferedUpdate{}))
}

// add copies u to the end. It invalidates what first returned.
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

// first returns the oldest waiting update; the buffer must not be empty. It is valid until
// the next add or clear, also after next.
func (b *buffer) first() *bufferedUpdate {
	u := &b.updates[b.head]
	asks := u.at + u.bids
	u.Bids = b.levels[u.at:asks:asks]
	u.Asks = b.levels[asks : asks+u.asks : asks+u.asks]
	return u
}

func (b *buffer) next() { b.head++ }

// compact moves the waiting updates to the front, over those that are used up.
func (b *buffer) compact() {
	used := b.updates[b.head].at
	b.levels = append(b.levels[:0], b.levels[used:]...)
	b.updates = append(b.updates[:0], b.updates[b.head:]...)
	b.head = 0
	for i := range b.updates {
		b.updates[i].at -= used
	}
}

// roomKept bounds the memory that a buffer holds on to while nothing waits in it.
const roomKept = 4096

func (b *buffer) clear() {
	if cap(b.levels) > roomKept {
		b.levels, b.updates = nil, nil
	}
	b.levels, b.updates, b.head = b.levels[:0], b.updates[:0], 0
}
