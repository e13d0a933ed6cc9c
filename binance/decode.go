package binance

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/scan"
	"github.com/marketprism/marketprism/orderbook"
)

// A MessageType is the kind of a websocket frame. It decides which fields of a Message are meaningful.
type MessageType uint8

// The message types.
const (
	MessageUnknown  MessageType = iota // not decoded: another stream's event, a partial book
	MessageDepth                       // a diff of a book: Update
	MessageTrade                       // a trade or an aggregate trade: Trade, More, TradeType
	MessageTicker                      // a bookTicker: Ticker
	MessageAck                         // the answer to a request: RequestID, Result
	MessageError                       // a request was refused: RequestID, Err
	MessageShutdown                    // serverShutdown: the exchange is about to close this connection
)

var messageTypes = [...]string{"unknown", "depth", "trade", "ticker", "ack", "error", "shutdown"}

// String returns the type's one-word name, "unknown" for a value that is none of the constants.
func (t MessageType) String() string {
	if int(t) >= len(messageTypes) {
		t = MessageUnknown
	}
	return messageTypes[t]
}

// A Message is one decoded websocket frame. Of Update, Trade, TradeType and Ticker only the ones that
// Type names are meaningful: the others keep values of earlier frames, so that their memory is reused.
type Message struct {
	Type      MessageType
	Stream    string    // name of the combined stream, derived for an SBE message; "" on a raw connection and for answers to requests
	Symbol    string    // as the exchange spells it; "" where the frame has none or is not decoded
	EventTime time.Time // exchange clock, UTC (Binance E); zero where the frame has none (spot bookTicker)

	Update    orderbook.Update
	Trade     marketprism.Trade
	More      []marketprism.Trade // the trades after Trade, where one SBE message has several; else empty
	TradeType string              // of futures trades (Binance X): MARKET, or INSURANCE_FUND, ADL, NA; else ""
	Ticker    marketprism.Ticker

	// Capped counts the levels of Update, or of Ticker, whose quantity is orderbook.MaxFixed: this or more.
	Capped int

	RequestID RequestID
	Result    []string     // the stream names that LIST_SUBSCRIPTIONS answers; nil for other requests
	Err       *StreamError // nil unless Type is MessageError
}

// timeless reports whether the event has a time of 1970, which marketprism.Record.Validate refuses: no record of it would
// get anywhere.
func (m *Message) timeless() bool {
	const year = 365 * 24 * 60 * 60
	before := func(t time.Time) bool { return t.Unix() < year }
	if !m.EventTime.IsZero() && before(m.EventTime) {
		return true
	}
	return m.Type == MessageTrade && (before(m.Trade.TradeTime) || slices.ContainsFunc(m.More, func(t marketprism.Trade) bool { return before(t.TradeTime) }))
}

// A RequestID is the id of a request as the exchange's answer repeats it. It is comparable. The zero
// value is the number 0.
type RequestID struct {
	Number int64
	Text   string // an id that is a string; never "" for a request of this package
	Null   bool   // the id is null or missing, as in the answer to a request the exchange could not read
}

// A Decoder decodes websocket frames, raw or combined, JSON or SBE, and REST depth answers. It is written
// by hand because it runs for every frame: it allocates nothing once it has seen the symbols and the
// Message has room for the levels. The zero value is ready to use. It is not safe for concurrent use.
//
// It accepts fields in any order and skips unknown ones, since the exchange adds some every year. A
// required field that is missing or of the wrong type is an error, as is a known field that occurs
// twice, a number below zero, text that is not UTF-8, and everything encoding/json would refuse. It
// reads version 0 of the SBE streams' schema and skips what newer versions append.
//
// The quantity of a level, in a book as in a ticker, is orderbook.MaxFixed where it is larger (see
// orderbook.ParseQuantity). A price or the quantity of a trade out of range is an error: one order has at most
// LOT_SIZE's maxQty, 92233720368.0 for BTTC (exchangeInfo).
//
// The futures markets send partial books (<symbol>@depth5) and books with RPI orders (<symbol>@rpiDepth) as
// depthUpdate too. In a combined frame its stream says what it is; a raw frame of such a stream looks like a diff.
type Decoder struct {
	scan   scan.Scanner
	names  struct{ streams, symbols, tradeTypes scan.Intern }
	object survey // of an object that does not begin with its event name

	sbeKnown map[string]*sbeNames // by symbol
	linked   bool                 // a diff needs pu, without which its predecessor is not known: futures
}

