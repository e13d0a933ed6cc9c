package orderbook

import (
	"math/big"
	"math/bits"

	"github.com/shopspring/decimal"
)

// Spread returns best ask minus best bid; false if a side is empty. A crossed book has a negative one.
func (b *Book) Spread() (Fixed, bool) {
	bid, ask, ok := b.touch()
	return ask.Price - bid.Price, ok
}

// Mid returns the price halfway between best bid and best ask; false if a side is empty.
func (b *Book) Mid() (float64, bool) {
	bid, ask, ok := b.touch()
	return (bid.Price.Float64() + ask.Price.Float64()) / 2, ok
}

// FixedMid returns Mid without a float. exact is false where it has a ninth decimal, a 5, which is then left out: the mid is
// rounded down. ok is false if a side is empty.
func (b *Book) FixedMid() (mid Fixed, exact, ok bool) {
	bid, ask, ok := b.touch()
	if !ok {
		return 0, false, false
	}
	mid = bid.Price/2 + ask.Price/2 + bid.Price&ask.Price&1 // the sum may be beyond MaxFixed
	return mid, (bid.Price^ask.Price)&1 == 0, true
}

// Microprice returns the mid weighted by the quantities at the touch: a large bid quantity moves
// it towards the ask. It is false if a side is empty, or if a best quantity is MaxFixed.
func (b *Book) Microprice() (float64, bool) {
	bid, ask, ok := b.touch()
	if !ok || max(bid.Quantity, ask.Quantity) == MaxFixed {
		return 0, false
	}
	bidQty, askQty := bid.Quantity.Float64(), ask.Quantity.Float64()
	return (bid.Price.Float64()*askQty + ask.Price.Float64()*bidQty) / (bidQty + askQty), true
}

// Imbalance returns (bids - asks) / (bids + asks) of the quantities on the best n levels of each
// side, all if n is negative: 1 is all bids, -1 all asks. It is false if there are no such levels, or if a
// quantity of one is MaxFixed.
func (b *Book) Imbalance(n int) (float64, bool) {
	bids, ok1 := b.bids.quantity(n)
	asks, ok2 := b.asks.quantity(n)
	if !ok1 || !ok2 || bids+asks == 0 {
		return 0, false
	}
	return (bids - asks) / (bids + asks), true
}

func (b *Book) touch() (bid, ask Level, ok bool) {
	bid, ok1 := b.BestBid()
	ask, ok2 := b.BestAsk()
	return bid, ask, ok1 && ok2
}

// DepthTo returns the quantity resting on a side at limit and better prices, and whether
// it is less than MaxFixed; if not it is MaxFixed, which means this or more. It is exact if Knows(s, limit).
func (b *Book) DepthTo(s Side, limit Fixed) (Fixed, bool) {
	l := b.side(s)
	var sum Fixed
	for i := len(l.levels) - 1; i >= 0 && l.levels[i].Price^l.order >= limit^l.order; i-- {
		if sum >= MaxFixed-l.levels[i].Quantity {
			return MaxFixed, false
		}
		sum += l.levels[i].Quantity
	}
	return sum, true
}

// Known returns the known depth of a side: complete down to bound if limited, and to its end if not. Levels
// beyond the bound come from updates and are exact, but others that did not change are missing there. Reset sets
// the bound and Prune moves it in. Updates do not move it, but for the first one of an instrument that never had any:
// after it the bids are known down to MaxFixed and the asks up to 0, which means not at all.
func (b *Book) Known(s Side) (bound Fixed, limited bool) {
	l := b.side(s)
	return l.bound.Price, l.bound.Limited
}

// KnownDepth returns how many levels of a side are within its known depth. It is 0 if the market
// has moved through the bound: then even the best price is uncertain.
func (b *Book) KnownDepth(s Side) int {
	l := b.side(s)
	if !l.bound.Limited {
		return len(l.levels)
	}
	return len(l.levels) - l.search(l.bound.Price^l.order, 0)
}

// KnowsTop reports whether the best n levels of a side are exact: they are within the known depth, or the
// side has no more and is known to its end. If so, reads of the best n levels are exact:
// AppendBids, AppendAsks and, with n = 1, BestBid and BestAsk.
func (b *Book) KnowsTop(s Side, n int) bool { return b.side(s).knowsTop(n) }

// KnowsTops is KnowsTop of both sides. If so, reads of both are exact too: Imbalance and, with n = 1, Spread, Mid, FixedMid and
// Microprice.
func (b *Book) KnowsTops(n int) bool { return b.bids.knowsTop(n) && b.asks.knowsTop(n) }

// Knows reports whether a side is complete down to a price. If so, DepthTo with that price is exact.
func (b *Book) Knows(s Side, price Fixed) bool { return b.side(s).knows(price) }

