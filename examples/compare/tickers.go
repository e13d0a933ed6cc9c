package compare

import (
	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// Tickers compares a book with the exchange's best prices: a bookTicker names its update id, so a book at that id must
// have the same touch. A ticker may arrive before or after the update with its id, so both are kept for some time.
type Tickers struct {
	All, Compared, Equal int // tickers; those with the id of a book; those of these that are equal

	books   window[touch] // of the book, by update id
	pending window[[]touch]
}

// A touch is the best bid and ask; a side without levels has the zero Level.
type touch struct {
	bid, ask orderbook.Level
}

// Book records the touch of a book, and compares it with earlier tickers.
func (a *Tickers) Book(b *orderbook.Book) {
	var now touch
	now.bid, _ = b.BestBid()
	now.ask, _ = b.BestAsk()
	a.books.put(b.LastID(), now)
	early, _ := a.pending.take(b.LastID())
	for _, t := range early {
		a.compare(t, now)
	}
}

// Ticker compares a ticker with the book at its id, now or later.
func (a *Tickers) Ticker(t *marketprism.Ticker) {
	a.All++
	ticker := touch{bid: t.Bid, ask: t.Ask}
	if book, ok := a.books.get(t.UpdateID); ok {
		a.compare(ticker, book)
		return
	}
	others, _ := a.pending.take(t.UpdateID)
	a.pending.put(t.UpdateID, append(others, ticker))
}

// Restart forgets books and tickers that wait, since ids may come again.
func (a *Tickers) Restart() { a.books, a.pending = window[touch]{}, window[[]touch]{} }

func (a *Tickers) compare(ticker, book touch) {
	a.Compared++
	if ticker == book {
		a.Equal++
	}
}

// A window is a map of the last windowSize ids added to it.
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

// take removes and returns the value.
func (w *window[T]) take(id int64) (T, bool) {
	v, ok := w.values[id]
	delete(w.values, id)
	return v, ok
}
