package page

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/orderbook"
)

// A liveState is what a viewer gets with every refresh.
type liveState struct {
	Time    time.Time     `json:"time"` // local clock of the server
	Symbol  symbolState   `json:"symbol"`
	Book    *bookState    `json:"book"` // null while it is not known
	Trades  []tradeState  `json:"trades"`
	Health  *Health       `json:"health,omitempty"`
	Symbols []symbolState `json:"symbols,omitempty"` // with every symbolsEvery-th refresh
}

const symbolsEvery = 4

// serveLive sends the state of one symbol's book, and of everything around it, as server-sent events
// until the viewer leaves. Each state stands for itself: one that is late makes none before it needed.
func (p *Page) serveLive(w http.ResponseWriter, r *http.Request) {
	symbol := r.FormValue("symbol")
	if _, ok := p.cfg.Feed.Status(symbol); symbol != "" && !ok {
		http.Error(w, fmt.Sprintf("%q is not followed", symbol), http.StatusNotFound)
		return
	}
	select {
	case p.viewers <- struct{}{}:
		defer func() { <-p.viewers }()
	default:
		http.Error(w, fmt.Sprintf("%d pages are open already, which is the bound", p.cfg.Viewers), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	tick := time.NewTicker(p.cfg.Refresh)
	defer tick.Stop()
	for n := 0; ; n++ {
		text, err := json.Marshal(p.live(symbol, n%symbolsEvery == 0))
		if err != nil {
			return // only a number that JSON cannot write; the viewer asks anew
		}
		_ = out.SetWriteDeadline(time.Now().Add(10 * time.Second)) // where the server has no deadlines, the kernel's hold
		if _, err := fmt.Fprintf(w, "data: %s\n\n", text); err != nil || out.Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// live reads the present state. The symbol "" means the first one.
func (p *Page) live(symbol string, withSymbols bool) *liveState {
	s := &liveState{Time: time.Now().UTC()}
	if symbol == "" {
		if all := p.cfg.Feed.Symbols(); len(all) > 0 {
			symbol = all[0]
		}
	}
	if err := p.cfg.Feed.View(symbol, func(b *orderbook.Book, status binance.Status) {
		s.Symbol, s.Book = stateOf(symbol, status), bookOf(symbol, b, p.cfg.Levels)
	}); err != nil { // it is not known, or not followed any more
		status, _ := p.cfg.Feed.Status(symbol)
		s.Symbol = stateOf(symbol, status)
	}
	s.Trades = p.trades.of(symbol)
	if p.cfg.Health != nil {
		health := p.cfg.Health()
		s.Health = &health
	}
	if withSymbols {
		s.Symbols = p.symbolStates()
	}
	return s
}
