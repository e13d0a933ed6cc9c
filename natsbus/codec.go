package natsbus

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// codecVersion is the value of the key "v" of every message body. It increases when a reader of the older form would
// misunderstand the newer one; an added key does not increase it.
const codecVersion = 1

// A CodecError is a record that cannot be encoded, or a body that cannot be decoded.
type CodecError struct {
	Op     string // "encode" or "decode"
	Key    string // the JSON key concerned; "" if it is none in particular
	Offset int    // decode: the byte of the body at which the error was found

	// Kind is "version" for a body of another version, "missing" where a required key is absent, "value" where
	// a value does not fit its key, "time" where a time does not fit 64 bits of nanoseconds, "utf8" where a text is
	// not UTF-8, "checksum" where the levels of a snapshot are not those that its publisher had, "invalid" where Err
	// is that of marketprism.Record.Validate, "subject" where a record is of another instrument or kind than its
	// subject, "signature" where a Verifier refuses the message, "suppressed" for Hooks.Suppressed, "jump" where a
	// bookfeed.Feed does not believe an update id, "ahead" where a Consumer does not believe a time, and "" for any other error, such as one of JSON's syntax.
	Kind string
	Err  error
}

func (e *CodecError) Error() string {
	text := "natsbus: " + e.Op
	if e.Key != "" {
		text += fmt.Sprintf(" %q", e.Key)
	}
	if e.Op == opDecode {
		text += fmt.Sprintf(" at byte %d", e.Offset)
	}
	return text + ": " + e.Err.Error()
}

func (e *CodecError) Unwrap() error { return e.Err }

func encodeError(key string, err error) error {
	return &CodecError{Op: opEncode, Key: key, Kind: kindOf(err), Err: err}
}

func decodeError(key string, offset int, err error) error {
	return &CodecError{Op: opDecode, Key: key, Offset: offset, Kind: kindOf(err), Err: err}
}

// invalidError returns the error for a record that is not valid.
func invalidError(op string, offset int, err error) error {
	key := ""
	if errors.Is(err, marketprism.ErrKind) {
		key = keyKind
	}
	return &CodecError{Op: op, Key: key, Offset: offset, Kind: "invalid", Err: err}
}

// A kindError is an error with a CodecError.Kind.
type kindError struct{ kind, text string }

func (e *kindError) Error() string { return e.text }

func kindOf(err error) string {
	var e *kindError
	if errors.As(err, &e) {
		return e.kind
	}
	return ""
}

var (
	errVersion  = &kindError{"version", "codec version is not supported"}
	errMissing  = &kindError{"missing", "key is missing"}
	errValue    = &kindError{"value", "value does not fit its key"}
	errHeader   = &kindError{"value", "text has a line break or begins with a blank, and the message's id must be a header"}
	errTime     = &kindError{"time", "time does not fit 64 bits of nanoseconds"}
	errUTF8     = &kindError{"utf8", "text is not UTF-8"}
	errChecksum = &kindError{"checksum", "book does not have the checksum of its message"}
)

const (
	opEncode = "encode"
	opDecode = "decode"
)

// The keys of a body, as CODEC.md describes them.
const (
	keyVersion       = "v"
	keyKind          = "kind"
	keyExchange      = "exchange"
	keyMarket        = "market"
	keySymbol        = "symbol"
	keyEventTime     = "event_time"
	keyReceivedAt    = "received_at"
	keyBookEventTime = "book_event_time"
	keyTransactTime  = "transact_time"
	keyTradeTime     = "trade_time"
	keyFirstID       = "first_id"
	keyLastID        = "last_id"
	keyPrevLastID    = "prev_last_id"
	keyAfter         = "after"
	keyReason        = "reason"
	keyErr           = "err"
	keyID            = "id"
	keyUpdateID      = "update_id"
	keyPrice         = "price"
	keyQuantity      = "quantity"
	keyBuyerMaker    = "buyer_maker"
	keyBestMatch     = "best_match"
	keyBids          = "bids"
	keyAsks          = "asks"
	keyBid           = "bid"
	keyAsk           = "ask"
	keyBidBound      = "bid_bound"
	keyAskBound      = "ask_bound"
	keyChecksum      = "checksum"
)

// unixNano returns t as nanoseconds since the epoch; false if they do not fit.
func unixNano(t time.Time) (int64, bool) {
	const limit = math.MaxInt64 / int64(time.Second) // seconds; the last, partial one is left out
	if sec := t.Unix(); sec <= -limit || sec >= limit {
		return 0, false
	}
	return t.UnixNano(), true
}

// knownKey returns name as a string if it is one of the keys, otherwise "".
func knownKey(name []byte) string {
	for _, key := range [...]string{
		keyVersion, keyKind, keyExchange, keyMarket, keySymbol, keyEventTime, keyReceivedAt, keyBookEventTime,
		keyTransactTime, keyTradeTime, keyFirstID, keyLastID, keyPrevLastID, keyAfter, keyReason, keyErr, keyID,
		keyUpdateID, keyPrice, keyQuantity, keyBuyerMaker, keyBestMatch, keyBids, keyAsks, keyBid, keyAsk,
		keyBidBound, keyAskBound, keyChecksum,
	} {
		if string(name) == key {
			return key
		}
	}
	return ""
}

