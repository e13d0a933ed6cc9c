package orderbook_test

import (
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/marketprism/marketprism/orderbook"
	"github.com/shopspring/decimal"
)

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
