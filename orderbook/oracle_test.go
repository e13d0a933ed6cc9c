package orderbook_test

import (
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/marketprism/marketprism/orderbook"
)

// An oracleBook is a book so simple that it is obviously right: one map a side. Tests compare the
// real Book with it.
type oracleBook struct {
	lastID             int64
	bids, asks         oracleSide
	bidBound, askBound orderbook.Bound
}

// An oracleSide maps prices to quantities, none of them 0.
type oracleSide map[orderbook.Fixed]orderbook.Fixed

func newOracleBook() *oracleBook {
	return &oracleBook{bids: oracleSide{}, asks: oracleSide{}}
}

func (o *oracleBook) reset(s *orderbook.Snapshot) {
	clear(o.bids)
	clear(o.asks)
	o.lastID = 0
	o.apply(&orderbook.Update{LastID: s.LastID, Bids: s.Bids, Asks: s.Asks})
	o.bidBound, o.askBound = s.BidBound, s.AskBound
}

func (o *oracleBook) apply(u *orderbook.Update) {
	if o.lastID == -1 { // nothing is known after the first update of a new instrument
		o.bidBound = orderbook.Bound{Price: orderbook.MaxFixed, Limited: true}
		o.askBound = orderbook.Bound{Price: 0, Limited: true}
	}
	o.lastID = u.LastID
	o.bids.set(u.Bids)
	o.asks.set(u.Asks)
}

func (o *oracleBook) clone() *oracleBook {
	c := *o
	c.bids, c.asks = maps.Clone(o.bids), maps.Clone(o.asks)
	return &c
}

// prune prunes as a Syncer does; a bound of 0 does nothing.
func (o *oracleBook) prune(maxDepth int) {
	if maxDepth > 0 {
		o.bidBound = o.bids.prune(maxDepth, true, o.bidBound)
		o.askBound = o.asks.prune(maxDepth, false, o.askBound)
	}
}

func (s oracleSide) prune(n int, descending bool, bound orderbook.Bound) orderbook.Bound {
	if len(s) <= n+n/8 {
		return bound
	}
	bestFirst := s.sorted(descending)
	for _, level := range bestFirst[n:] {
		delete(s, level.Price)
	}
	last := bestFirst[n-1].Price
	if bound.Limited && (descending && last < bound.Price || !descending && last > bound.Price) {
		return bound
	}
	return orderbook.Bound{Price: last, Limited: true}
}

// knownDepth counts the levels of each side within its bound; -1 if it has none.
func (o *oracleBook) knownDepth() (bids, asks int) {
	count := func(s oracleSide, bound orderbook.Bound, sign orderbook.Fixed) int {
		if !bound.Limited {
			return -1
		}
		n := 0
		for price := range s {
			if price*sign >= bound.Price*sign {
				n++
			}
		}
		return n
	}
	return count(o.bids, o.bidBound, 1), count(o.asks, o.askBound, -1)
}

// snapshot returns the best depth levels of each side, as a venue does; all if depth is 0.
func (o *oracleBook) snapshot(depth int) *orderbook.Snapshot {
	s := &orderbook.Snapshot{LastID: o.lastID, Bids: o.bids.sorted(true), Asks: o.asks.sorted(false)}
	if depth > 0 {
		s.Bids = s.Bids[:min(depth, len(s.Bids))]
		s.Asks = s.Asks[:min(depth, len(s.Asks))]
		s.SetLimit(depth)
	}
	return s
}

// differs returns an error if b is not this book: its id, its bounds, its levels, or their order.
func (o *oracleBook) differs(b *orderbook.Book) error {
	if b.LastID() != o.lastID {
		return fmt.Errorf("the book is at id %d, want %d", b.LastID(), o.lastID)
	}
	for side, want := range map[orderbook.Side]orderbook.Bound{orderbook.Bid: o.bidBound, orderbook.Ask: o.askBound} {
		if price, limited := b.Known(side); limited != want.Limited || limited && price != want.Price {
			return fmt.Errorf("the %ss are known to %v, limited %t; want %+v", side, price, limited, want)
		}
	}
	if err := o.bids.differs(b.Bids(), b.BidCount(), -1); err != nil {
		return fmt.Errorf("bids: %w", err)
	}
	if err := o.asks.differs(b.Asks(), b.AskCount(), 1); err != nil {
		return fmt.Errorf("asks: %w", err)
	}
	return nil
}

// contradicts returns an error if b claims something false, this book being the truth: its id, a level that
// does not exist, or completeness where one is missing.
func (o *oracleBook) contradicts(b *orderbook.Book) error {
	if b.LastID() != o.lastID {
		return fmt.Errorf("the book is at id %d, want %d", b.LastID(), o.lastID)
	}
	if err := o.bids.contradicts(b, orderbook.Bid, b.Bids()); err != nil {
		return fmt.Errorf("bids: %w", err)
	}
	if err := o.asks.contradicts(b, orderbook.Ask, b.Asks()); err != nil {
		return fmt.Errorf("asks: %w", err)
	}
	return nil
}

func (s oracleSide) contradicts(b *orderbook.Book, side orderbook.Side, levels iter.Seq[orderbook.Level]) error {
	bound, limited := b.Known(side)
	within := func(price orderbook.Fixed) bool {
		return !limited || side == orderbook.Bid && price >= bound || side == orderbook.Ask && price <= bound
	}
	known := 0
	for level := range levels {
		if s[level.Price] != level.Quantity {
			return fmt.Errorf("quantity %v at price %v, the truth is %v", level.Quantity, level.Price, s[level.Price])
		}
		if within(level.Price) {
			known++
		}
	}
	if got := b.KnownDepth(side); got != known {
		return fmt.Errorf("KnownDepth %d, there are %d levels to %v", got, known, bound)
	}
	for price := range s {
		if within(price) {
			known--
		}
	}
	if known != 0 {
		return fmt.Errorf("%d levels are missing within %v", -known, bound)
	}
	return nil
}

func (s oracleSide) set(changes []orderbook.Level) {
	for _, c := range changes {
		if c.Quantity == 0 {
			delete(s, c.Price)
		} else {
			s[c.Price] = c.Quantity
		}
	}
}

func (s oracleSide) sorted(descending bool) []orderbook.Level {
	prices := slices.Sorted(maps.Keys(s))
	if descending {
		slices.Reverse(prices)
	}
	out := make([]orderbook.Level, len(prices))
	for i, price := range prices {
		out[i] = orderbook.Level{Price: price, Quantity: s[price]}
	}
	return out
}

// differs compares levels, which must come in the direction of the sign of step, with the side.
func (s oracleSide) differs(levels iter.Seq[orderbook.Level], count int, step orderbook.Fixed) error {
	if count != len(s) {
		return fmt.Errorf("%d levels, want %d", count, len(s))
	}
	n := 0
	var last orderbook.Fixed
	for level := range levels {
		if n > 0 && (level.Price-last)*step <= 0 {
			return fmt.Errorf("price %v follows %v", level.Price, last)
		}
		if want := s[level.Price]; want == 0 || want != level.Quantity {
			return fmt.Errorf("quantity %v at price %v, want %v", level.Quantity, level.Price, want)
		}
		last = level.Price
		n++
	}
	if n != count {
		return fmt.Errorf("%d levels were listed, %d counted", n, count)
	}
	return nil
}
