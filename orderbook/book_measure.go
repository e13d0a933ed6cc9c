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

// Microprice returns the mid weighted by the quantities at the touch: a large bid quantity moves
// it towards the ask. It is false if a side is empty.
func (b *Book) Microprice() (float64, bool) {
	bid, ask, ok := b.touch()
	if !ok {
		return 0, false
	}
	bidQty, askQty := bid.Quantity.Float64(), ask.Quantity.Float64()
	return (bid.Price.Float64()*askQty + ask.Price.Float64()*bidQty) / (bidQty + askQty), true
}

// Imbalance returns (bids - asks) / (bids + asks) of the quantities on the best n levels of each
// side, all if n is negative: 1 is all bids, -1 all asks. It is false if there are no such levels.
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

// DepthTo returns the quantity resting on a side at limit and better prices, and whether
// it fits a Fixed; if not it is MaxFixed. It is exact if Knows(s, limit).
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

// Known returns the known depth of a side: complete down to bound if limited, and to its end if not. Levels
// beyond the bound come from updates and are exact, but others that did not change are missing there. Updates
// never move the bound; Reset sets it and Prune moves it in.
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
// AppendBids, AppendAsks, Imbalance and, with n = 1, BestBid, BestAsk, Spread, Mid and Microprice.
func (b *Book) KnowsTop(s Side, n int) bool { return b.side(s).knowsTop(n) }

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
