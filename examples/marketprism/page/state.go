package page

import (
	"time"

	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/orderbook"
)

// Health is what the page shows of the pipeline's stages. Counts are since the program began.
type Health struct {
	Connections     int `json:"connections"`     // open to the exchange
	ConnectionsWant int `json:"connectionsWant"` // needed

	WeightUsed   int       `json:"weightUsed"`            // request weight of this clock minute
	WeightLimit  int       `json:"weightLimit"`           // 0 means no bound
	BlockedUntil time.Time `json:"blockedUntil,omitzero"` // local clock; the exchange wants no request before it

	NoStore        bool `json:"noStore,omitempty"` // this program does not write to the store: nothing is shown of it
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
	AgeMS   int64  `json:"ageMs"` // since the book changed last, by the local clock; -1 if it was never known
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

// A level is a price and a quantity as the exchange writes them, exactly.
type level [2]orderbook.Fixed

// A bookState is a book of now or of the past, best levels first.
type bookState struct {
	Symbol    string    `json:"symbol"`
	LastID    int64     `json:"lastId"`
	EventTime time.Time `json:"eventTime,omitzero"` // exchange clock of the last change
	Bids      []level   `json:"bids"`
	Asks      []level   `json:"asks"`
	BidCount  int       `json:"bidCount"` // levels the book has
	AskCount  int       `json:"askCount"`
}

// bookOf copies the best n levels a side.
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