// Decode decodes one frame into m, which is valid until m is decoded into again and does not refer to
// frame. An event that this package does not know is no error: m.Type is MessageUnknown.
//
// The error is a *DecodeError. m.Type is then MessageUnknown and the rest of m is not meaningful.
func (d *Decoder) Decode(frame []byte, m *Message) error {
	m.Type, m.Stream, m.Symbol, m.EventTime = MessageUnknown, "", "", time.Time{}
	m.RequestID, m.Result, m.Err, m.More, m.Capped = RequestID{}, nil, nil, m.More[:0], 0
	if isSBE(frame) {
		return d.sbe(frame, m)
	}

	d.scan.Reset(frame)
	d.frame(m)
	d.scan.ExpectEnd()
	m.Capped = d.scan.Capped()
	if err := d.scan.Err(); err != nil {
		m.Type = MessageUnknown
		return newDecodeError(m.Stream, frame, d.scan.Offset(), err)
	}
	return nil
}

// DecodeSnapshot decodes a REST depth answer into snap and reuses its slices. Spot answers
// {lastUpdateId,bids,asks}, USDⓈ-M also E and T, COIN-M also symbol and pair. symbol is "" where the
// answer has none. Levels keep their order; those of quantity 0 are left out.
//
// The error is a *DecodeError. snap is then not meaningful.
func (d *Decoder) DecodeSnapshot(body []byte, snap *orderbook.Snapshot) (symbol string, err error) {
	*snap = orderbook.Snapshot{Bids: snap.Bids[:0], Asks: snap.Asks[:0]}
	d.scan.Reset(body)
	symbol = d.snapshot(snap)
	d.scan.ExpectEnd()
	if err := d.scan.Err(); err != nil {
		return "", newDecodeError("", body, d.scan.Offset(), err)
	}
	return symbol, nil
}

// A DecodeError says that a frame or a REST answer could not be decoded, and where.
type DecodeError struct {
	// Kind is what is wrong: "truncated" (it ends too early), "malformed" (not JSON, or not SBE),
	// "type" (a string, say, where the exchange documents a number), "depth" (nested more than 128
	// deep), "missing" or "duplicate" (a field), "schema" (an SBE schema other than the streams'),
	// "number". Err of a number is orderbook.ErrSyntax, ErrRange or ErrPrecision.
	Kind   string
	Stream string // name of the combined stream, if it comes before the error; else ""
	Offset int64  // byte at which the error was noticed
	Data   []byte // a copy of the bytes around Offset, at most 256
	Err    error
}

func (e *DecodeError) Error() string {
	of := ""
	if e.Stream != "" {
		of = " of " + e.Stream
	}
	return fmt.Sprintf("binance: decode%s: at byte %d: %v: near %q", of, e.Offset, e.Err, e.Data)
}

// Unwrap returns Err.
func (e *DecodeError) Unwrap() error { return e.Err }

var (
	errMissingField   = errors.New("required field is missing")
	errDuplicateField = errors.New("field occurs twice")
	errSchema         = errors.New("message of an unknown schema")
)

// decodeKind returns the Kind of an error of this package, of scan or of encoding/json.
func decodeKind(err error) string {
	var syntax *json.SyntaxError
	var mistyped *json.UnmarshalTypeError
	switch {
	case errors.Is(err, scan.ErrTruncated):
		return "truncated"
	case errors.Is(err, scan.ErrMalformed), errors.As(err, &syntax):
		return "malformed"
	case errors.Is(err, scan.ErrType), errors.As(err, &mistyped):
		return "type"
	case errors.Is(err, scan.ErrDepth):
		return "depth"
	case errors.Is(err, errMissingField):
		return "missing"
	case errors.Is(err, errDuplicateField):
		return "duplicate"
	case errors.Is(err, errSchema):
		return "schema"
	}
	return "number"
}

const errorContext = 128 // bytes kept on each side of an error

func newDecodeError(stream string, text []byte, offset int, err error) *DecodeError {
	from, to := max(0, offset-errorContext), min(len(text), offset+errorContext)
	return &DecodeError{
		Kind:   decodeKind(err),
		Stream: stream,
		Offset: int64(offset),
		Data:   append([]byte(nil), text[from:to]...),
		Err:    err,
	}
}

func namedField(err error, name string) error { return fmt.Errorf("%w: %q", err, name) }
