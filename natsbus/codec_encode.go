package natsbus

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// AppendRecord appends the message body of r: one JSON object in the form that CODEC.md describes. It allocates nothing
// where dst has room. Origin is left out: it is the position of the message in its stream. The error is a *CodecError,
// which wraps the error of r.Validate if there is one; dst is then returned unchanged.
func AppendRecord(dst []byte, r *marketprism.Record) ([]byte, error) {
	e := encoder{buf: dst}
	e.head(r)
	switch {
	case r.Update != nil:
		e.update(r, r.Update)
	case r.Snapshot != nil:
		e.snapshot(r, r.Snapshot)
	case r.Gap != nil:
		e.gap(r.Gap)
	case r.Trade != nil:
		e.trade(r.Trade)
	case r.Ticker != nil:
		e.ticker(r.Ticker)
	}
	e.buf = append(e.buf, '}')
	if e.err != nil {
		return dst, encodeError(e.errKey, e.err)
	}
	if err := r.Validate(); err != nil { // after the errors that name their key
		return dst, invalidError(opEncode, 0, err)
	}
	return e.buf, nil
}

// An encoder appends the members of one object, and keeps the first error.
type encoder struct {
	buf    []byte
	errKey string
	err    error
}

func (e *encoder) fail(key string, err error) {
	if e.err == nil {
		e.errKey, e.err = key, err
	}
}

func (e *encoder) head(r *marketprism.Record) {
	e.buf = append(e.buf, `{"v":`...)
	e.buf = strconv.AppendInt(e.buf, codecVersion, 10)
	e.text(keyKind, r.Kind().String())
	e.text(keyExchange, r.Instrument.Exchange)
	e.text(keyMarket, string(r.Instrument.Market))
	e.text(keySymbol, r.Instrument.Symbol)
	e.time(keyEventTime, r.EventTime)
	e.time(keyReceivedAt, r.ReceivedAt)
}

func (e *encoder) update(r *marketprism.Record, u *orderbook.Update) {
	e.integer(keyFirstID, u.FirstID)
	e.integer(keyLastID, u.LastID)
	if u.PrevLastID != 0 || r.Instrument.Market.Continuity() == orderbook.Linked {
		e.integer(keyPrevLastID, u.PrevLastID)
	}
	e.bookEventTime(r.EventTime, u.EventTime)
	e.time(keyTransactTime, u.TransactTime)
	e.levels(keyBids, u.Bids)
	e.levels(keyAsks, u.Asks)
}

func (e *encoder) snapshot(r *marketprism.Record, s *orderbook.Snapshot) {
	e.integer(keyLastID, s.LastID)
	e.bookEventTime(r.EventTime, s.EventTime)
	e.time(keyTransactTime, s.TransactTime)
	e.bound(keyBidBound, s.BidBound)
	e.bound(keyAskBound, s.AskBound)
	e.integer(keyChecksum, int64(s.Checksum()))
	e.levels(keyBids, s.Bids)
	e.levels(keyAsks, s.Asks)
}

func (e *encoder) bound(key string, b orderbook.Bound) {
	if b.Limited {
		e.number(key, b.Price)
	}
}

func (e *encoder) gap(g *orderbook.Gap) {
	e.integer(keyAfter, g.After)
	if _, err := orderbook.ParseGapReason(g.Reason.String()); err != nil {
		e.fail(keyReason, err)
	}
	e.text(keyReason, g.Reason.String())
	if g.Err != nil {
		e.text(keyErr, errText(g.Err))
	}
}

func (e *encoder) trade(t *marketprism.Trade) {
	e.integer(keyID, t.ID)
	if t.Aggregate || t.FirstID != 0 || t.LastID != 0 {
		e.integer(keyFirstID, t.FirstID)
		e.integer(keyLastID, t.LastID)
	}
	e.number(keyPrice, t.Price)
	e.number(keyQuantity, t.Quantity)
	e.boolean(keyBuyerMaker, t.BuyerMaker)
	e.boolean(keyBestMatch, t.BestMatch)
	e.time(keyTradeTime, t.TradeTime)
}

func (e *encoder) ticker(t *marketprism.Ticker) {
	e.integer(keyUpdateID, t.UpdateID)
	e.time(keyTransactTime, t.TransactTime)
	e.key(keyBid)
	e.level(t.Bid)
	e.key(keyAsk)
	e.level(t.Ask)
}

// bookEventTime writes the own time of an update or snapshot where it differs from the record's, which is rare. "" is
// none.
func (e *encoder) bookEventTime(record, own time.Time) {
	switch {
	case own.Equal(record):
	case own.IsZero():
		e.text(keyBookEventTime, "")
	default:
		e.time(keyBookEventTime, own)
	}
}

func (e *encoder) key(key string) {
	e.buf = append(e.buf, ',', '"')
	e.buf = append(e.buf, key...)
	e.buf = append(e.buf, '"', ':')
}

func (e *encoder) integer(key string, v int64) {
	e.key(key)
	e.buf = strconv.AppendInt(e.buf, v, 10)
}

func (e *encoder) boolean(key string, v bool) {
	e.key(key)
	e.buf = strconv.AppendBool(e.buf, v)
}

func (e *encoder) number(key string, v orderbook.Fixed) {
	e.key(key)
	e.fixed(v)
}

func (e *encoder) time(key string, t time.Time) {
	if t.IsZero() {
		return
	}
	nanos, ok := unixNano(t)
	if !ok {
		e.fail(key, errTime)
	}
	e.key(key)
	e.buf = append(e.buf, '"')
	e.buf = strconv.AppendInt(e.buf, nanos, 10)
	e.buf = append(e.buf, '"')
}

func (e *encoder) levels(key string, levels []orderbook.Level) {
	e.key(key)
	e.buf = append(e.buf, '[')
	for i, l := range levels {
		if i > 0 {
			e.buf = append(e.buf, ',')
		}
		e.level(l)
	}
	e.buf = append(e.buf, ']')
}

func (e *encoder) level(l orderbook.Level) {
	b := append(e.buf, '[', '"')
	b, _ = l.Price.AppendText(b) // never fails
	b = append(b, '"', ',', '"')
	b, _ = l.Quantity.AppendText(b)
	e.buf = append(b, '"', ']')
}

func (e *encoder) fixed(v orderbook.Fixed) {
	e.buf = append(e.buf, '"')
	e.buf, _ = v.AppendText(e.buf) // never fails
	e.buf = append(e.buf, '"')
}

// text writes s as a JSON string, and escapes only what JSON requires.
func (e *encoder) text(key, s string) {
	e.key(key)
	if !utf8.ValidString(s) {
		e.fail(key, errUTF8)
	}
	const hex = "0123456789abcdef"
	e.buf = append(e.buf, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		e.buf = append(e.buf, s[start:i]...)
		start = i + 1
		if c < ' ' {
			e.buf = append(e.buf, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		} else {
			e.buf = append(e.buf, '\\', c)
		}
	}
	e.buf = append(e.buf, s[start:]...)
	e.buf = append(e.buf, '"')
}

// maxErrText bounds the error text of a Gap in a body, in bytes. A longer one is cut and ends in "…".
const maxErrText = 4096

// errText returns the text of err as valid UTF-8, cut to maxErrText bytes: a Gap must be encoded whatever the text of its
// cause.
func errText(err error) string {
	text := strings.ToValidUTF8(err.Error(), "\uFFFD")
	if len(text) <= maxErrText {
		return text
	}
	const ellipsis = "…"
	cut := maxErrText - len(ellipsis)
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + ellipsis
}
