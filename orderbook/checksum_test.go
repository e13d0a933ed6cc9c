package orderbook

import (
	"encoding/binary"
	"hash/crc32"
	"testing"
)

func checksumBook() *Book {
	var b Book
	b.Reset(&Snapshot{
		LastID: 160,
		Bids:   []Level{{65000 * One, One / 2}, {64999 * One, 1}},
		Asks:   []Level{{65001 * One, 3}},
	})
	return &b
}

// The checksum is the CRC of the standard library over the words that its comment names, and the same of
// a book and of its snapshot.
func TestChecksum(t *testing.T) {
	b := checksumBook()
	var text []byte
	for _, v := range []int64{160, 2, int64(65000 * One), int64(One / 2), int64(64999 * One), 1, 1, int64(65001 * One), 3} {
		text = binary.LittleEndian.AppendUint64(text, uint64(v))
	}
	want := crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli))
	if got := b.Checksum(); got != want {
		t.Errorf("Book: %#x, want %#x", got, want)
	}
	snap := b.Snapshot()
	if got := snap.Checksum(); got != want {
		t.Errorf("Snapshot: %#x, want %#x", got, want)
	}
}

func TestChecksumSeesEveryChange(t *testing.T) {
	want := checksumBook().Checksum()
	for name, change := range map[string]func(*Snapshot){
		"id":       func(s *Snapshot) { s.LastID++ },
		"price":    func(s *Snapshot) { s.Bids[0].Price++ },
		"quantity": func(s *Snapshot) { s.Asks[0].Quantity++ },
		"missing":  func(s *Snapshot) { s.Bids = s.Bids[:1] },
		"side":     func(s *Snapshot) { s.Asks, s.Bids = append(s.Bids[1:2:2], s.Asks...), s.Bids[:1] },
		"order":    func(s *Snapshot) { s.Bids[0], s.Bids[1] = s.Bids[1], s.Bids[0] },
	} {
		snap := checksumBook().Snapshot()
		change(&snap)
		if snap.Checksum() == want {
			t.Errorf("%s: not seen", name)
		}
	}
}

func TestChecksumDoesNotAllocate(t *testing.T) {
	b := checksumBook()
	snap := b.Snapshot()
	if n := testing.AllocsPerRun(100, func() { _ = b.Checksum() + snap.Checksum() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
