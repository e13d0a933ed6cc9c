package page

import (
	"sync"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A tradeState is a trade as the page shows it.
type tradeState struct {
	ID       int64           `json:"id"`
	Price    orderbook.Fixed `json:"price"`
	Quantity orderbook.Fixed `json:"quantity"`
	Side     string          `json:"side"` // of the taker
	Time     time.Time       `json:"time"` // exchange clock
}

// trades are the last few trades of each symbol: single ones where they come, else aggregates.
type trades struct {
	keep int

	mu       sync.Mutex
	bySymbol map[string]*recent
}

// recent is a ring.
type recent struct {
	single bool // single trades have come, so that aggregates would tell the same again
	ring   []tradeState
	next   int // where the next one goes once the ring is full
}

func newTrades(keep int) *trades { return &trades{keep: keep, bySymbol: make(map[string]*recent)} }

func (t *trades) add(symbol string, trade *marketprism.Trade) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.bySymbol[symbol]
	if r == nil {
		r = &recent{single: !trade.Aggregate}
		t.bySymbol[symbol] = r
	}
	switch {
	case trade.Aggregate && r.single:
		return
	case !trade.Aggregate && !r.single:
		*r = recent{single: true}
	}
	s := tradeState{ID: trade.ID, Price: trade.Price, Quantity: trade.Quantity, Side: trade.Side(), Time: trade.TradeTime}
	if len(r.ring) < t.keep {
		r.ring = append(r.ring, s)
		return
	}
	r.ring[r.next] = s
	r.next = (r.next + 1) % t.keep
}

// of returns the symbol's trades, newest first.
func (t *trades) of(symbol string) []tradeState {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.bySymbol[symbol]
	if r == nil {
		return []tradeState{}
	}
	n := len(r.ring)
	out := make([]tradeState, n)
	for i := range out {
		out[i] = r.ring[(r.next+n-1-i)%n]
	}
	return out
}
