package marketprism

import (
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// A Trade is one execution, or, with Aggregate set, all executions of one taker order at one price.
type Trade struct {
	ID        int64 // trade id, or aggregate id; each counts up by one within its instrument
	Aggregate bool

	// FirstID and LastID are the trade ids an aggregate covers; both zero for a single trade.
	FirstID, LastID int64

	Price, Quantity orderbook.Fixed
	BuyerMaker      bool      // the buyer's order was resting (Binance m): the taker sold
	BestMatch       bool      // Binance spot M; false where the venue sends none
	TradeTime       time.Time // exchange clock of the matching engine (Binance T)
}

// Side returns the taker's side, "buy" or "sell".
func (t *Trade) Side() string {
	if t.BuyerMaker {
		return "sell"
	}
	return "buy"
}

// A Ticker is the best bid and ask of a book at one update id (Binance bookTicker).
type Ticker struct {
	UpdateID     int64
	TransactTime time.Time // exchange clock of the matching engine; zero where the venue sends none (Binance spot)
	Bid, Ask     orderbook.Level
}
