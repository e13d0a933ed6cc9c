package sink

import (
	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// holes keep what a queue drops from breaking the contract of marketprism.Record.
//
// Whatever is dropped is missing between what was taken before and what is taken next. So where a
// book loses something, a Gap goes to the front of the next batch, and the Updates behind it are
// useless until a Snapshot comes by: they are dropped as they reach the head.
type holes struct {
	books    map[marketprism.Instrument]*bookEnd
	gaps     []marketprism.Record // for the next batch; at most one of each instrument
	gapsFrom uint64               // position of the record that the first of gaps stands for
	made     uint64               // gaps made here
}

// A bookEnd is how far the reader will know a book from all that was taken.
type bookEnd struct {
	lastID int64 // of the last Update or Snapshot taken
	hole   bool  // something was dropped since, and no Snapshot taken after it
}

func newHoles() *holes { return &holes{books: make(map[marketprism.Instrument]*bookEnd)} }

// open records that r, at the given position at the head of the queue, is dropped. It returns true if
// r was a Gap and is kept in place of one of ours, so that nothing is lost.
func (h *holes) open(r *marketprism.Record, position uint64) (kept bool) {
	switch r.Kind() {
	case marketprism.KindUpdate, marketprism.KindSnapshot, marketprism.KindGap:
	default:
		return false // nothing that follows depends on a trade or ticker
	}
	book := h.book(r.Instrument)
	if book.hole {
		return false
	}
	book.hole = true
	if len(h.gaps) == 0 {
		h.gapsFrom = position
	}
	if r.Gap != nil {
		h.gaps = append(h.gaps, *r)
		return true
	}
	h.made++
	h.gaps = append(h.gaps, marketprism.Record{
		Instrument: r.Instrument,
		EventTime:  r.EventTime, // of the first record lost: sorted by time, the Gap stands in the hole
		ReceivedAt: r.ReceivedAt,
		Gap:        &orderbook.Gap{After: book.lastID, Reason: orderbook.GapOverflow, Err: ErrFull},
	})
	return false
}

// takeGaps moves the waiting gaps to batch.
func (h *holes) takeGaps(batch []marketprism.Record) []marketprism.Record {
	batch = append(batch, h.gaps...)
	clear(h.gaps)
	h.gaps = h.gaps[:0]
	return batch
}

// pass reports whether r, taken from the head of the queue, is of use to the reader.
func (h *holes) pass(r *marketprism.Record) bool {
	switch r.Kind() {
	case marketprism.KindSnapshot:
		*h.book(r.Instrument) = bookEnd{lastID: r.Snapshot.LastID}
	case marketprism.KindUpdate:
		book := h.book(r.Instrument)
		if book.hole {
			return false
		}
		book.lastID = r.Update.LastID
	}
	return true
}

func (h *holes) book(i marketprism.Instrument) *bookEnd {
	book := h.books[i]
	if book == nil {
		book = new(bookEnd)
		h.books[i] = book
	}
	return book
}
