package marketprism

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// A Record is one piece of market data on its way from an exchange to a reader: what happened, to
// which instrument, and when. Exactly one of Update, Snapshot, Gap, Trade and Ticker is set.
//
// Between a Snapshot record of an instrument and its next Gap record, applying every Update record
// to a book seeded by that Snapshot gives exactly the exchange's book; outside such a span there are
// no Update records. This is the contract of orderbook.Syncer, and it holds on the bus and in the store.
type Record struct {
	Instrument Instrument

	EventTime  time.Time // exchange clock; zero where the venue sends none (Binance spot snapshots and tickers)
	ReceivedAt time.Time // local clock of the collector

	Update   *orderbook.Update
	Snapshot *orderbook.Snapshot
	Gap      *orderbook.Gap
	Trade    *Trade
	Ticker   *Ticker

	// Origin is the position of the record in the stream it was read from; zero if it came from no
	// stream. It is not part of the record's identity: Key ignores it.
	Origin Origin
}

// An Origin is a position in a sequenced stream. A store uses it to recognize records it already has.
type Origin struct {
	// Source names the stream and its incarnation: sequences start again when a stream is deleted and
	// made again. "" means none.
	Source   string
	Sequence uint64 // position in it, from 1
}

// Why a record is not valid, for errors.Is.
var (
	// ErrKind is the error for a record that has no payload, more than one, or an unknown kind.
	ErrKind = errors.New("marketprism: record has no kind, or more than one")
	// ErrNoTime is the error for a record without EventTime and ReceivedAt, and for a trade without TradeTime. A time
	// before 1971 counts as none: it is what a time becomes that was not set, or has another unit than its reader thinks.
	ErrNoTime = errors.New("marketprism: record has no time")
	// ErrIDs is the error for a trade whose FirstID is above its LastID.
	ErrIDs = errors.New("marketprism: first trade id is above the last one")
)

// Kind returns the record's kind, by the first payload that is set; 0 if none is.
func (r *Record) Kind() Kind {
	switch {
	case r.Update != nil:
		return KindUpdate
	case r.Trade != nil && r.Trade.Aggregate:
		return KindAggTrade
	case r.Trade != nil:
		return KindTrade
	case r.Ticker != nil:
		return KindTicker
	case r.Snapshot != nil:
		return KindSnapshot
	case r.Gap != nil:
		return KindGap
	}
	return 0
}

// Validate returns why the record is not sound; nil if it is. Whatever takes records from outside refuses one that is
// not: the codec of the bus, in both directions, and with it Publisher, Consumer and book feed; the store; a Buffer.
//
// The error is ErrKind unless exactly one payload is set, ErrNoTime where a store could not place the record in time,
// an *orderbook.NumberError where a price or a quantity is below zero, an *orderbook.SequenceError or ErrIDs where the
// first id of a range is above the last one, and orderbook.ErrGapReason for a Gap without a known reason.
func (r *Record) Validate() error {
	n := 0
	for _, set := range [...]bool{r.Update != nil, r.Snapshot != nil, r.Gap != nil, r.Trade != nil, r.Ticker != nil} {
		if set {
			n++
		}
	}
	switch {
	case n != 1:
		return ErrKind
	case !hasTime(r.Time()):
		return ErrNoTime
	case r.Update != nil:
		return r.Update.Validate()
	case r.Snapshot != nil:
		return r.Snapshot.Validate()
	case r.Gap != nil:
		_, err := orderbook.ParseGapReason(r.Gap.Reason.String())
		return err
	case r.Trade != nil:
		return validateTrade(r.Trade)
	}
	t := r.Ticker
	return notNegative(t.Bid.Price, t.Bid.Quantity, t.Ask.Price, t.Ask.Quantity)
}

// validateTrade returns why a trade is not sound. Binance sends T with every trade and aggregate, and f and l with every
// aggregate (web-socket-streams.md of binance-spot-api-docs); in broken aggregates of its history both are -1.
func validateTrade(t *Trade) error {
	switch {
	case !hasTime(t.TradeTime):
		return ErrNoTime
	case t.FirstID > t.LastID:
		return ErrIDs
	}
	return notNegative(t.Price, t.Quantity)
}

