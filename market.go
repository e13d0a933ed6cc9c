package marketprism

import (
	"fmt"
	"strings"
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

// What a book that is not synced waits for, in Wait.For. The binance and bookfeed packages use these words.
const (
	WaitRun          = "Run"                    // it has not been called, or has returned
	WaitSymbols      = "the list of symbols"    // of the exchange
	WaitConnection   = "a connection"           // to the exchange, or to the bus
	WaitSubscription = "a subscription"         // that the exchange acknowledges
	WaitWeight       = "request weight"         // the exchange allows no request before Next
	WaitSnapshot     = "a snapshot"             // that can be joined to the updates
	WaitRecords      = "the records of the bus" // which are read from the last snapshot on
)

// A Wait says why a book is not synced: what it waits for, how the latest attempt failed, and when the next one is made.
//
// The Status of a book has it, and the error of View and of Ready: a program that calls Ready with a context of three
// seconds, again and again, can say each time what it waits for.
//
// The zero Wait is that of a book that waits for nothing.
type Wait struct {
	For     string    // one of the constants, "" for nothing
	Err     error     // why the latest attempt failed; nil if none has since the book began to wait
	Attempt int       // attempts that failed, one after the other
	Next    time.Time // local clock: the next attempt begins; zero if one is being made, or nothing is timed
}

// String says it in a line: "waits for a connection: dial tcp 127.0.0.1:9: connection refused, attempt 4, next in 8s".
// It is "" for the zero Wait.
func (w Wait) String() string {
	if w.For == "" {
		return ""
	}
	var b strings.Builder
	b.WriteString("waits for " + w.For)
	if w.Err != nil {
		fmt.Fprintf(&b, ": %v", w.Err)
	}
	if w.Attempt > 0 {
		fmt.Fprintf(&b, ", attempt %d", w.Attempt)
	}
	if left := time.Until(w.Next); left > 0 {
		fmt.Fprintf(&b, ", next in %v", roundUp(left))
	}
	return b.String()
}

// roundUp returns d in whole seconds, or in tenths below one.
func roundUp(d time.Duration) time.Duration {
	unit := time.Second
	if d < time.Second {
		unit = 100 * time.Millisecond
	}
	return (d + unit - 1).Truncate(unit)
}
