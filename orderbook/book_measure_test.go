package orderbook_test

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/shopspring/decimal"

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

// A mid between two prices that are an odd number of hundred-millionths apart has nine decimals, and the sum of two large
// prices does not fit: neither is rounded in silence or wraps.
func TestFixedMid(t *testing.T) {
	for _, test := range []struct {
		bid, ask, want string
		exact          bool
	}{
		{"10", "11", "10.5", true},
		{"67432.11", "67432.12", "67432.115", true},
		{"0.00000001", "0.00000002", "0.00000001", false},
		{"0.00000001", "0.00000003", "0.00000002", true},
		{"92233720368.54775805", "92233720368.54775807", "92233720368.54775806", true},
		{"92233720368.54775806", "92233720368.54775807", "92233720368.54775806", false},
		{"11", "10", "10.5", true}, // crossed
	} {
		bid, ask := orderbook.MustParse(test.bid), orderbook.MustParse(test.ask)
		var b orderbook.Book
		b.Reset(&orderbook.Snapshot{Bids: []orderbook.Level{{Price: bid, Quantity: 1}}, Asks: []orderbook.Level{{Price: ask, Quantity: 1}}})
		mid, exact, ok := b.FixedMid()
		if mid != orderbook.MustParse(test.want) || exact != test.exact || !ok {
			t.Errorf("FixedMid of %s and %s = %v, %t, %t; want %s, %t", test.bid, test.ask, mid, exact, ok, test.want, test.exact)
		}
		if f, _ := b.Mid(); math.Abs(f-mid.Float64()) > 1e-5 {
			t.Errorf("Mid of %s and %s = %v, FixedMid %v", test.bid, test.ask, f, mid)
		}
	}
}

