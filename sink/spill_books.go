package sink

import (
	"slices"
	"strings"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A delivery keeps what damage took out of a queue from breaking the contract of marketprism.Record.
// It sees everything on its way to the destination.
type delivery struct {
	holes *holes
	gaps  uint64 // made here

	// damage is set from the first damage on: a book that is not in holes may have lost something too.
	damage error
	broken bool // some book may have a hole
}

// lose appends to recs a Gap for every book that is known, and notes that its Updates are useless from
// here on. The gaps bear the times of at, the first record behind the damage.
func (d *delivery) lose(damage error, at *marketprism.Record, recs []marketprism.Record) []marketprism.Record {
	d.damage, d.broken = damage, true
	var lost []marketprism.Instrument
	for instrument, book := range d.holes.books {
		if !book.hole {
			lost = append(lost, instrument)
		}
	}
	slices.SortFunc(lost, func(a, b marketprism.Instrument) int { return strings.Compare(a.String(), b.String()) })
	for _, instrument := range lost {
		recs = append(recs, d.gap(instrument, at))
	}
	return recs
}

func (d *delivery) gap(instrument marketprism.Instrument, at *marketprism.Record) marketprism.Record {
	book := d.holes.book(instrument)
	book.hole = true
	d.gaps++
	return marketprism.Record{
		Instrument: instrument,
		EventTime:  at.EventTime,
		ReceivedAt: at.ReceivedAt,
		Gap:        &orderbook.Gap{After: book.lastID, Reason: orderbook.GapInvalid, Err: d.damage},
	}
}

// pass appends r to recs if it is of use to the reader, or the Gap that takes its place; false if
// r itself is not among them.
func (d *delivery) pass(r *marketprism.Record, recs []marketprism.Record) ([]marketprism.Record, bool) {
	if d.damage != nil && r.Update != nil && d.holes.books[r.Instrument] == nil {
		return append(recs, d.gap(r.Instrument, r)), false
	}
	if !d.holes.pass(r) {
		return recs, false
	}
	return append(recs, *r), true
}

// refuse opens a hole where r, which was on its way, is left out. It returns the records behind it, with a
// Gap in front and without those that the hole has made useless. A refused Gap gets no other in its place.
func (d *delivery) refuse(r *marketprism.Record, behind []marketprism.Record, cause error) (recs, useless []marketprism.Record) {
	gap := marketprism.Record{Instrument: r.Instrument, EventTime: r.EventTime, ReceivedAt: r.ReceivedAt}
	switch {
	case r.Update != nil:
		gap.Gap = &orderbook.Gap{After: r.Update.FirstID - 1, Reason: orderbook.GapInvalid, Err: cause}
	case r.Snapshot != nil:
		gap.Gap = &orderbook.Gap{After: r.Snapshot.LastID, Reason: orderbook.GapInvalid, Err: cause}
	case r.Gap == nil:
		return behind, nil // nothing that follows depends on a trade or ticker
	}
	d.broken = true
	d.holes.book(r.Instrument).hole = true
	if gap.Gap != nil {
		d.gaps++
		recs = append(recs, gap)
	}
	for i := range behind { // of other books, those behind have passed already
		if next := &behind[i]; next.Instrument == r.Instrument && !d.holes.pass(next) {
			useless = append(useless, *next)
		} else {
			recs = append(recs, *next)
		}
	}
	return recs, useless
}

// useful returns what passAll would make of recs, and notes nothing.
func (d *delivery) useful(recs []marketprism.Record) (kept, dropped []marketprism.Record) {
	trial := delivery{holes: newHoles(), damage: d.damage}
	for i := range recs {
		if book := d.holes.books[recs[i].Instrument]; book != nil {
			*trial.holes.book(recs[i].Instrument) = *book
		}
	}
	return trial.passAll(recs)
}

// passAll returns what pass makes of recs.
func (d *delivery) passAll(recs []marketprism.Record) (kept, dropped []marketprism.Record) {
	for i := range recs {
		var ok bool
		if kept, ok = d.pass(&recs[i], kept); !ok {
			dropped = append(dropped, recs[i])
		}
	}
	return kept, dropped
}

// passAll notes that recs, all of which are of use, were taken.
func (h *holes) passAll(recs []marketprism.Record) {
	for i := range recs {
		h.pass(&recs[i])
	}
}

// useful returns those of recs that pass would let by one after the other, and notes nothing. It
// returns recs itself if those are all.
func (h *holes) useful(recs []marketprism.Record) (kept, dropped []marketprism.Record) {
	var mended map[marketprism.Instrument]bool // by a Snapshot among recs
	for i := range recs {
		r := &recs[i]
		book := h.books[r.Instrument]
		hole := book != nil && book.hole && !mended[r.Instrument]
		if hole && r.Snapshot != nil {
			if mended == nil {
				mended = make(map[marketprism.Instrument]bool)
			}
			mended[r.Instrument] = true
		}
		switch useless := hole && r.Update != nil; {
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
