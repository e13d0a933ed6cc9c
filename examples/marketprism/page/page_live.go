package page

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/examples/marketprism/gate"
	"github.com/marketprism/marketprism/orderbook"
)

// A liveState is sent to a viewer with every refresh.
type liveState struct {
	Time    time.Time     `json:"time"`             // local clock of the server
	Source  string        `json:"source,omitempty"` // Config.Source
	Symbol  symbolState   `json:"symbol"`
	Book    *bookState    `json:"book"` // null while it is not synced
	Trades  []tradeState  `json:"trades"`
	Health  *Health       `json:"health,omitempty"`
	Symbols []symbolState `json:"symbols,omitempty"` // with every symbolsEvery-th refresh
}

const symbolsEvery = 4

// stateFormat is an event with a state, and the milliseconds after which a browser asks again for a stream that was cut.
const stateFormat = "retry: 500\ndata: %s\n\n"

// serveLive sends the state of one symbol's book and of the pipeline as server-sent events until the viewer leaves.
// Each state is complete, so that a slow viewer can skip some.
func (p *Page) serveLive(w http.ResponseWriter, r *http.Request) {
	symbol := r.FormValue("symbol")
	if symbol != "" && !p.follows(symbol) {
		http.Error(w, fmt.Sprintf("%q is not followed", symbol), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	if r.Method == http.MethodHead {
		return // the stream has no end, and a HEAD has no body
	}
	v := p.viewers.enter(gate.Client(r.RemoteAddr))
	if v == nil {
		http.Error(w, fmt.Sprintf("%d pages are open already, which is the bound", p.cfg.Viewers), http.StatusServiceUnavailable)
		return
	}
	defer p.viewers.leave(v)
	out := http.NewResponseController(w)
	_ = out.SetReadDeadline(time.Time{}) // the server's is for requests, and this one has been read
	tick := time.NewTicker(p.cfg.Refresh)
	defer tick.Stop()
	for n := 0; ; n++ {
		text, err := json.Marshal(p.live(symbol, n%symbolsEvery == 0))
		if err != nil {
			return // only for a number that JSON cannot represent; the viewer reconnects
		}
		_ = out.SetWriteDeadline(time.Now().Add(10 * time.Second)) // a server without deadlines falls back to the kernel's
		if _, err := fmt.Fprintf(w, stateFormat, text); err != nil || out.Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-v.evicted:
			return
		case <-r.Context().Done():
			return
		}
	}
}

func (p *Page) follows(symbol string) bool {
	_, ok := p.cfg.Feed.Status(symbol)
	return ok
}

// live returns the current state. The symbol "" means the first one.
func (p *Page) live(symbol string, withSymbols bool) *liveState {
	s := &liveState{Time: time.Now().UTC(), Source: p.cfg.Source}
	if symbol == "" {
		if all := p.cfg.Feed.Symbols(); len(all) > 0 {
			symbol = all[0]
		}
	}
	if err := p.cfg.Feed.View(symbol, func(b *orderbook.Book, status binance.Status) {
		s.Symbol, s.Book = stateOf(symbol, status), bookOf(symbol, b, p.cfg.Levels)
	}); err != nil { // not synced, or removed
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

// Health is the state of the pipeline's stages. Counts are since the start of the program.
type Health struct {
	Connections     int `json:"connections"`     // open to the exchange
	ConnectionsWant int `json:"connectionsWant"` // needed

	WeightUsed   int       `json:"weightUsed"`            // request weight of this clock minute
	WeightLimit  int       `json:"weightLimit"`           // 0 means no limit
	BlockedUntil time.Time `json:"blockedUntil,omitzero"` // local clock; the exchange rejects requests before it

	NoStore        bool `json:"noStore,omitempty"` // this program does not write to the store
	BusConnected   bool `json:"busConnected"`
	StoreConnected bool `json:"storeConnected"`

	Received    uint64  `json:"received"`    // records made
	Published   uint64  `json:"published"`   // of these acknowledged by the bus
	Stored      uint64  `json:"stored"`      // records committed to the store
	Pending     uint64  `json:"pending"`     // messages on the bus that are not stored yet
	LagSeconds  float64 `json:"lagSeconds"`  // from exchange event to commit, of the last batch
	DeadLetters uint64  `json:"deadLetters"` // messages in the dead-letter stream
}

// A symbolState is a line of the list of symbols.
type symbolState struct {
	Symbol  string `json:"symbol"`
	State   string `json:"state"`
	AgeMS   int64  `json:"ageMs"` // since the book changed last, by the local clock; -1 if it was never synced
	LastID  int64  `json:"lastId"`
	Listing string `json:"listing,omitempty"`
	LastGap string `json:"lastGap,omitempty"` // reason of the latest gap
}

func (p *Page) symbolStates() []symbolState {
	symbols := p.cfg.Feed.Symbols()
	states := make([]symbolState, 0, len(symbols))
	for _, symbol := range symbols {
		if s, ok := p.cfg.Feed.Status(symbol); ok {
			states = append(states, stateOf(symbol, s))
		}
	}
	return states
}

func stateOf(symbol string, s binance.Status) symbolState {
	line := symbolState{Symbol: symbol, State: s.State.String(), AgeMS: -1, LastID: s.LastID, Listing: s.Listing}
	if !s.UpdatedAt.IsZero() {
		line.AgeMS = s.Age().Milliseconds()
	}
	if s.LastGap.Reason != 0 {
		line.LastGap = s.LastGap.Reason.String()
	}
	return line
}

// A level is a price and a quantity, as exact decimals.
type level [2]orderbook.Fixed

// A bookState is a live or past book, best levels first.
type bookState struct {
	Symbol    string    `json:"symbol"`
	LastID    int64     `json:"lastId"`
	EventTime time.Time `json:"eventTime,omitzero"` // exchange clock of the last change
	Bids      []level   `json:"bids"`
	Asks      []level   `json:"asks"`
	BidCount  int       `json:"bidCount"` // all levels of the book
	AskCount  int       `json:"askCount"`
}

// bookOf returns the best n levels of each side.
func bookOf(symbol string, b *orderbook.Book, n int) *bookState {
	return &bookState{
		Symbol: symbol, LastID: b.LastID(), EventTime: b.EventTime(),
		Bids: levels(b.AppendBids(nil, n)), Asks: levels(b.AppendAsks(nil, n)),
		BidCount: b.BidCount(), AskCount: b.AskCount(),
	}
}

func levels(side []orderbook.Level) []level {
	out := make([]level, len(side))
	for i, l := range side {
		out[i] = level{l.Price, l.Quantity}
	}
	return out
}

// A tradeState is a trade on the page.
type tradeState struct {
	ID       int64           `json:"id"`
	Price    orderbook.Fixed `json:"price"`
	Quantity orderbook.Fixed `json:"quantity"`
	Side     string          `json:"side"` // of the taker
	Time     time.Time       `json:"time"` // exchange clock
}

// trades hold the last trades of each symbol: single ones if there are any, else aggregates.
type trades struct {
	keep int

	mu       sync.Mutex
	bySymbol map[string]*recent
}

// recent is a ring.
type recent struct {
	single bool // there are single trades, so aggregates would duplicate them
	ring   []tradeState
	next   int // index of the next one once the ring is full
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
