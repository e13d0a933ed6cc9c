package orderbook

import "math"

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

// Microprice returns the mid weighted by the quantities at the touch: much quantity on the bid draws
// it to the ask. It is false if a side is empty.
func (b *Book) Microprice() (float64, bool) {
	bid, ask, ok := b.touch()
	if !ok {
		return 0, false
	}
	bidQty, askQty := bid.Quantity.Float64(), ask.Quantity.Float64()
	return (bid.Price.Float64()*askQty + ask.Price.Float64()*bidQty) / (bidQty + askQty), true
}

// Imbalance returns (bids - asks) / (bids + asks) of the quantities on the best n levels of each
// side, all if n is negative: 1 is all bids, -1 all asks. It is false if those levels are none.
func (b *Book) Imbalance(n int) (float64, bool) {
	bids, asks := b.bids.quantity(n), b.asks.quantity(n)
	if bids+asks == 0 {
		return 0, false
	}
	return (bids - asks) / (bids + asks), true
}

func (b *Book) touch() (bid, ask Level, ok bool) {
	bid, ok1 := b.BestBid()
	ask, ok2 := b.BestAsk()
	return bid, ask, ok1 && ok2
}

// quantity sums the best n levels as a float: the exact sum can be outside Fixed.
func (l *ladder) quantity(n int) float64 {
	if n < 0 || n > len(l.levels) {
		n = len(l.levels)
	}
	var sum float64
	for _, level := range l.levels[len(l.levels)-n:] {
		sum += level.Quantity.Float64()
	}
	return sum
}

// A Side is one of the two halves of a book.
type Side uint8

// The sides.
const (
	Bid Side = iota // who wants to buy
	Ask             // who wants to sell
)

// String returns "bid" or "ask".
func (s Side) String() string {
	if s == Bid {
		return "bid"
	}
	return "ask"
}

func (b *Book) side(s Side) *ladder {
	if s == Bid {
		return &b.bids
	}
	return &b.asks
}

// DepthTo returns the quantity resting on a side at prices as good as limit or better, and whether
// it fits a Fixed; if not it is MaxFixed. It is the exchange's if Knows(s, limit).
func (b *Book) DepthTo(s Side, limit Fixed) (Fixed, bool) {
	l := b.side(s)
	var sum Fixed
	for i := len(l.levels) - 1; i >= 0 && l.levels[i].Price^l.order >= limit^l.order; i-- {
		if sum > math.MaxInt64-l.levels[i].Quantity {
			return MaxFixed, false
		}
		sum += l.levels[i].Quantity
	}
	return sum, true
}
