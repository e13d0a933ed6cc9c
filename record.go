package marketprism

import (
	"errors"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// A Record is one piece of market data on its way from an exchange to a reader: what happened, to
// which instrument, and when. Exactly one of Update, Snapshot, Gap, Trade and Ticker is set.
//
// Between a Snapshot record of an instrument and its next Gap record, applying every Update record
// to a book seeded by that Snapshot gives exactly the exchange's book; outside such a span there are
// no Update records. This is the contract of orderbook.Syncer, carried over bus and store.
type Record struct {
	Instrument Instrument

	EventTime  time.Time // exchange clock; zero where the venue does not say (Binance spot snapshots and tickers)
	ReceivedAt time.Time // local clock of the collector

	Update   *orderbook.Update
	Snapshot *orderbook.Snapshot
	Gap      *orderbook.Gap
	Trade    *Trade
	Ticker   *Ticker

	// Origin is where the record stood in the stream it was read from; zero if it came from no
	// stream. It is not part of the record's identity: Key ignores it.
	Origin Origin
}

// An Origin is a position in a sequenced stream, by which a store knows what it already has.
type Origin struct {
	// Source names the stream and its incarnation, because sequences restart when a stream is made
	// anew. "" means none.
	Source   string
	Sequence uint64 // position in it, from 1
}

// A Kind says which of a Record's payloads is set. Its numbers and names are stored: they never change.
type Kind uint8

// The kinds of Record.
const (
	KindUpdate   Kind = 1
	KindSnapshot Kind = 2
	KindGap      Kind = 3
	KindTrade    Kind = 4
	KindAggTrade Kind = 5 // a Trade with Aggregate set
	KindTicker   Kind = 6
)

// Kinds returns every kind, in the order of their numbers.
func Kinds() []Kind {
	return []Kind{KindUpdate, KindSnapshot, KindGap, KindTrade, KindAggTrade, KindTicker}
}

var kindNames = [...]string{
	KindUpdate: "depth", KindSnapshot: "snap", KindGap: "gap",
	KindTrade: "trade", KindAggTrade: "aggtrade", KindTicker: "bbo",
}

// String returns the kind's name in subjects and keys: depth, snap, gap, trade, aggtrade, bbo;
// "unknown" for a value that is none of the constants.
func (k Kind) String() string {
	if k == 0 || int(k) >= len(kindNames) {
		return "unknown"
	}
	return kindNames[k]
}

// ParseKind is the inverse of String. Its error is ErrKind.
func ParseKind(s string) (Kind, error) {
	for _, k := range Kinds() {
		if kindNames[k] == s {
			return k, nil
		}
	}
	return 0, ErrKind
}

// ErrKind is the error for a record that has no payload, more than one, or an unknown kind.
var ErrKind = errors.New("marketprism: record has no kind, or more than one")

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

// Validate returns ErrKind unless exactly one payload is set.
func (r *Record) Validate() error {
	n := 0
	for _, set := range [...]bool{r.Update != nil, r.Snapshot != nil, r.Gap != nil, r.Trade != nil, r.Ticker != nil} {
		if set {
			n++
		}
	}
	if n != 1 {
		return ErrKind
	}
	return nil
}

// Time returns EventTime, or ReceivedAt where the venue gives no time: the time a record is stored
// and queried by.
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
