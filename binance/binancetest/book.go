package binancetest

import (
	"cmp"
	"slices"

	"github.com/marketprism/marketprism/orderbook"
)

// A side is one half of a book.
type side uint8

const (
	bid side = 0
	ask side = 1
)

// A place is one price level of a book.
type place struct {
	side  side
	price orderbook.Fixed
}

// A change sets the quantity at a place; 0 removes the level.
type change struct {
	place
	quantity orderbook.Fixed
}

// A book holds the levels of each side by rising price. It is simple on purpose and shares no code with
// orderbook.Book, since tests check books of that type against it.
type book [2][]orderbook.Level

func (b *book) find(p place) (i int, found bool) {
	return slices.BinarySearchFunc(b[p.side], p.price, func(l orderbook.Level, price orderbook.Fixed) int {
		return cmp.Compare(l.Price, price)
	})
}

func (b *book) quantity(p place) orderbook.Fixed {
	if i, found := b.find(p); found {
		return b[p.side][i].Quantity
	}
	return 0
}

// set changes one level and returns the quantity it had.
func (b *book) set(c change) (old orderbook.Fixed) {
	i, found := b.find(c.place)
	levels := &b[c.side]
	switch {
	case found && c.quantity == 0:
		old = (*levels)[i].Quantity
		*levels = slices.Delete(*levels, i, i+1)
	case found:
		old = (*levels)[i].Quantity
		(*levels)[i].Quantity = c.quantity
	case c.quantity != 0:
		*levels = slices.Insert(*levels, i, orderbook.Level{Price: c.price, Quantity: c.quantity})
	}
	return old
}

// at returns the level n places behind the best, or the zero Level if there is none.
func (b *book) at(s side, n int) orderbook.Level {
	levels := b[s]
	if n < 0 || n >= len(levels) {
		return orderbook.Level{}
	}
	if s == bid {
		n = len(levels) - 1 - n
	}
	return levels[n]
}

// A touch is the best level of each side, zero for an empty side.
type touch struct {
	bid, ask orderbook.Level
}

func (b *book) touch() touch { return touch{bid: b.at(bid, 0), ask: b.at(ask, 0)} }

func (b *book) clone() book {
	return book{slices.Clone(b[bid]), slices.Clone(b[ask])}
}

// snapshot returns at most limit levels of each side, best first; limit 0 means all.
func (b *book) snapshot(limit int) (bids, asks []orderbook.Level) {
	bids, asks = slices.Clone(b[bid]), slices.Clone(b[ask])
	slices.Reverse(bids)
	if limit > 0 {
		bids, asks = bids[:min(limit, len(bids))], asks[:min(limit, len(asks))]
	}
	return bids, asks
}

// load replaces the book's levels by these, given in any order.
func (b *book) load(bids, asks []orderbook.Level) {
	*b = book{slices.Clone(bids), slices.Clone(asks)}
	for _, levels := range b {
		slices.SortFunc(levels, func(x, y orderbook.Level) int { return cmp.Compare(x.Price, y.Price) })
	}
}

// An execution is one trade with the aggregate it belongs to.
type execution struct {
	id, aggregate   int64 // id is noTrade for an aggregate without trades
	price, quantity orderbook.Fixed
	millis          int64 // exchange clock
	buyerMaker      bool
}

// noTrade is the first and last trade id of the exchange's broken aggregates.
const noTrade = -1

// A tape keeps the last executions of a symbol for REST.
type tape struct {
	keep int
	rows []execution // oldest first; up to a quarter more than keep
}

func (t *tape) add(x execution) {
	if len(t.rows) >= t.keep+t.keep/4+1 {
		t.rows = append(t.rows[:0], t.last()...)
	}
	t.rows = append(t.rows, x)
}

// last returns the last keep executions.
func (t *tape) last() []execution {
	return t.rows[max(len(t.rows)-t.keep, 0):]
}

// aggregates returns the aggregates of the kept executions, a broken one with numbers 0 and trade ids
// noTrade. It omits an aggregate whose first trades are no longer kept.
func (t *tape) aggregates() []aggregate {
	var list []aggregate
	for _, x := range t.last() {
		if n := len(list); n > 0 && list[n-1].id == x.aggregate {
			list[n-1].last = x.id
			list[n-1].quantity += x.quantity
			continue
		}
		list = append(list, aggregate{
			id: x.aggregate, first: x.id, last: x.id, price: x.price, quantity: x.quantity, millis: x.millis, buyerMaker: x.buyerMaker,
		})
	}
	if dropped := len(t.rows) - t.keep; dropped > 0 && len(list) > 0 && t.rows[dropped-1].aggregate == list[0].id {
		list = list[1:]
	}
	return list
}

// An aggregate sums the executions of one taker order at one price.
type aggregate struct {
	id, first, last int64
	price, quantity orderbook.Fixed
	millis          int64
	buyerMaker      bool
}
