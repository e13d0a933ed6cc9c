package main

import (
	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// An audit holds a book against the exchange's own best prices: a bookTicker names the update id it
// is true of, so wherever the book stood at that id the two must be equal. A ticker comes before or
// after the update that contains its id, hence both are remembered for a while.
type audit struct {
	stood   window[touch]
	pending window[[]touch]

	compared, equal int
}

// A touch is the best bid and ask; a side without levels has the zero Level.
type touch struct {
	bid, ask orderbook.Level
}

// stand says that the book is at its update id.
func (a *audit) stand(b *orderbook.Book) {
	var now touch
	now.bid, _ = b.BestBid()
	now.ask, _ = b.BestAsk()
	a.stood.put(b.LastID(), now)
	early, _ := a.pending.take(b.LastID())
	for _, t := range early {
		a.compare(t, now)
	}
}

func (a *audit) ticker(t *marketprism.Ticker) {
	told := touch{bid: t.Bid, ask: t.Ask}
	if book, ok := a.stood.get(t.UpdateID); ok {
		a.compare(told, book)
		return
	}
	others, _ := a.pending.take(t.UpdateID)
	a.pending.put(t.UpdateID, append(others, told))
}

func (a *audit) compare(told, book touch) {
	a.compared++
	if told == book {
		a.equal++
	}
}

// A window is a map of the last windowSize ids put into it.
type window[T any] struct {
	values map[int64]T
	order  []int64
}

const windowSize = 1 << 14

func (w *window[T]) put(id int64, v T) {
	if w.values == nil {
		w.values = make(map[int64]T)
	}
	if _, ok := w.values[id]; !ok {
		w.order = append(w.order, id)
	}
	w.values[id] = v
	if len(w.order) > windowSize {
		delete(w.values, w.order[0])
		w.order = w.order[1:]
	}
}

func (w *window[T]) get(id int64) (T, bool) {
	v, ok := w.values[id]
	return v, ok
}

// take removes the value; its place in the order is left to expire.
func (w *window[T]) take(id int64) (T, bool) {
	v, ok := w.values[id]
	delete(w.values, id)
	return v, ok
}
