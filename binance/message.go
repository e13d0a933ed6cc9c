package binance

import (
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A MessageType says what a websocket frame is, and so which fields of a Message are meaningful.
type MessageType uint8

// The message types.
const (
	MessageUnknown  MessageType = iota // not decoded: another stream's event, a partial book
	MessageDepth                       // a diff of a book: Update
	MessageTrade                       // a trade or an aggregate trade: Trade, TradeType
	MessageTicker                      // a bookTicker: Ticker
	MessageAck                         // the answer to a request: RequestID, Result
	MessageError                       // a request was refused: RequestID, Err
	MessageShutdown                    // serverShutdown: this connection is about to be closed
)

var messageTypes = [...]string{"unknown", "depth", "trade", "ticker", "ack", "error", "shutdown"}

// String returns the type's one-word name, "unknown" for a value that is none of the constants.
func (t MessageType) String() string {
	if int(t) >= len(messageTypes) {
		t = MessageUnknown
	}
	return messageTypes[t]
}

// A Message is one decoded websocket frame. Of Update, Trade, TradeType and Ticker only what Type
// names is meaningful: the others hold what earlier frames left there, so that their memory is used
// again.
type Message struct {
	Type      MessageType
	Stream    string    // the combined stream's name, or what it is of an SBE message; "" on a raw connection, and of answers to requests
	Symbol    string    // as the venue spells it; "" where the frame has none or is not decoded
	EventTime time.Time // exchange clock, UTC (Binance E); zero where the frame has none (spot bookTicker)

	Update    orderbook.Update
	Trade     marketprism.Trade
	More      []marketprism.Trade // those after Trade, where one SBE message has several; else empty
	TradeType string              // of futures trades (Binance X): MARKET, or INSURANCE_FUND, ADL, NA; else ""
	Ticker    marketprism.Ticker

	RequestID RequestID
	Result    []string     // the stream names that LIST_SUBSCRIPTIONS answers; nil of other requests
	Err       *StreamError // set with MessageError alone
}

// A RequestID is the id of a request as the venue's answer repeats it. It is comparable. The zero
// value is the number 0.
type RequestID struct {
	Number int64
	Text   string // of an id that is a string; such an id is never "" from a request of this package
	Null   bool   // the id was null or missing, as with a request the venue could not read
}
