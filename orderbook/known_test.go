package orderbook_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/marketprism/marketprism/orderbook"
)

// cutBook knows its bids down to 8 and its asks up to 13; the bid 5 and the ask 20 came by updates.
func cutBook() *orderbook.Book {
	snap := &orderbook.Snapshot{LastID: 1, Bids: levels(10, 1, 9, 2, 8, 3), Asks: levels(11, 4, 12, 5, 13, 6)}
	snap.SetLimit(3)
	var b orderbook.Book
	b.Reset(snap)
	b.Apply(&orderbook.Update{LastID: 2, Bids: levels(5, 7), Asks: levels(20, 8)})
	return &b
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

func TestKnownRange(t *testing.T) {
	const one = orderbook.One
	b := cutBook()
	check := func(when string, s orderbook.Side, bound orderbook.Fixed, depth int) {
		t.Helper()
		if got, limited := b.Known(s); got != bound || !limited || b.KnownDepth(s) != depth {
			t.Errorf("%s: %v known to %v, limited %t, with %d levels; want %v with %d", when, s, got, limited, b.KnownDepth(s), bound, depth)
		}
		for n := range 7 {
			if b.KnowsTop(s, n) != (n <= depth) {
				t.Errorf("%s: KnowsTop(%v, %d) = %t", when, s, n, b.KnowsTop(s, n))
			}
		}
	}
	check("at first", orderbook.Bid, 8*one, 3)
	check("at first", orderbook.Ask, 13*one, 3)
	if !b.Knows(orderbook.Bid, 8*one) || b.Knows(orderbook.Bid, 8*one-1) || !b.Knows(orderbook.Ask, 13*one) || b.Knows(orderbook.Ask, 13*one+1) {
		t.Error("Knows does not follow the bounds")
	}
	b.Apply(&orderbook.Update{LastID: 3, Bids: levels(8, 0, 7, 1), Asks: levels(10, 1)})
	check("the level at the bound is gone", orderbook.Bid, 8*one, 2)
	check("a new best level", orderbook.Ask, 13*one, 4)
	b.Apply(&orderbook.Update{LastID: 4, Bids: levels(10, 0, 9, 0)})
	check("the market moved through the bound", orderbook.Bid, 8*one, 0)
	if best, ok := b.BestBid(); !ok || best != levels(7, 1)[0] {
		t.Errorf("the best bid seen is %v", best)
	}
	b.Apply(&orderbook.Update{LastID: 5, Bids: levels(8, 2)})
	check("the market came back", orderbook.Bid, 8*one, 1)

	snap, clone := b.Snapshot(), b.Clone()
	if b.Reset(&snap); snap.BidBound.Price != 8*one {
		t.Errorf("Snapshot forgot the bound: %+v", snap)
	}
	check("after a copy", orderbook.Bid, 8*one, 1)
	if clone.KnownDepth(orderbook.Ask) != 4 || clone.KnowsTop(orderbook.Ask, 5) {
		t.Error("Clone forgot the bound")
	}
	b.Reset(&orderbook.Snapshot{Bids: levels(3, 1)})
	if _, limited := b.Known(orderbook.Bid); limited || b.KnownDepth(orderbook.Bid) != 1 || !b.KnowsTop(orderbook.Bid, 100) || !b.Knows(orderbook.Bid, 1) {
		t.Error("a whole snapshot leaves a bound")
	}
}

func TestZeroBookIsKnown(t *testing.T) {
	var b orderbook.Book
	for _, s := range []orderbook.Side{orderbook.Bid, orderbook.Ask} {
		if _, limited := b.Known(s); limited || b.KnownDepth(s) != 0 || !b.KnowsTop(s, 1) || !b.Knows(s, 1) {
			t.Errorf("%v of an empty book is not known", s)
		}
	}
	b.Prune(1)
}

// A read that stays inside is the exchange's; one that leaves the range, or ends with what the book
// has, is not.
func TestFillSaysWhetherItIsKnown(t *testing.T) {
	const one = orderbook.One
	b := cutBook()
	for name, test := range map[string]struct {
		fill orderbook.Fill
		want bool
	}{
		"up to the bound":                   {b.FillQuantity(orderbook.Ask, 15*one), true},
		"one unit beyond":                   {b.FillQuantity(orderbook.Ask, 15*one+1), false},
		"all there is":                      {b.FillQuantity(orderbook.Ask, 23*one), false},
		"more than there is":                {b.FillQuantity(orderbook.Bid, 99*one), false},
		"nothing":                           {b.FillQuantity(orderbook.Bid, 0), true},
		"money up to the bound":             {b.FillNotional(orderbook.Ask, 182*one), true},
		"money that pays for part of it":    {b.FillNotional(orderbook.Ask, 181*one), true},
		"money left for what is not known":  {b.FillNotional(orderbook.Ask, 182*one+1), false},
		"proceeds up to the bound":          {b.FillNotional(orderbook.Bid, 52*one), true},
		"proceeds beyond":                   {b.FillNotional(orderbook.Bid, 53*one), false},
		"proceeds beyond all there is":      {b.FillNotional(orderbook.Bid, 999*one), false},
		"no money":                          {b.FillNotional(orderbook.Bid, 0), true},
		"nothing of a side that is unknown": {unknownSide().FillNotional(orderbook.Ask, 1), false},
		"an empty side that is cut":         {unknownSide().FillQuantity(orderbook.Bid, 1), false},
	} {
		if test.fill.Known != test.want {
			t.Errorf("%s: %+v", name, test.fill)
		}
	}
}

// unknownSide has no level within its ranges, and no bid at all.
func unknownSide() *orderbook.Book {
	b := cutBook()
	b.Apply(&orderbook.Update{LastID: 3, Bids: levels(10, 0, 9, 0, 8, 0, 5, 0), Asks: levels(11, 0, 12, 0, 13, 0)})
	return b
}

func TestPrune(t *testing.T) {
	const one = orderbook.One
	b := cutBook()
	b.Prune(0)
	b.Prune(-1)
	b.Prune(4)
	if b.BidCount() != 4 || b.KnownDepth(orderbook.Bid) != 3 {
		t.Errorf("pruned without need: %+v", b.Snapshot())
	}
	b.Apply(&orderbook.Update{LastID: 3, Bids: levels(4, 1)})
	b.Prune(4) // the last one kept lies beyond the bound, which stays
	if bound, _ := b.Known(orderbook.Bid); bound != 8*one || b.BidCount() != 4 {
		t.Errorf("%+v", b.Snapshot())
	}
	b.Prune(2)
	snap := b.Snapshot()
	if !slices.Equal(snap.Bids, levels(10, 1, 9, 2)) || snap.BidBound.Price != 9*one ||
		!slices.Equal(snap.Asks, levels(11, 4, 12, 5)) || snap.AskBound.Price != 12*one {
		t.Errorf("%+v", snap)
	}
	var whole orderbook.Book
	whole.Reset(&orderbook.Snapshot{Bids: levels(3, 1, 2, 1), Asks: levels(5, 1)})
	whole.Prune(1)
	if bound, limited := whole.Known(orderbook.Bid); bound != 3*one || !limited {
		t.Errorf("the bids are known to %v, %t", bound, limited)
	}
	if _, limited := whole.Known(orderbook.Ask); limited {
		t.Error("a side from which nothing was pruned got a bound")
	}
}

// A book cut by a snapshot and pruned at random is held against one that never was.
func TestKnownRangeIsExact(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 5))
		span := []int64{8, 30, 200}[seed%3]
		truth, b := newOracleBook(), orderbook.Book{}
		for id := range int64(400) {
			if id%100 == 0 {
				limit := r.IntN(12)
				snap := truth.snapshot(limit)
				snap.SetLimit(limit)
				b.Reset(snap)
			}
			u := randomUpdate(r, id, span)
			b.Apply(u)
			truth.apply(u)
			if r.IntN(20) == 0 {
				b.Prune(1 + r.IntN(15))
			}
			if err := truth.contradicts(&b); err != nil {
				t.Fatalf("seed %d, update %d: %v", seed, id, err)
			}
		}
	}
}
