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
	batch    uint64               // changes with each batch
	gaps     []marketprism.Record // for the next batch; at most one of each instrument, and one with GapRegressed
	gapsFrom uint64               // position of the record that the first of gaps replaces
	made     uint64               // gaps made here
}

// A bookEnd is the state of a book after the records taken so far.
type bookEnd struct {
	bookState
	begun bookState // before the records of batch
	batch uint64
	ended int64 // After of the last Gap that was made for damage
}

// A bookState is the state of a book as a reader sees it.
type bookState struct {
	lastID int64 // of the last Update or Snapshot
	known  bool  // there was one; a reader may have others of an earlier process
	lost   bool  // a Gap has come or a record was dropped since, and no Snapshot came after it
}

// take notes that the reader gets r, and reports whether it can use it.
func (b *bookState) take(r *marketprism.Record) bool {
	switch {
	case r.Snapshot != nil:
		*b = bookState{lastID: r.Snapshot.LastID, known: true}
	case r.Gap != nil:
		b.lost = true
	case r.Update != nil && b.lost:
		return false
	case r.Update != nil:
		b.lastID, b.known = r.Update.LastID, true
	}
	return true
}

// needs reports whether the book is lost without r. A Snapshot of the id at which it is, such as those that a
// collector adds for new readers, is not needed: by the contract the book equals it.
func (b *bookState) needs(r *marketprism.Record) bool {
	return r.Snapshot == nil || !b.known || b.lost || b.lastID != r.Snapshot.LastID
}

// after returns the After of a Gap in the place of an Update or a Snapshot. Readers ignore a Gap before their book's id,
// as one of another collector. So where that id is not known, it is the end of the record, which they cannot be beyond.
func (b *bookState) after(r *marketprism.Record) int64 {
	switch {
	case b.known:
		return b.lastID
	case r.Update != nil:
		return r.Update.LastID
	}
	return r.Snapshot.LastID
}

// isOfBook reports whether a book depends on r. No later record depends on a trade or a ticker.
func isOfBook(r *marketprism.Record) bool {
	return r.Update != nil || r.Snapshot != nil || r.Gap != nil
}

func newGapTracker() *gapTracker {
	return &gapTracker{books: make(map[marketprism.Instrument]*bookEnd)}
}

// lose records that r, at the given position at the head of the queue, is dropped. It returns true if
// r was a Gap and is kept in place of a new one, so that nothing is lost.
func (g *gapTracker) lose(r *marketprism.Record, position uint64) (kept bool) {
	if !isOfBook(r) {
		return false
	}
	book := g.book(r.Instrument)
	if book.lost && !g.wantsRegressed(r) || !book.needs(r) {
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
	// The times are those of the first record lost, so that sorting by time keeps its place.
	g.gaps = append(g.gaps, gapAt(r, book.after(r), orderbook.GapOverflow, ErrFull))
	return false
}

// gapAt returns a Gap of the book of r, with its times.
func gapAt(r *marketprism.Record, after int64, reason orderbook.GapReason, cause error) marketprism.Record {
	return marketprism.Record{
		Instrument: r.Instrument, EventTime: r.EventTime, ReceivedAt: r.ReceivedAt,
		Gap: &orderbook.Gap{After: after, Reason: reason, Err: cause},
	}
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
	return !isOfBook(r) || g.book(r.Instrument).take(r)
}

// book returns the state of a book that is about to change.
func (g *gapTracker) book(i marketprism.Instrument) *bookEnd {
	book := g.books[i]
	if book == nil {
		book = &bookEnd{batch: g.batch}
		g.books[i] = book
	}
	if book.batch != g.batch {
		book.begun, book.batch = book.bookState, g.batch
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

// begin begins a batch.
func (d *damageTracker) begin() { d.tracker.batch++ }

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
		place := marketprism.Record{Instrument: instrument, EventTime: at.EventTime, ReceivedAt: at.ReceivedAt}
		recs = append(recs, d.gap(&place, d.tracker.book(instrument).lastID))
	}
	return recs
}

// gap returns the Gap for damage before r.
func (d *damageTracker) gap(r *marketprism.Record, after int64) marketprism.Record {
	book := d.tracker.book(r.Instrument)
	book.lost, book.ended = true, after
	d.gaps++
	return gapAt(r, after, orderbook.GapInvalid, d.damage)
}

// pass appends r to recs if a reader can use it. The first record of a book that is not known has a Gap before it after
// damage, or in its place if it is an Update. pass reports whether r itself was appended.
func (d *damageTracker) pass(r *marketprism.Record, recs []marketprism.Record) ([]marketprism.Record, bool) {
	if d.damage != nil && d.tracker.books[r.Instrument] == nil {
		switch {
		case r.Update != nil:
			return append(recs, d.gap(r, r.Update.LastID)), false
		case r.Snapshot != nil: // a reader that is at this id has lost nothing
			recs = append(recs, d.gap(r, r.Snapshot.LastID-1))
		}
	}
	if !d.tracker.pass(r) {
		return recs, false
	}
	return append(recs, *r), true
}

// repeat appends to recs a Gap for each book that is still lost after the useless Updates of a batch, with the id of the
// last of them: a reader may have that already, from a Write that was not confirmed, and have ignored the Gap before it.
func (d *damageTracker) repeat(useless, recs []marketprism.Record) []marketprism.Record {
	for i := range slices.Backward(useless) {
		r := &useless[i]
		if book := d.tracker.book(r.Instrument); d.damage != nil && book.lost && book.ended < r.Update.LastID {
			recs = append(recs, d.gap(r, r.Update.LastID))
		}
	}
	return recs
}

// delivered notes that the destination has accepted recs, the first that are left of the batch.
func (d *damageTracker) delivered(recs []marketprism.Record) {
	for i := range recs {
		if isOfBook(&recs[i]) {
			d.tracker.book(recs[i].Instrument).begun.take(&recs[i])
		}
	}
}

// refuse leaves out the records that the destination refused, of recs, what is left of the batch. It returns the others,
// with a Gap in the place of the first that a book has lost and without the Updates that are useless now. A refused Gap is
// not replaced: another one would be refused too.
func (d *damageTracker) refuse(recs []marketprism.Record, refused []Refusal) (kept, useless []marketprism.Record) {
	states := make(map[marketprism.Instrument]*bookState) // before each of recs
	for i := range recs {
		r := &recs[i]
		var cause error
		isRefused := len(refused) > 0 && refused[0].Index == i
		if isRefused {
			cause, refused = refused[0].Err, refused[1:]
		}
		if !isOfBook(r) {
			if !isRefused {
				kept = append(kept, *r)
			}
			continue
		}
		state := states[r.Instrument]
		if state == nil {
			begun := d.tracker.book(r.Instrument).begun
			state = &begun
			states[r.Instrument] = state
		}
		switch {
		case isRefused && !state.needs(r):
		case isRefused:
			if !state.lost && r.Gap == nil {
				d.gaps++
				kept = append(kept, gapAt(r, state.after(r), orderbook.GapInvalid, cause))
			}
			d.broken, state.lost = true, true
		case state.take(r):
			kept = append(kept, *r)
		default:
			useless = append(useless, *r)
		}
	}
	for instrument, state := range states {
		d.tracker.book(instrument).bookState = *state
	}
	return kept, useless
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