// Prune drops all but the best n levels of each side, and moves the bound of a side that had more in
// to the last price it keeps. An n below 1 drops nothing.
func (b *Book) Prune(n int) {
	if n > 0 {
		b.bids.prune(n)
		b.asks.prune(n)
	}
}

// pruneGrown prunes a side to n levels once it has an eighth more: pruning moves all levels that it keeps,
// so it should be rare. An n below 1 drops nothing.
func (b *Book) pruneGrown(n int) {
	if n <= 0 {
		return
	}
	for _, l := range [...]*ladder{&b.bids, &b.asks} {
		if len(l.levels) > n+n/8 {
			l.prune(n)
		}
	}
}

// A Fill is the cost of a market order by a book: it takes the levels of a side, best first, up to its size.
type Fill struct {
	Quantity Fixed           // filled
	Notional decimal.Decimal // the sum of price × quantity, exact
	Worst    Fixed           // the last price
	Levels   int             // how many levels it takes, the last one perhaps in part
	Complete bool            // the book had the whole size, it fits Quantity, and no level's quantity is MaxFixed
	Known    bool            // it is within the known depth: the exchange's book gives the same
}

// AveragePrice returns Notional / Quantity, rounded to 16 decimals; 0 if nothing was filled.
func (f Fill) AveragePrice() decimal.Decimal {
	if f.Quantity == 0 {
		return decimal.Zero
	}
	return f.Notional.DivRound(f.Quantity.Decimal(), 2*FractionDigits)
}

// FillQuantity returns the Fill of an order for that quantity on a side: Ask for a buyer, Bid
// for a seller.
func (b *Book) FillQuantity(s Side, quantity Fixed) Fill {
	var (
		f       Fill
		cost    product
		left    = quantity
		side    = b.side(s)
		atLeast = false // a level has its quantity or more
	)
	for level := range side.all {
		if left <= 0 {
			break
		}
		taken := min(left, level.Quantity)
		left -= taken
		cost.add(level.Price, taken)
		f.Quantity += taken
		f.Worst = level.Price
		f.Levels++
		atLeast = level.Quantity == MaxFixed
	}
	f.Notional = cost.decimal()
	f.Complete = left <= 0 && !atLeast
	f.Known = !side.bound.Limited || left <= 0 && (f.Levels == 0 || side.knows(f.Worst))
	return f
}

// FillNotional returns the Fill of an order that spends (or, for Bid, earns) that much. Of the last
// level it takes as many hundred-millionths as the rest pays for, rounded down, so Notional
// is at most notional and short of it by less than the price of one of them.
func (b *Book) FillNotional(s Side, notional Fixed) Fill {
	var (
		f           Fill
		cost, limit product
		side        = b.side(s)
		known       = true  // the levels so far are within the known depth
		whole       = false // all is spent
		atLeast     = false // a level has its quantity or more: it is the last, since it may have all that is wanted
	)
	limit.add(max(notional, 0), One)
	for level := range side.all {
		if cost == limit {
			break
		}
		known = side.knows(level.Price)
		taken := level.Quantity
		if level.Price > 0 {
			taken = min(taken, limit.sub(cost).quotient(level.Price))
		}
		room := MaxFixed - f.Quantity
		full := taken > room // the quantity does not fit a Fixed
		taken = min(taken, room)
		cost.add(level.Price, taken)
		f.Quantity += taken
		if taken > 0 {
			f.Worst = level.Price
			f.Levels++
		}
		atLeast = level.Quantity == MaxFixed
		if taken < level.Quantity || atLeast {
			whole = !full && taken < level.Quantity
			break
		}
	}
	whole = whole || cost == limit
	f.Complete = whole && !atLeast
	f.Known = whole && known || !whole && !side.bound.Limited && !atLeast
	f.Notional = cost.decimal()
	return f
}

// A product is an exact sum of products of two non-negative Fixed values: an integer number of
// 10^-16, in 128 bits.
type product struct {
	hi, lo uint64
}

func (p *product) add(a, b Fixed) {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	var carry uint64
	p.lo, carry = bits.Add64(p.lo, lo, 0)
	p.hi, _ = bits.Add64(p.hi, hi, carry)
}

// sub returns p - q, which must not be negative.
func (p product) sub(q product) product {
	lo, borrow := bits.Sub64(p.lo, q.lo, 0)
	hi, _ := bits.Sub64(p.hi, q.hi, borrow)
	return product{hi: hi, lo: lo}
}

// quotient returns p / d rounded down, at most MaxFixed.
func (p product) quotient(d Fixed) Fixed {
	if p.hi >= uint64(d) {
		return MaxFixed
	}
	q, _ := bits.Div64(p.hi, p.lo, uint64(d))
	return Fixed(min(q, uint64(MaxFixed)))
}

func (p product) decimal() decimal.Decimal {
	n := new(big.Int).SetUint64(p.hi)
	n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(p.lo))
	return decimal.NewFromBigInt(n, -2*FractionDigits)
}
