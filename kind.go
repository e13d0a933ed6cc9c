package marketprism

import (
	"context"
)

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

// On has a func for each kind of record, in place of a switch: its Handler is one for binance.DepthConfig, for bookfeed.Config, and
// for binance.RouteSymbols, which gives each symbol an On of its own. A nil func ignores its records.
//
//	marketprism.On{Gap: halt, Synced: resume}.Handler()
//
// A bot that quotes while its book is synced needs no more than these two.
//
// The funcs keep the rules of the Handler that they serve: the record is valid until they return, and an error ends Run.
type On struct {
	// Synced gets the Snapshot with which a book becomes synced: its first one, and the first after each Gap.
	Synced func(context.Context, *Record) error
	// Refreshed gets a Snapshot of a book that is synced already. It is the same book, known further.
	Refreshed func(context.Context, *Record) error
	// Update gets each change of a synced book.
	Update func(context.Context, *Record) error
	// Gap gets the end of a synced book, with the reason. There is no Update of it until it is synced again.
	Gap func(context.Context, *Record) error

	// Trade gets each trade, where the feed has them.
	Trade func(context.Context, *Record) error
	// Ticker gets each change of the best prices, where the feed has them.
	Ticker func(context.Context, *Record) error
}

// Handler returns a func that calls those of on, as they are now. It remembers which books are synced, so each feed needs one of
// its own, and calls one at a time, as the feeds make them.
func (on On) Handler() func(context.Context, *Record) error {
	synced := make(map[Instrument]bool)
	return func(ctx context.Context, rec *Record) error {
		f := on.forRecord(rec, synced)
		if f == nil {
			return nil
		}
		err := f(ctx, rec)
		if err != nil {
			clear(synced) // the Run ends, and the Gaps of its books do not come
		}
		return err
	}
}

// forRecord returns the func for a record, and notes in synced the books that begin and end.
func (on On) forRecord(rec *Record, synced map[Instrument]bool) func(context.Context, *Record) error {
	switch {
	case rec.Update != nil:
		return on.Update
	case rec.Snapshot != nil && synced[rec.Instrument]:
		return on.Refreshed
	case rec.Snapshot != nil:
		synced[rec.Instrument] = true
		return on.Synced
	case rec.Gap != nil:
		delete(synced, rec.Instrument)
		return on.Gap
	case rec.Trade != nil:
		return on.Trade
	case rec.Ticker != nil:
		return on.Ticker
	}
	return nil
}