// hasTime reports whether t is a time of market data. One before 1971 is not: a time that was never set, or in another
// unit than its reader thinks, becomes one of January 1970, as in https://github.com/influxdata/influxdb/issues/3769:
// "1440089182 in nanoseconds is 1.4 seconds after midnight, 1970-01-01".
func hasTime(t time.Time) bool {
	const year = 365 * 24 * 60 * 60
	return t.Unix() >= year
}

func notNegative(numbers ...orderbook.Fixed) error {
	for _, n := range numbers {
		if n < 0 {
			return &orderbook.NumberError{Input: n.String(), Err: orderbook.ErrRange}
		}
	}
	return nil
}

// Time returns EventTime, or ReceivedAt where the venue sends no time. A store keeps and finds records by it.
func (r *Record) Time() time.Time {
	if r.EventTime.IsZero() {
		return r.ReceivedAt
	}
	return r.EventTime
}

// Clone returns a copy that shares no memory with r, for a reader that keeps records.
func (r *Record) Clone() Record {
	c := *r
	switch {
	case r.Update != nil:
		c.Update = r.Update.Clone()
	case r.Snapshot != nil:
		c.Snapshot = r.Snapshot.Clone()
	case r.Gap != nil:
		gap := *r.Gap
		c.Gap = &gap
	case r.Trade != nil:
		trade := *r.Trade
		c.Trade = &trade
	case r.Ticker != nil:
		ticker := *r.Ticker
		c.Ticker = &ticker
	}
	return c
}

// Key identifies the record by the exchange's own ids alone, never by the collector or the time of
// arrival. Two collectors that see the same event give the same key, so a bus and a store can drop the
// second copy. The form is exchange:market:kind:symbol:identity, where identity is
//
//	depth     FirstID-LastID
//	snap      LastID:BIDSxASKS, the numbers of levels, since a deeper snapshot of one id says more
//	gap       After-reason
//	trade     trade id
//	aggtrade  aggregate id
//	bbo       update id
//
// A Gap or a Snapshot must not be dropped for its key alone: if a quiet book loses its connection twice, it
// ends with the same Gap and begins with the same Snapshot both times.
//
// Two connections may cut the same changes into updates at different borders; those have different
// keys, and readers drop the overlap by update id.
func (r *Record) Key() string {
	var buf [96]byte
	return string(r.AppendKey(buf[:0]))
}

// AppendKey appends Key to b. It allocates nothing where b has room.
func (r *Record) AppendKey(b []byte) []byte {
	b = append(b, r.Instrument.Exchange...)
	b = append(b, ':')
	b = append(b, r.Instrument.Market...)
	b = append(b, ':')
	b = append(b, r.Kind().String()...)
	b = append(b, ':')
	b = append(b, r.Instrument.Symbol...)
	b = append(b, ':')
	switch r.Kind() {
	case KindUpdate:
		b = strconv.AppendInt(b, r.Update.FirstID, 10)
		b = append(b, '-')
		b = strconv.AppendInt(b, r.Update.LastID, 10)
	case KindSnapshot:
		b = strconv.AppendInt(b, r.Snapshot.LastID, 10)
		b = append(b, ':')
		b = strconv.AppendInt(b, int64(len(r.Snapshot.Bids)), 10)
		b = append(b, 'x')
		b = strconv.AppendInt(b, int64(len(r.Snapshot.Asks)), 10)
	case KindGap:
		b = strconv.AppendInt(b, r.Gap.After, 10)
		b = append(b, '-')
		b = append(b, r.Gap.Reason.String()...)
	case KindTrade, KindAggTrade:
		b = strconv.AppendInt(b, r.Trade.ID, 10)
	case KindTicker:
		b = strconv.AppendInt(b, r.Ticker.UpdateID, 10)
	}
	return b
}

// A HandlerError is the error of a Run whose Handler failed: the Handler was not called again, not even with the Gaps that
// end the synced books, so whoever followed the records has books that are not ended.
type HandlerError struct {
	Key         string // of the record with which the Handler failed, see Record.Key
	Undelivered int    // records that came after it, and that the Handler did not get
	Err         error  // the Handler's
}

func (e *HandlerError) Error() string {
	return fmt.Sprintf("marketprism: the Handler failed at %s, %d records after it were not delivered: %v", e.Key, e.Undelivered, e.Err)
}

// Unwrap returns the Handler's error.
func (e *HandlerError) Unwrap() error { return e.Err }
