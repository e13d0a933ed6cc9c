package marketprism

import (
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// Binance is the name of that exchange in an Instrument.
const Binance = "binance"

// A Market is one of the separate markets of an exchange: the same symbol in two markets is two
// instruments with two books.
type Market string

// The markets that this module supports.
const (
	Spot  Market = "spot"
	USDM  Market = "usdm"  // Binance USDⓈ-margined futures
	COINM Market = "coinm" // Binance coin-margined futures
)

// Continuity returns the rule of the market's update ids: spot counts the changes of each symbol, the
// futures markets count all their symbols together.
func (m Market) Continuity() orderbook.Continuity {
	if m == Spot {
		return orderbook.Contiguous
	}
	return orderbook.Linked
}

// An Instrument is one symbol in one market of one exchange. It is comparable and serves as a map key.
type Instrument struct {
	Exchange string // lower case: "binance"
	Market   Market
	Symbol   string // as the exchange spells it: "BTCUSDT". Not always ASCII
}

// String returns exchange:market:symbol.
func (i Instrument) String() string {
	return i.Exchange + ":" + string(i.Market) + ":" + i.Symbol
}

// A Trade is one execution or, with Aggregate set, all executions of one taker order at one price.
type Trade struct {
	ID        int64 // trade id, or aggregate id; each counts up by one within its instrument
	Aggregate bool

	// FirstID and LastID are the first and last trade ids that an aggregate covers. A single trade has none, both are zero,
	// unless ids just before it are used for what is no trade of the market (Binance futures: types NA, INSURANCE_FUND and
	// ADL, which have trade ids and no record): then FirstID is the first of those and LastID its own, and none is missing.
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

// A Ticker is the best bid and ask of a book at one update id (Binance bookTicker). As in a book, a quantity of
// orderbook.MaxFixed means this or more.
type Ticker struct {
	UpdateID     int64
	TransactTime time.Time // exchange clock of the matching engine; zero where the venue sends none (Binance spot)
	Bid, Ask     orderbook.Level
}
