package dayfile

import (
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A Day is what happened to one instrument on one UTC day. A Format reads its streams, each as often as it likes, and
// creates its files.
type Day struct {
	Instrument marketprism.Instrument
	Date       time.Time // its first moment, UTC

	root     string
	lateness time.Duration
	streams  map[stream]*spool
	begin    carry
	end      carry    // the state after the day, once the book was read whole
	book     *summary // nil until then
	trades   tally    // of the last reading
	tickers  tally
	files    []*File
}

// A BookEvent is one record of the book: between one that Opens a span and the next Gap, the book follows exactly.
type BookEvent struct {
	Record *marketprism.Record // with an Update, a Snapshot or a Gap
	Seq    int64               // position among all records of the instrument in this folder, from 1; that of the record before for StartOfDay

	Local    time.Time // effective local clock: it never goes back
	Exchange time.Time // effective exchange clock, of the matching engine where the venue sends it; it never goes back. Zero for a Gap, and where the venue sends none

	Span       int64 // counts the spans of the instrument in this folder; 0 before the first
	Opens      bool  // the Snapshot begins a span
	Outside    bool  // it belongs to no span; only AllBook yields it
	Made       bool  // the Gap is not a record: it was missing before the next one
	StartOfDay bool  // the Snapshot is the book at the end of the day before, not a record

	Diff *orderbook.Update // the changes that lead from the book before to a Snapshot within a span, or to an empty one; nil for all else
	Book *orderbook.Book   // after the record
}

// An Event is one trade, aggregate or ticker.
type Event struct {
	Record *marketprism.Record
	Seq    int64
	Local  time.Time // effective local clock: it never goes back
}

var errStop = errors.New("stop")

// Book iterates over the records of the book, in the order in which they were written, and begins with the book at the end of
// the day before if it was in a span. Copies are left out, and what belongs to no span: updates without a snapshot before them,
// and the late ones of a second collector. Where a record is missing there is a Gap. The event is valid until the next one.
func (d *Day) Book() iter.Seq2[*BookEvent, error] { return d.eachOfBook(false) }

// AllBook is Book with the records that belong to no span, for a format that loses nothing.
func (d *Day) AllBook() iter.Seq2[*BookEvent, error] { return d.eachOfBook(true) }

func (d *Day) eachOfBook(all bool) iter.Seq2[*BookEvent, error] {
	return func(yield func(*BookEvent, error) bool) {
		r := newBookReader(d.Instrument, &d.begin, d.tail(), all)
		err := r.start(d.Date, yield)
		if err == nil {
			err = d.streams[stream{d.Instrument, books}].each(func(e *entry) error { return r.read(e, yield) })
		}
		switch {
		case err == nil:
			if d.book == nil {
				d.end.bookState, d.book = r.finish(), &r.summary
			}
		case !errors.Is(err, errStop):
			yield(nil, err)
		}
	}
}

// Trades iterates over the single trades; over the aggregates if the day has no single ones, since both together would
// count each trade twice. Copies are left out. The event is valid until the next one.
func (d *Day) Trades() iter.Seq2[*Event, error] {
	sp := d.streams[stream{d.Instrument, trades}]
	return func(yield func(*Event, error) bool) {
		d.eachTrade(sp, yield, func(isAggregate bool) bool { return isAggregate != sp.hasSingle })
	}
}

// AllTrades iterates over the single trades and the aggregates, for a format that keeps them apart.
func (d *Day) AllTrades() iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		d.eachTrade(d.streams[stream{d.Instrument, trades}], yield, func(bool) bool { return true })
	}
}

func (d *Day) eachTrade(sp *spool, yield func(*Event, error) bool, wants func(isAggregate bool) bool) {
	seen := [2]tradeIDs{d.begin.Trades.clone(), d.begin.Aggregates.clone()}
	var count tally // several readings may go on at once
	d.each(sp, &count, yield, func(e *entry) decision {
		t := e.record.Trade
		if !wants(t.Aggregate) {
			return skip
		}
		ids := &seen[0]
		if t.Aggregate {
			ids = &seen[1]
			count.aggregates = true
		}
		if !ids.add(t) {
			return repeated
		}
		return keep
	})
	if count.whole {
		d.trades = count
		d.end.Trades, d.end.Aggregates = seen[0].last(), seen[1].last()
	}
}

// tradeIDs are the ids of trades that were there.
type tradeIDs struct {
	ids    idSet
	latest time.Time
}

