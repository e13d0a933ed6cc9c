package orderbook

// A Bound is how far one side of a book is known. The zero Bound is none: the side is known to its
// end.
type Bound struct {
	Price   Fixed // the worst price at which the side is known; without meaning unless Limited
	Limited bool  // of prices worse than Price it is not known which levels there are
}

// SetLimit says that the snapshot is the venue's answer to a request for at most limit levels a side:
// a side with that many is known to its last price, a side with fewer to its end. A limit of 0 or
// less says that nothing was cut. The sides must be there already, best first.
//
// Binance spot, How to manage a local order book correctly: "Since depth snapshots retrieved from the
// API have a limit on the number of price levels (5000 on each side maximum), you won't learn the
// quantities for the levels outside of the initial snapshot unless they change."
func (s *Snapshot) SetLimit(limit int) {
	s.BidBound, s.AskBound = boundOf(s.Bids, limit), boundOf(s.Asks, limit)
}

func boundOf(bestFirst []Level, limit int) Bound {
	if limit <= 0 || len(bestFirst) < limit {
		return Bound{}
	}
	return Bound{Price: bestFirst[len(bestFirst)-1].Price, Limited: true}
}

// Known returns how far a side is known: exact at bound and at every better price if limited, and
// everywhere if not. A level beyond the bound is one that an update set, but there can be others
// that no update has shown. Updates never move the bound; Reset sets it and Prune draws it in.
func (b *Book) Known(s Side) (bound Fixed, limited bool) {
	l := b.side(s)
	return l.bound.Price, l.bound.Limited
}

// KnownDepth returns how many levels of a side lie within its known range. It is 0 where the market
// has moved through the bound: then even the best price is uncertain.
func (b *Book) KnownDepth(s Side) int {
	l := b.side(s)
	if !l.bound.Limited {
		return len(l.levels)
	}
	return len(l.levels) - l.search(l.bound.Price^l.order, 0)
}

// KnowsTop reports whether the best n levels of a side are the exchange's: they lie within the known
// range, or the side has no more and is known to its end. It holds for the reads of the best n:
// AppendBids, AppendAsks, Imbalance and, with n = 1, BestBid, BestAsk, Spread, Mid and Microprice.
func (b *Book) KnowsTop(s Side, n int) bool { return b.side(s).knowsTop(n) }

// Knows reports whether a side is known at a price, and so at all better ones. It holds for
// DepthTo with that price.
func (b *Book) Knows(s Side, price Fixed) bool { return b.side(s).knows(price) }

// Prune drops all but the best n levels of each side and draws the bound of a side that had more in
// to the last price it keeps. An n below 1 drops nothing.
func (b *Book) Prune(n int) {
	if n > 0 {
		b.bids.prune(n)
		b.asks.prune(n)
	}
}

// pruneGrown prunes a side to n levels once it has an eighth more, since pruning moves all that it keeps.
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
