package natsbus

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// CodecVersion is the value of the key "v" of every message body. It grows when a reader of the
// older form would misunderstand the newer one; added keys do not make it grow.
const CodecVersion = 1

// The ways in which a record cannot be encoded or a body is none. They come wrapped in a *CodecError.
var (
	ErrVersion = errors.New("codec version is not supported")
	ErrMissing = errors.New("key is missing")
	ErrValue   = errors.New("value does not fit its key")
	ErrTime    = errors.New("time does not fit 64 bits of nanoseconds")
	ErrUTF8    = errors.New("text is not UTF-8")

	// ErrChecksum: the levels of a snapshot are not those that its publisher had.
	ErrChecksum = errors.New("book does not have the checksum that it came with")
)

// A CodecError tells which record cannot be encoded or which body cannot be decoded, and why.
type CodecError struct {
	Op     string // "encode" or "decode"
	Key    string // the JSON key concerned; "" if it is none in particular
	Offset int    // decode: the byte of the body at which it was noticed
	Err    error
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

// MaxErrText is how many bytes of the error text of a Gap a body carries. A longer one is cut and
// ends in "…".
const MaxErrText = 4096

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