// A body holds the values of a message until all keys are read, and with them the kind of record.
type body struct {
	seen       present
	kind       marketprism.Kind
	instrument marketprism.Instrument

	times bodyTimes

	firstID, lastID, prevLastID int64
	after, id, updateID         int64

	reason orderbook.GapReason
	err    orderbook.Cause

	price, quantity       orderbook.Fixed
	buyerMaker, bestMatch bool
	bids, asks            []orderbook.Level
	bid, ask              orderbook.Level
	bidBound, askBound    orderbook.Bound
	checksum              int64
}

type bodyTimes struct{ event, received, book, transact, trade time.Time }

// present is a set of keys.
type present uint32

const (
	hasVersion present = 1 << iota
	hasKind
	hasExchange
	hasMarket
	hasSymbol
	hasFirstID
	hasLastID
	hasAfter
	hasReason
	hasID
	hasUpdateID
	hasPrice
	hasQuantity
	hasBids
	hasAsks
	hasBid
	hasAsk
	hasBuyerMaker
	hasTradeTime
	hasPrevLastID

	hasBookEventTime
	hasErr
	hasChecksum
)

// required returns the keys that the body must have.
func (b *body) required() present {
	keys := hasVersion | hasKind | hasExchange | hasMarket | hasSymbol
	switch b.kind {
	case marketprism.KindUpdate:
		keys |= hasFirstID | hasLastID | hasBids | hasAsks
		if b.instrument.Market.Continuity() == orderbook.Linked { // without it a reader would miss no update
			keys |= hasPrevLastID
		}
	case marketprism.KindSnapshot:
		keys |= hasLastID | hasBids | hasAsks
	case marketprism.KindGap:
		keys |= hasAfter | hasReason
	case marketprism.KindAggTrade:
		keys |= hasFirstID | hasLastID
		fallthrough
	case marketprism.KindTrade:
		keys |= hasID | hasPrice | hasQuantity | hasBuyerMaker | hasTradeTime
	case marketprism.KindTicker:
		keys |= hasUpdateID | hasBid | hasAsk
	}
	return keys
}

// keyOf returns the first key of a set, in the order of the constants.
func keyOf(set present) string {
	for i, key := range [...]string{
		keyVersion, keyKind, keyExchange, keyMarket, keySymbol, keyFirstID, keyLastID, keyAfter, keyReason,
		keyID, keyUpdateID, keyPrice, keyQuantity, keyBids, keyAsks, keyBid, keyAsk, keyBuyerMaker, keyTradeTime, keyPrevLastID,
	} {
		if set&(1<<i) != 0 {
			return key
		}
	}
	return ""
}

// ownTime returns the time of the update or snapshot itself.
func (b *body) ownTime() time.Time {
	if b.seen&hasBookEventTime != 0 {
		return b.times.book
	}
	return b.times.event
}

func (b *body) update() orderbook.Update {
	return orderbook.Update{
		FirstID: b.firstID, LastID: b.lastID, PrevLastID: b.prevLastID,
		EventTime: b.ownTime(), TransactTime: b.times.transact,
		Bids: b.bids, Asks: b.asks,
	}
}

func (b *body) snapshot() orderbook.Snapshot {
	return orderbook.Snapshot{
		LastID:    b.lastID,
		EventTime: b.ownTime(), TransactTime: b.times.transact,
		Bids: b.bids, Asks: b.asks, BidBound: b.bidBound, AskBound: b.askBound,
	}
}

// checks reports whether a snapshot is the one that its publisher had in memory. A publisher may send no checksum.
func (b *body) checks() bool {
	if b.kind != marketprism.KindSnapshot || b.seen&hasChecksum == 0 {
		return true
	}
	snap := b.snapshot()
	return b.checksum == int64(snap.Checksum())
}

func (b *body) gap() orderbook.Gap {
	g := orderbook.Gap{After: b.after, Reason: b.reason}
	if b.seen&hasErr != 0 {
		g.Err = b.err
	}
	return g
}

func (b *body) trade() marketprism.Trade {
	return marketprism.Trade{
		ID: b.id, Aggregate: b.kind == marketprism.KindAggTrade, FirstID: b.firstID, LastID: b.lastID,
		Price: b.price, Quantity: b.quantity, BuyerMaker: b.buyerMaker, BestMatch: b.bestMatch, TradeTime: b.times.trade,
	}
}

func (b *body) ticker() marketprism.Ticker {
	return marketprism.Ticker{UpdateID: b.updateID, TransactTime: b.times.transact, Bid: b.bid, Ask: b.ask}
}
