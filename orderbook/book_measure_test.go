package orderbook_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/marketprism/marketprism/orderbook"
)

// exampleBook has bids 10x1 9x2 8x3 and asks 11x4 13x5.
func exampleBook() *orderbook.Book {
	var b orderbook.Book
	b.Reset(&orderbook.Snapshot{Bids: levels(10, 1, 9, 2, 8, 3), Asks: levels(11, 4, 13, 5)})
	return &b
}

func TestMeasures(t *testing.T) {
	b := exampleBook()
	if spread, ok := b.Spread(); !ok || spread != orderbook.One {
		t.Errorf("Spread = %v, %t", spread, ok)
	}
	if mid, ok := b.Mid(); !ok || mid != 10.5 {
		t.Errorf("Mid = %v, %t", mid, ok)
	}
	if micro, ok := b.Microprice(); !ok || micro != (10*4+11*1)/5. {
		t.Errorf("Microprice = %v, %t", micro, ok)
	}
	for n, want := range map[int]float64{1: (1 - 4) / 5., 2: (3 - 9) / 12., 3: (6 - 9) / 15., 9: (6 - 9) / 15., -1: (6 - 9) / 15.} {
		if got, ok := b.Imbalance(n); !ok || math.Abs(got-want) > 1e-15 {
			t.Errorf("Imbalance(%d) = %v, %t; want %v", n, got, ok, want)
		}
	}
	if got, ok := b.Imbalance(0); ok {
		t.Errorf("Imbalance of no levels = %v", got)
	}
}

func TestMeasuresOfAnEmptySide(t *testing.T) {
	var empty, bidsOnly, asksOnly orderbook.Book
	bidsOnly.Apply(&orderbook.Update{Bids: levels(10, 1)})
	asksOnly.Apply(&orderbook.Update{Asks: levels(10, 1)})
	for name, b := range map[string]*orderbook.Book{"empty": &empty, "bids only": &bidsOnly, "asks only": &asksOnly} {
		_, spread := b.Spread()
		_, mid := b.Mid()
		_, micro := b.Microprice()
		if spread || mid || micro {
			t.Errorf("%s: Spread %t, Mid %t, Microprice %t", name, spread, mid, micro)
		}
	}
	if _, ok := empty.Imbalance(-1); ok {
		t.Error("an empty book has an imbalance")
	}
	if got, ok := bidsOnly.Imbalance(-1); !ok || got != 1 {
		t.Errorf("bids only: Imbalance = %v, %t", got, ok)
	}
	if got, ok := asksOnly.Imbalance(-1); !ok || got != -1 {
		t.Errorf("asks only: Imbalance = %v, %t", got, ok)
	}
}

func TestDepthTo(t *testing.T) {
	b := exampleBook()
	for _, test := range []struct {
		side  orderbook.Side
		limit orderbook.Fixed
		want  orderbook.Fixed
	}{
		{orderbook.Bid, 11, 0}, {orderbook.Bid, 10, 1}, {orderbook.Bid, 9, 3}, {orderbook.Bid, 1, 6},
		{orderbook.Ask, 10, 0}, {orderbook.Ask, 11, 4}, {orderbook.Ask, 12, 4}, {orderbook.Ask, 13, 9},
	} {
		if got, ok := b.DepthTo(test.side, test.limit*orderbook.One); !ok || got != test.want*orderbook.One {
			t.Errorf("DepthTo(%v, %d) = %v, %t; want %d", test.side, test.limit, got, ok, test.want)
		}
	}
	b.Apply(&orderbook.Update{Bids: []orderbook.Level{{Price: 7 * orderbook.One, Quantity: orderbook.MaxFixed}}})
	if got, ok := b.DepthTo(orderbook.Bid, 0); ok || got != orderbook.MaxFixed {
		t.Errorf("a sum beyond MaxFixed: %v, %t", got, ok)
	}
	var empty orderbook.Book
	if got, ok := empty.DepthTo(orderbook.Ask, orderbook.MaxFixed); !ok || got != 0 {
		t.Errorf("an empty book: %v, %t", got, ok)
	}
}

// cutBook knows its bids down to 8 and its asks up to 13; the bid 5 and the ask 20 came by updates.
func cutBook() *orderbook.Book {
	snap := &orderbook.Snapshot{LastID: 1, Bids: levels(10, 1, 9, 2, 8, 3), Asks: levels(11, 4, 12, 5, 13, 6)}
	snap.SetLimit(3)
	var b orderbook.Book
	b.Reset(snap)
	b.Apply(&orderbook.Update{LastID: 2, Bids: levels(5, 7), Asks: levels(20, 8)})
	return &b
}

func TestKnownDepth(t *testing.T) {
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
	b.Prune(4) // the last one kept is beyond the bound, which stays
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

// A book cut by snapshots and pruned at random is compared with one that never was.
func TestKnownDepthIsExact(t *testing.T) {
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