// Spread and Mid are exact where both sides are known, not where one is.
func TestKnowsTops(t *testing.T) {
	b := exampleBook()
	if !b.KnowsTops(1) || !b.KnowsTops(9) {
		t.Error("a complete book does not know its tops")
	}
	limited := &orderbook.Snapshot{Bids: levels(10, 1, 9, 2, 8, 3), Asks: levels(11, 4)}
	limited.SetLimit(3) // cuts the bids alone
	b.Reset(limited)
	for n, want := range map[int]bool{1: true, 3: true, 4: false} {
		if got := b.KnowsTops(n); got != want || got != (b.KnowsTop(orderbook.Bid, n) && b.KnowsTop(orderbook.Ask, n)) {
			t.Errorf("KnowsTops(%d) = %t", n, got)
		}
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
		if fixed, exact, ok := b.FixedMid(); fixed != 0 || exact || ok {
			t.Errorf("%s: FixedMid = %v, %t, %t", name, fixed, exact, ok)
		}
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

func TestFill(t *testing.T) {
	b := exampleBook()
	one := orderbook.One
	tests := map[string]struct {
		got, want orderbook.Fill
		notional  string
		average   string
	}{
		"part of the best": {
			b.FillQuantity(orderbook.Ask, 2*one),
			orderbook.Fill{Quantity: 2 * one, Worst: 11 * one, Levels: 1, Complete: true, Known: true}, "22", "11"},
		"two levels": {
			b.FillQuantity(orderbook.Ask, 5*one),
			orderbook.Fill{Quantity: 5 * one, Worst: 13 * one, Levels: 2, Complete: true, Known: true}, "57", "11.4"},
		"exactly the side": {
			b.FillQuantity(orderbook.Bid, 6*one),
			orderbook.Fill{Quantity: 6 * one, Worst: 8 * one, Levels: 3, Complete: true, Known: true}, "52", "8.6666666666666667"},
		"more than there is": {
			b.FillQuantity(orderbook.Bid, 7*one),
			orderbook.Fill{Quantity: 6 * one, Worst: 8 * one, Levels: 3, Known: true}, "52", "8.6666666666666667"},
		"nothing": {
			b.FillQuantity(orderbook.Bid, 0),
			orderbook.Fill{Complete: true, Known: true}, "0", "0"},
		"an empty book": {
			new(orderbook.Book).FillQuantity(orderbook.Ask, one),
			orderbook.Fill{Known: true}, "0", "0"},
		"money for part of the best": {
			b.FillNotional(orderbook.Ask, 22*one),
			orderbook.Fill{Quantity: 2 * one, Worst: 11 * one, Levels: 1, Complete: true, Known: true}, "22", "11"},
		"money for two levels": {
			b.FillNotional(orderbook.Ask, 57*one),
			orderbook.Fill{Quantity: 5 * one, Worst: 13 * one, Levels: 2, Complete: true, Known: true}, "57", "11.4"},
		"money for exactly one level": {
			b.FillNotional(orderbook.Ask, 44*one),
			orderbook.Fill{Quantity: 4 * one, Worst: 11 * one, Levels: 1, Complete: true, Known: true}, "44", "11"},
		"money that does not divide": {
			b.FillNotional(orderbook.Ask, one),
			orderbook.Fill{Quantity: 9_090_909, Worst: 11 * one, Levels: 1, Complete: true, Known: true}, "0.99999999", "11"},
		"more money than the side takes": {
			b.FillNotional(orderbook.Bid, 53*one),
			orderbook.Fill{Quantity: 6 * one, Worst: 8 * one, Levels: 3, Known: true}, "52", "8.6666666666666667"},
		"no money": {
			b.FillNotional(orderbook.Ask, 0),
			orderbook.Fill{Complete: true, Known: true}, "0", "0"},
		"less than no money": {
			b.FillNotional(orderbook.Ask, -one),
			orderbook.Fill{Complete: true, Known: true}, "0", "0"},
	}
	for name, test := range tests {
		got := test.got
		got.Notional = decimal.Decimal{}
		if got != test.want || test.got.Notional.String() != test.notional || test.got.AveragePrice().String() != test.average {
			t.Errorf("%s: %+v notional %v average %v; want %+v %s %s",
				name, got, test.got.Notional, test.got.AveragePrice(), test.want, test.notional, test.average)
		}
	}
}

// TestFillAgainstBigNumbers compares fills of random books, of ordinary and of extreme numbers, with
// arithmetic that cannot overflow.
func TestFillAgainstBigNumbers(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	random := func() orderbook.Fixed { return 1 + orderbook.Fixed(r.Int64N(1<<(1+r.IntN(62)))) }
	for range 5000 {
		var b orderbook.Book
		u := &orderbook.Update{}
		for range r.IntN(6) {
			u.Asks = append(u.Asks, orderbook.Level{Price: random(), Quantity: random()})
		}
		b.Apply(u)
		size := random()
		checkFillQuantity(t, &b, size)
		checkFillNotional(t, &b, size)
	}
}

func bigOf(f orderbook.Fixed) *big.Int { return big.NewInt(int64(f)) }

func checkFillQuantity(t *testing.T, b *orderbook.Book, size orderbook.Fixed) {
	t.Helper()
	left, cost, count := size, new(big.Int), 0
	for level := range b.Asks() {
		if left == 0 {
			break
		}
		taken := min(left, level.Quantity)
		left -= taken
		cost.Add(cost, new(big.Int).Mul(bigOf(taken), bigOf(level.Price)))
		count++
	}
	got := b.FillQuantity(orderbook.Ask, size)
	if got.Quantity != size-left || got.Levels != count || got.Complete != (left == 0) ||
		!got.Notional.Equal(decimal.NewFromBigInt(cost, -2*orderbook.FractionDigits)) {
		t.Fatalf("FillQuantity(%v) of %v = %+v, want %v at cost %v", size, b.AppendAsks(nil, -1), got, size-left, cost)
	}
}

func checkFillNotional(t *testing.T, b *orderbook.Book, money orderbook.Fixed) {
	t.Helper()
	left := new(big.Int).Mul(bigOf(money), bigOf(orderbook.One))
	quantity, cost, complete := new(big.Int), new(big.Int), false
	for level := range b.Asks() {
		taken := new(big.Int).Quo(left, bigOf(level.Price))
		if taken.Cmp(bigOf(level.Quantity)) < 0 {
			complete = true
		} else {
			taken = bigOf(level.Quantity)
		}
		paid := new(big.Int).Mul(taken, bigOf(level.Price))
		left.Sub(left, paid)
		cost.Add(cost, paid)
		quantity.Add(quantity, taken)
		if complete {
			break
		}
	}
	complete = complete || left.Sign() == 0
	got := b.FillNotional(orderbook.Ask, money)
	if !quantity.IsInt64() {
		if got.Quantity != orderbook.MaxFixed || got.Complete {
			t.Fatalf("FillNotional(%v) of %v = %+v, want a quantity of MaxFixed, which is not all", money, b.AppendAsks(nil, -1), got)
		}
		return
	}
	if got.Quantity != orderbook.Fixed(quantity.Int64()) || got.Complete != complete ||
		!got.Notional.Equal(decimal.NewFromBigInt(cost, -2*orderbook.FractionDigits)) {
		t.Fatalf("FillNotional(%v) of %v = %+v, want %v at cost %v, complete %t", money, b.AppendAsks(nil, -1), got, quantity, cost, complete)
	}
}

// A Fill within the known depth is exact; one that leaves it, or takes all that the book has, is not.
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

// unknownSide has no level within its known depth, and no bid at all.
func unknownSide() *orderbook.Book {
	b := cutBook()
	b.Apply(&orderbook.Update{LastID: 3, Bids: levels(10, 0, 9, 0, 8, 0, 5, 0), Asks: levels(11, 0, 12, 0, 13, 0)})
	return b
}

// A level's quantity of MaxFixed means this or more. What depends on how much more says that it is not known.
func TestMeasuresOfAQuantityBeyondMaxFixed(t *testing.T) {
	const one = orderbook.One
	var b orderbook.Book
	b.Reset(&orderbook.Snapshot{
		Bids: []orderbook.Level{{Price: 10 * one, Quantity: one}, {Price: 9 * one, Quantity: orderbook.MaxFixed}},
		Asks: []orderbook.Level{{Price: 11 * one, Quantity: one}, {Price: 12 * one, Quantity: one}},
	})
	if _, ok := b.Microprice(); !ok {
		t.Error("no microprice, though both best quantities are known")
	}
	if got, ok := b.Imbalance(1); !ok || got != 0 {
		t.Errorf("Imbalance(1) = %v, %t", got, ok)
	}
	if got, ok := b.Imbalance(2); ok {
		t.Errorf("Imbalance(2) = %v", got)
	}
	if got, ok := b.DepthTo(orderbook.Bid, 10*one); !ok || got != one {
		t.Errorf("DepthTo(10) = %v, %t", got, ok)
	}
	if got, ok := b.DepthTo(orderbook.Bid, 9*one); ok || got != orderbook.MaxFixed {
		t.Errorf("DepthTo(9) = %v, %t", got, ok)
	}
	b.Apply(&orderbook.Update{Bids: levels(10, 0)})
	if got, ok := b.DepthTo(orderbook.Bid, 9*one); ok || got != orderbook.MaxFixed {
		t.Errorf("DepthTo of that level alone = %v, %t", got, ok)
	}
	if got, ok := b.Microprice(); ok {
		t.Errorf("Microprice = %v", got)
	}
	if mid, ok := b.Mid(); !ok || mid != 10 {
		t.Errorf("Mid = %v, %t", mid, ok)
	}
	if spread, ok := b.Spread(); !ok || spread != 2*one {
		t.Errorf("Spread = %v, %t", spread, ok)
	}
}

// TestFillBeyondMaxFixed compares fills of random books with those of the true book, whose quantities may be larger
// than MaxFixed: a Fill that touches such a level is not Complete, and one that says it is Known is the true one.
func TestFillBeyondMaxFixed(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	touched, unknown := 0, 0
	for range 5000 {
		var b orderbook.Book
		u := &orderbook.Update{}
		var truth []*big.Int // by index of u.Asks
		for i := range 1 + r.IntN(4) {
			q := 1 + orderbook.Fixed(r.Int64N(1<<(1+r.IntN(62))))
			more := new(big.Int)
			if r.IntN(3) == 0 {
				q = orderbook.MaxFixed
				more = more.Lsh(bigOf(orderbook.Fixed(r.Int64N(1<<30))), uint(r.IntN(40)))
			}
			u.Asks = append(u.Asks, orderbook.Level{Price: orderbook.Fixed(i*100 + 1 + r.IntN(100)), Quantity: q})
			truth = append(truth, more.Add(more, bigOf(q)))
		}
		b.Apply(u)
		size := 1 + orderbook.Fixed(r.Int64N(1<<(1+r.IntN(62))))
		money := new(big.Int).Mul(bigOf(size), bigOf(orderbook.One))
		for _, fill := range []orderbook.Fill{b.FillQuantity(orderbook.Ask, size), b.FillNotional(orderbook.Ask, size)} {
			beyond := false
			for _, l := range u.Asks[:fill.Levels] {
				beyond = beyond || l.Quantity == orderbook.MaxFixed
			}
			if beyond && fill.Complete {
				t.Fatalf("%+v of %v is Complete", fill, u.Asks)
			}
			if beyond {
				touched++
			}
		}
		left, bought := new(big.Int).Set(money), new(big.Int)
		for i, l := range u.Asks {
			taken := new(big.Int).Quo(left, bigOf(l.Price))
			if taken.Cmp(truth[i]) > 0 {
				taken.Set(truth[i])
			}
			left.Sub(left, new(big.Int).Mul(taken, bigOf(l.Price)))
			bought.Add(bought, taken)
			if taken.Cmp(truth[i]) < 0 {
				break
			}
		}
		fill := b.FillNotional(orderbook.Ask, size)
		if !fill.Known {
			unknown++
			continue
		}
		if bought.IsInt64() && fill.Quantity != orderbook.Fixed(bought.Int64()) {
			t.Fatalf("FillNotional(%v) of %v = %+v, the truth is %v", size, u.Asks, fill, bought)
		}
		if filled := b.FillQuantity(orderbook.Ask, size); !filled.Known {
			t.Fatalf("FillQuantity(%v) = %+v, which no level has more than", size, filled)
		}
	}
	if touched < 500 || unknown < 100 {
		t.Errorf("%d fills touched a level beyond MaxFixed, %d were unknown", touched, unknown)
	}
}
