package orderbook_test

import (
	"encoding/binary"
	"hash/crc32"
	"reflect"
	"testing"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

func levels(pairs ...int64) []orderbook.Level {
	var out []orderbook.Level
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, orderbook.Level{
			Price:    orderbook.Fixed(pairs[i]) * orderbook.One,
			Quantity: orderbook.Fixed(pairs[i+1]) * orderbook.One,
		})
	}
	return out
}

func TestUpdateCloneIsIndependent(t *testing.T) {
	u := &orderbook.Update{
		FirstID: 7, LastID: 9, PrevLastID: 5, EventTime: time.Unix(3, 4), TransactTime: time.Unix(3, 1),
		Bids: levels(10, 1, 9, 2), Asks: levels(11, 3),
	}
	c := u.Clone()
	if !reflect.DeepEqual(c, u) {
		t.Fatalf("Clone = %+v, want %+v", c, u)
	}
	want := u.Clone()
	u.Bids[0], u.Asks[0], u.LastID = orderbook.Level{}, orderbook.Level{}, 0
	if !reflect.DeepEqual(c, want) {
		t.Errorf("changing the original changed the clone: %+v", c)
	}
	c.Bids = append(c.Bids, levels(8, 8)...)
	if c.Asks[0] != want.Asks[0] {
		t.Errorf("appending to the clone's bids changed its asks: %+v", c.Asks)
	}
}

func TestSnapshotCloneIsIndependent(t *testing.T) {
	s := &orderbook.Snapshot{
		LastID: 9, EventTime: time.Unix(3, 4), TransactTime: time.Unix(3, 1),
		Bids: levels(10, 1, 9, 2), Asks: levels(11, 3),
	}
	c := s.Clone()
	if !reflect.DeepEqual(c, s) {
		t.Fatalf("Clone = %+v, want %+v", c, s)
	}
	want := s.Clone()
	s.Bids[0], s.Asks[0], s.LastID = orderbook.Level{}, orderbook.Level{}, 0
	if !reflect.DeepEqual(c, want) {
		t.Errorf("changing the original changed the clone: %+v", c)
	}
	c.Bids = append(c.Bids, levels(8, 8)...)
	if c.Asks[0] != want.Asks[0] {
		t.Errorf("appending to the clone's bids changed its asks: %+v", c.Asks)
	}
}

func TestSetLimit(t *testing.T) {
	none := orderbook.Bound{}
	for name, test := range map[string]struct {
		limit    int
		bid, ask orderbook.Bound
	}{
		"no limit":       {0, none, none},
		"a negative one": {-1, none, none},
		"not reached":    {4, none, none},
		"by one side":    {3, orderbook.Bound{Price: 8 * orderbook.One, Limited: true}, none},
		"by both": {2, orderbook.Bound{Price: 8 * orderbook.One, Limited: true},
			orderbook.Bound{Price: 12 * orderbook.One, Limited: true}},
	} {
		snap := &orderbook.Snapshot{Bids: levels(10, 1, 9, 2, 8, 3), Asks: levels(11, 4, 12, 5)}
		snap.SetLimit(9)
		snap.SetLimit(test.limit)
		if snap.BidBound != test.bid || snap.AskBound != test.ask {
			t.Errorf("%s: bounds %+v and %+v", name, snap.BidBound, snap.AskBound)
		}
	}
	empty := &orderbook.Snapshot{LastID: -1}
	if empty.SetLimit(5000); empty.BidBound != none || empty.AskBound != none {
		t.Errorf("an empty snapshot is not known to its end: %+v", empty)
	}
}

func checksumBook() *orderbook.Book {
	var b orderbook.Book
	b.Reset(&orderbook.Snapshot{
		LastID: 160,
		Bids:   []orderbook.Level{{65000 * orderbook.One, orderbook.One / 2}, {64999 * orderbook.One, 1}},
		Asks:   []orderbook.Level{{65001 * orderbook.One, 3}},
	})
	return &b
}

// The checksum is the standard library's CRC of the integers listed in its doc comment, for a book and for
// its snapshot.
func TestChecksum(t *testing.T) {
	b := checksumBook()
	var text []byte
	for _, v := range []int64{160, 2, int64(65000 * orderbook.One), int64(orderbook.One / 2), int64(64999 * orderbook.One), 1, 1, int64(65001 * orderbook.One), 3} {
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
	for name, change := range map[string]func(*orderbook.Snapshot){
		"id":       func(s *orderbook.Snapshot) { s.LastID++ },
		"price":    func(s *orderbook.Snapshot) { s.Bids[0].Price++ },
		"quantity": func(s *orderbook.Snapshot) { s.Asks[0].Quantity++ },
		"missing":  func(s *orderbook.Snapshot) { s.Bids = s.Bids[:1] },
		"side":     func(s *orderbook.Snapshot) { s.Asks, s.Bids = append(s.Bids[1:2:2], s.Asks...), s.Bids[:1] },
		"order":    func(s *orderbook.Snapshot) { s.Bids[0], s.Bids[1] = s.Bids[1], s.Bids[0] },
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