// add reports whether a trade is new. Ids that come again with a later time are those of a market that was wiped.
func (s *tradeIDs) add(t *marketprism.Trade) bool {
	isLater := t.TradeTime.After(s.latest)
	if isLater {
		s.latest = t.TradeTime
	}
	if s.ids.add(t.ID) {
		return true
	}
	if isLater {
		s.ids = idSet{}
		s.ids.add(t.ID)
	}
	return isLater
}

func (s *tradeIDs) clone() tradeIDs {
	return tradeIDs{ids: idSet{slices.Clone(s.ids.ranges)}, latest: s.latest}
}

// last returns the ids that may come again on the next day.
func (s *tradeIDs) last() tradeIDs {
	const ranges = 64
	return tradeIDs{ids: idSet{slices.Clone(s.ids.ranges[max(0, len(s.ids.ranges)-ranges):])}, latest: s.latest}
}

// Tickers iterates over the best bids and asks. Copies are left out. The event is valid until the next one.
func (d *Day) Tickers() iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		// Two connections deliver a ticker twice within moments. Lower ids that come later are those of a market that was wiped.
		const wipe = 5 * time.Second
		lastID, lastLocal := d.begin.TickerID, d.begin.TickerLocal
		var count tally
		d.each(d.streams[stream{d.Instrument, tickers}], &count, yield, func(e *entry) decision {
			id := e.record.Ticker.UpdateID
			if lastLocal != 0 && id <= lastID && e.local-lastLocal < int64(wipe) {
				return repeated
			}
			lastID, lastLocal = id, e.local
			return keep
		})
		if count.whole {
			d.tickers = count
			d.end.TickerID, d.end.TickerLocal = lastID, lastLocal
		}
	}
}

// tail returns the local clock from which records may come again on the next day.
func (d *Day) tail() int64 { return d.Date.UnixNano() + nanosPerDay - int64(d.lateness) }

type decision uint8

const (
	keep     decision = iota
	skip              // another kind
	repeated          // a copy
)

// A tally counts the events of one reading.
type tally struct {
	rows, copies, seq int64
	aggregates        bool
	whole             bool // it was read to its end
}

// drain reads events to their end.
func drain(events iter.Seq2[*Event, error]) error {
	for _, err := range events {
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *Day) each(sp *spool, t *tally, yield func(*Event, error) bool, decide func(*entry) decision) {
	var event Event
	err := sp.each(func(e *entry) error {
		switch decide(e) {
		case skip:
			return nil
		case repeated:
			t.copies++
			return nil
		}
		t.rows++
		t.seq = e.seq
		event = Event{Record: &e.record, Seq: e.seq, Local: time.Unix(0, e.local).UTC()}
		if !yield(&event, nil) {
			return errStop
		}
		return nil
	})
	switch {
	case err == nil:
		t.whole = true
	case !errors.Is(err, errStop):
		yield(nil, err)
	}
}

// Spans returns the spans of the day; none before Book was read to its end.
func (d *Day) Spans() []SpanInfo {
	if d.book == nil {
		return nil
	}
	return d.book.spans
}

// Gaps returns the Gap records of the day; none before Book was read to its end.
func (d *Day) Gaps() []GapInfo {
	if d.book == nil {
		return nil
	}
	return d.book.gaps
}

// LastBook returns the book at the end of the day as a snapshot; nil outside a span, and before Book was read to its end.
func (d *Day) LastBook() *orderbook.Snapshot { return d.end.Book }

// isQuiet reports whether the day has no record of the instrument.
func (d *Day) isQuiet() bool {
	for _, c := range [...]class{books, trades, tickers} {
		if d.streams[stream{d.Instrument, c}] != nil {
			return false
		}
	}
	return true
}

// An idSet holds ids, most of which follow one another, as ranges.
type idSet struct {
	ranges []idRange // sorted, apart from each other
}

type idRange struct{ first, last int64 }

// add adds an id, and reports whether it was not there.
func (s *idSet) add(id int64) bool {
	i, found := slices.BinarySearchFunc(s.ranges, id, func(r idRange, id int64) int {
		switch {
		case r.last < id:
			return -1
		case r.first > id:
			return 1
		}
		return 0
	})
	if found {
		return false
	}
	before := i > 0 && s.ranges[i-1].last+1 == id
	after := i < len(s.ranges) && s.ranges[i].first == id+1
	switch {
	case before && after:
		s.ranges[i-1].last = s.ranges[i].last
		s.ranges = slices.Delete(s.ranges, i, i+1)
	case before:
		s.ranges[i-1].last = id
	case after:
		s.ranges[i].first = id
	default:
		s.ranges = slices.Insert(s.ranges, i, idRange{id, id})
	}
	return true
}
