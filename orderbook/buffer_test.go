package orderbook

import (
	"testing"
	"time"
)

func bufferedUpdates(n int) []*Update {
	updates := make([]*Update, n)
	for i := range updates {
		updates[i] = &Update{
			FirstID: int64(i), LastID: int64(i),
			Bids: make([]Level, 100*(i%3)), Asks: make([]Level, i%5),
		}
	}
	return updates
}

// Updates that were read count no longer, whether their memory is free again or not.
func TestBufferBytesCountsPendingUpdatesOnly(t *testing.T) {
	updates := bufferedUpdates(20)
	for read := range updates {
		var b, fresh buffer
		for _, u := range updates {
			b.add(time.Time{}, u)
		}
		for range read {
			b.next()
		}
		for _, u := range updates[read:] {
			fresh.add(time.Time{}, u)
		}
		for _, u := range updates {
			if got, want := b.bytes(u), fresh.bytes(u); got != want {
				t.Fatalf("%d of %d read: one more update makes %d bytes, want %d", read, len(updates), got, want)
			}
			b.add(time.Time{}, u) // compacts the buffer once most of it is read
			fresh.add(time.Time{}, u)
		}
	}
}
