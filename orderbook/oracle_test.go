package orderbook_test

import (
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/marketprism/marketprism/orderbook"
)

// An oracleBook is a book so plain that it can be seen to be right: one map a side. Tests hold the
// real Book against it.
type oracleBook struct {
	lastID     int64
	bids, asks oracleSide
}

// An oracleSide maps prices to quantities, none of them 0.
type oracleSide map[orderbook.Fixed]orderbook.Fixed

func newOracleBook() *oracleBook {
	return &oracleBook{bids: oracleSide{}, asks: oracleSide{}}
}

func (o *oracleBook) reset(s *orderbook.Snapshot) {
	clear(o.bids)
	clear(o.asks)
	o.apply(&orderbook.Update{LastID: s.LastID, Bids: s.Bids, Asks: s.Asks})
}

func (o *oracleBook) apply(u *orderbook.Update) {
	o.lastID = u.LastID
	o.bids.set(u.Bids)
	o.asks.set(u.Asks)
}

func (o *oracleBook) clone() *oracleBook {
	return &oracleBook{lastID: o.lastID, bids: maps.Clone(o.bids), asks: maps.Clone(o.asks)}
}

// snapshot returns the best depth levels of each side; all if depth is 0.
func (o *oracleBook) snapshot(depth int) *orderbook.Snapshot {
	s := &orderbook.Snapshot{LastID: o.lastID, Bids: o.bids.sorted(true), Asks: o.asks.sorted(false)}
	if depth > 0 {
		s.Bids = s.Bids[:min(depth, len(s.Bids))]
		s.Asks = s.Asks[:min(depth, len(s.Asks))]
	}
	return s
}

// differs tells how b is not this book: its id, its levels, or their order. It returns nil if they
// are the same.
func (o *oracleBook) differs(b *orderbook.Book) error {
	if b.LastID() != o.lastID {
		return fmt.Errorf("the book stands at id %d, want %d", b.LastID(), o.lastID)
	}
	if err := o.bids.differs(b.Bids(), b.BidCount(), -1); err != nil {
		return fmt.Errorf("bids: %w", err)
	}
	if err := o.asks.differs(b.Asks(), b.AskCount(), 1); err != nil {
		return fmt.Errorf("asks: %w", err)
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

// differs holds levels, which must come in the direction of the sign of step, against the side.
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
