package orderbook_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"reflect"
	"slices"
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

// Prices and quantities below zero are refused, whichever side and level they are on.
func TestValidate(t *testing.T) {
	good := levels(3, 1, 2, 0, 0, 5)
	bad := [][]orderbook.Level{
		{{Price: -1, Quantity: 1}}, {{Price: 1, Quantity: -1}}, {{Price: orderbook.MinFixed}},
		append(slices.Clone(good), orderbook.Level{Price: orderbook.MaxFixed, Quantity: orderbook.MinFixed}),
	}
	for _, side := range bad {
		for _, levels := range [][2][]orderbook.Level{{side, good}, {good, side}, {side, nil}, {nil, side}} {
			u := orderbook.Update{Bids: levels[0], Asks: levels[1]}
			s := orderbook.Snapshot{Bids: levels[0], Asks: levels[1]}
			for _, err := range []error{u.Validate(), s.Validate()} {
				var number *orderbook.NumberError
				if !errors.As(err, &number) || number.Err != orderbook.ErrRange || number.Input[0] != '-' {
					t.Errorf("%v was accepted: %v", levels, err)
				}
			}
		}
	}
	var sequence *orderbook.SequenceError
	if err := (&orderbook.Update{FirstID: 8, LastID: 7}).Validate(); !errors.As(err, &sequence) || sequence.Want != 8 || sequence.Got != 7 {
		t.Errorf("an update that ends before it begins: %v", err)
	}
	bound := orderbook.Snapshot{AskBound: orderbook.Bound{Price: -1, Limited: true}}
	if err := bound.Validate(); !errors.Is(err, orderbook.ErrRange) {
		t.Errorf("a bound below zero: %v", err)
	}
	extreme := []orderbook.Level{{}, {Price: orderbook.MaxFixed, Quantity: orderbook.MaxFixed}}
	u, s := orderbook.Update{Bids: good, Asks: extreme}, orderbook.Snapshot{Bids: extreme, Asks: good}
	if err := errors.Join(u.Validate(), s.Validate()); err != nil {
		t.Error(err)
	}
}

// A Syncer and a Joiner refuse numbers below zero: the book ends, or does not begin.
func TestNumbersBelowZeroAreRefused(t *testing.T) {
	bad := []orderbook.Level{{Price: -1, Quantity: 1}}
	now := time.Unix(1000, 0)
	s, err := orderbook.NewSyncer(orderbook.SyncerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	fetch := s.Connected(now).Fetch
	if out := s.Snapshot(now, fetch, &orderbook.Snapshot{LastID: 1, Asks: bad}); len(out.Events) > 0 || s.State() != orderbook.Buffering {
		t.Errorf("a snapshot with a price below zero: %+v, %v", out, s.State())
	}
	now = now.Add(time.Hour)
	if fetch = s.Tick(now).Fetch; fetch == 0 {
		t.Error("no other snapshot is requested")
	}
	s.Snapshot(now, fetch, &orderbook.Snapshot{LastID: 1, Bids: levels(1, 1)})
	checkInvalid(t, s.Update(now, &orderbook.Update{FirstID: 2, LastID: 2, Bids: bad}))

	for _, e := range []orderbook.Event{
		{Update: &orderbook.Update{FirstID: 2, LastID: 2, Bids: bad}}, {Snapshot: &orderbook.Snapshot{LastID: 2, Bids: bad}},
	} {
		j, err := orderbook.NewJoiner(orderbook.JoinerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		if out := j.Join(e); len(out.Events) > 0 || j.State() == orderbook.Synced {
			t.Errorf("before the book is synced: %+v", out)
		}
		j.Join(orderbook.Event{Snapshot: &orderbook.Snapshot{LastID: 1, Bids: levels(1, 1)}})
		checkInvalid(t, j.Join(e))
		out := j.Join(orderbook.Event{Snapshot: &orderbook.Snapshot{LastID: 2, Bids: levels(1, 2)}})
		if len(out.Events) != 1 || out.Events[0].Snapshot == nil {
			t.Errorf("the next snapshot: %+v", out)
		}
	}
}

func checkInvalid(t *testing.T, out orderbook.Output) {
	t.Helper()
	if len(out.Events) != 1 || out.Events[0].Gap == nil || out.Events[0].Gap.Reason != orderbook.GapInvalid ||
		!errors.Is(out.Events[0].Gap.Err, orderbook.ErrRange) {
		t.Errorf("a price below zero: %+v", out.Events)
	}
}
