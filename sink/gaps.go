package sink

import (
	"slices"
	"strings"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A gapTracker keeps the contract of marketprism.Record where a queue drops records.
//
// A dropped record is missing between the one taken before and the one taken next. So if a book loses
// a record, a Gap goes to the front of the next batch. The Updates after it are useless until the next
// Snapshot: they are dropped as they reach the head of the queue.
type gapTracker struct {
	books    map[marketprism.Instrument]*bookEnd
	gaps     []marketprism.Record // for the next batch; at most one of each instrument, and one with GapRegressed
	gapsFrom uint64               // position of the record that the first of gaps replaces
	made     uint64               // gaps made here
}

// A bookEnd is the state of a book as a reader sees it, who has all records taken so far.
type bookEnd struct {
	lastID int64 // of the last Update or Snapshot taken
	lost   bool  // a record was dropped since, and no Snapshot taken after it
}

func newGapTracker() *gapTracker {
	return &gapTracker{books: make(map[marketprism.Instrument]*bookEnd)}
}

// lose records that r, at the given position at the head of the queue, is dropped. It returns true if
// r was a Gap and is kept in place of a new one, so that nothing is lost.
func (g *gapTracker) lose(r *marketprism.Record, position uint64) (kept bool) {
	switch r.Kind() {
	case marketprism.KindUpdate, marketprism.KindSnapshot, marketprism.KindGap:
	default:
		return false // no later record depends on a trade or ticker
	}
	book := g.book(r.Instrument)
	if book.lost && !g.wantsRegressed(r) {
		return false
	}
	book.lost = true
	if len(g.gaps) == 0 {
		g.gapsFrom = position
	}
	if r.Gap != nil {
		g.gaps = append(g.gaps, *r)
		return true
	}
	g.made++
	g.gaps = append(g.gaps, marketprism.Record{
		Instrument: r.Instrument,
		EventTime:  r.EventTime, // of the first record lost, so that sorting by time keeps its place
		ReceivedAt: r.ReceivedAt,
		Gap:        &orderbook.Gap{After: book.lastID, Reason: orderbook.GapOverflow, Err: ErrFull},
	})
	return false
}

// wantsRegressed reports whether r says that ids went back, as no pending gap of its book does. Readers must learn it
// also of a book that is lost: an id means another event from then on.
func (g *gapTracker) wantsRegressed(r *marketprism.Record) bool {
	regressed := func(gap *marketprism.Record) bool {
		return gap.Instrument == r.Instrument && gap.Gap.Reason == orderbook.GapRegressed
	}
	return r.Gap != nil && regressed(r) && !slices.ContainsFunc(g.gaps, func(gap marketprism.Record) bool { return regressed(&gap) })
}

// takeGaps moves the pending gaps to batch.
func (g *gapTracker) takeGaps(batch []marketprism.Record) []marketprism.Record {
	batch = append(batch, g.gaps...)
	clear(g.gaps)
	g.gaps = g.gaps[:0]
	return batch
}

// pass notes that r is taken from the head of the queue, and reports whether a reader can use it.
func (g *gapTracker) pass(r *marketprism.Record) bool {
	switch r.Kind() {
	case marketprism.KindSnapshot:
		*g.book(r.Instrument) = bookEnd{lastID: r.Snapshot.LastID}
	case marketprism.KindUpdate:
		book := g.book(r.Instrument)
		if book.lost {
			return false
		}
		book.lastID = r.Update.LastID
	}
	return true
}

func (g *gapTracker) book(i marketprism.Instrument) *bookEnd {
	book := g.books[i]
	if book == nil {
		book = new(bookEnd)
		g.books[i] = book
	}
	return book
}

// passAll is pass for recs, of which a reader can use all.
func (g *gapTracker) passAll(recs []marketprism.Record) {
	for i := range recs {
		g.pass(&recs[i])
	}
}

// useful splits recs by what pass would return for one after the other, and notes nothing. It
// returns recs itself if nothing is dropped.
func (g *gapTracker) useful(recs []marketprism.Record) (kept, dropped []marketprism.Record) {
	var restarted map[marketprism.Instrument]bool // by a Snapshot among recs
	for i := range recs {
		r := &recs[i]
		book := g.books[r.Instrument]
		lost := book != nil && book.lost && !restarted[r.Instrument]
		if lost && r.Snapshot != nil {
			if restarted == nil {
				restarted = make(map[marketprism.Instrument]bool)
			}
			restarted[r.Instrument] = true
		}
		switch useless := lost && r.Update != nil; {
		case useless:
			if dropped == nil {
				kept = append(kept, recs[:i]...)
			}
			dropped = append(dropped, *r)
		case dropped != nil:
			kept = append(kept, *r)
		}
	}
	if dropped == nil {
		return recs, nil
	}
	return kept, dropped
}

// A damageTracker keeps the contract of marketprism.Record where records in a queue are damaged or refused. It sees
// every record on its way to the destination; that of a Buffer sees them from the first refusal on.
type damageTracker struct {
	tracker *gapTracker
	gaps    uint64 // made here

	// damage is set from the first damage on: a book that is not in tracker may have lost a record too.
	damage error
	broken bool // some book may be lost
}

// lose appends to recs a Gap for every known book, after which its Updates are useless. The gaps have the
// times of at, the first record after the damage.
func (d *damageTracker) lose(damage error, at *marketprism.Record, recs []marketprism.Record) []marketprism.Record {
	d.damage, d.broken = damage, true
	var lost []marketprism.Instrument
	for instrument, book := range d.tracker.books {
		if !book.lost {
			lost = append(lost, instrument)
		}
	}
	slices.SortFunc(lost, func(a, b marketprism.Instrument) int { return strings.Compare(a.String(), b.String()) })
	for _, instrument := range lost {
		recs = append(recs, d.gap(instrument, at))
	}
	return recs
}

func (d *damageTracker) gap(instrument marketprism.Instrument, at *marketprism.Record) marketprism.Record {
	book := d.tracker.book(instrument)
	book.lost = true
	d.gaps++
	return marketprism.Record{
		Instrument: instrument,
		EventTime:  at.EventTime,
		ReceivedAt: at.ReceivedAt,
		Gap:        &orderbook.Gap{After: book.lastID, Reason: orderbook.GapInvalid, Err: d.damage},
	}
}

// pass appends r to recs if a reader can use it, or a Gap in its place. It reports whether r itself was
// appended.
func (d *damageTracker) pass(r *marketprism.Record, recs []marketprism.Record) ([]marketprism.Record, bool) {
	if d.damage != nil && r.Update != nil && d.tracker.books[r.Instrument] == nil {
		return append(recs, d.gap(r.Instrument, r)), false
	}
	if !d.tracker.pass(r) {
		return recs, false
	}
	return append(recs, *r), true
}

// refuse leaves out the records that the destination refused, and returns the others, with a Gap in the place of the
// first that a book has lost and without the Updates that are useless now. A refused Gap is not replaced.
func (d *damageTracker) refuse(recs []marketprism.Record, refused []Refusal) (kept, useless []marketprism.Record) {
	ended := make(map[marketprism.Instrument]bool) // the books that have lost a record here
	for i := range recs {
		r := &recs[i]
		isRefused := len(refused) > 0 && refused[0].Index == i
		switch {
		case isRefused && (r.Update != nil || r.Snapshot != nil || r.Gap != nil): // no later record depends on others
			book := d.tracker.book(r.Instrument)
			if again := ended[r.Instrument] && book.lost; !again && r.Gap == nil {
				d.gaps++
				kept = append(kept, gapOf(r, refused[0].Err))
			}
			d.broken, book.lost, ended[r.Instrument] = true, true, true
		case isRefused:
		case ended[r.Instrument] && !d.tracker.pass(r): // the records of other books have passed already
			useless = append(useless, *r)
		default:
			kept = append(kept, *r)
		}
		if isRefused {
			refused = refused[1:]
		}
	}
	return kept, useless
}

// gapOf returns the Gap for a refused Update or Snapshot.
func gapOf(r *marketprism.Record, cause error) marketprism.Record {
	var after int64
	if r.Update != nil {
		after = r.Update.FirstID - 1
	} else if r.Snapshot != nil {
		after = r.Snapshot.LastID
	}
	return marketprism.Record{
		Instrument: r.Instrument, EventTime: r.EventTime, ReceivedAt: r.ReceivedAt,
		Gap: &orderbook.Gap{After: after, Reason: orderbook.GapInvalid, Err: cause},
	}
}

// useful returns what passAll would return, and notes nothing.
func (d *damageTracker) useful(recs []marketprism.Record) (kept, dropped []marketprism.Record) {
	trial := damageTracker{tracker: newGapTracker(), damage: d.damage}
	for i := range recs {
		if book := d.tracker.books[recs[i].Instrument]; book != nil {
			*trial.tracker.book(recs[i].Instrument) = *book
		}
	}
	return trial.passAll(recs)
}

// passAll is pass for each of recs.
func (d *damageTracker) passAll(recs []marketprism.Record) (kept, dropped []marketprism.Record) {
	for i := range recs {
		var ok bool
		if kept, ok = d.pass(&recs[i], kept); !ok {
			dropped = append(dropped, recs[i])
		}
	}
	return kept, dropped
}
