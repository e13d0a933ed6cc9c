package orderbook

import "testing"

// A book that was large once gives the memory back.
func TestPruneGivesRoomBack(t *testing.T) {
	var b Book
	s := &Snapshot{}
	for price := Fixed(10_000); price > 0; price-- {
		s.Bids = append(s.Bids, Level{Price: price, Quantity: 1})
	}
	b.Reset(s)
	if b.Prune(100); len(b.bids.levels) != 100 || cap(b.bids.levels) > 400 {
		t.Errorf("%d levels in room for %d", len(b.bids.levels), cap(b.bids.levels))
	}
}
