package natsbus

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// CodecVersion is the value of the key "v" of every message body. It increases when a reader of the older form would
// misunderstand the newer one; an added key does not increase it.
const CodecVersion = 1

// A CodecError is a record that cannot be encoded, or a body that cannot be decoded.
type CodecError struct {
	Op     string // "encode" or "decode"
	Key    string // the JSON key concerned; "" if it is none in particular
	Offset int    // decode: the byte of the body at which the error was found

	// Kind is "version" for a body of another CodecVersion, "missing" where a required key is absent, "value" where
	// a value does not fit its key, "time" where a time does not fit 64 bits of nanoseconds, "utf8" where a text is
	// not UTF-8, "checksum" where the levels of a snapshot are not those that its publisher had, and "" for any
	// other error, such as one of JSON's syntax.
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
