package marketprism

import "github.com/marketprism/marketprism/orderbook"

// An Exchange names a venue in lower case.
const Binance = "binance"

// A Market is one of the separate markets of an exchange: the same symbol in two markets is two
// instruments with two books.
type Market string

// The markets known so far.
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

// An Instrument is one thing that is traded. It is comparable and serves as a map key.
type Instrument struct {
	Exchange string // lower case: "binance"
	Market   Market
	Symbol   string // as the exchange spells it: "BTCUSDT". Not always ASCII
}

// String returns exchange:market:symbol.
func (i Instrument) String() string {
	return i.Exchange + ":" + string(i.Market) + ":" + i.Symbol
}
