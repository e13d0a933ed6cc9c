package dayfile

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A bookReader follows the records of one book through a day.
type bookReader struct {
	rule     orderbook.Continuity
	all      bool                // yield records outside spans too
	seen     map[uint64]struct{} // identities of the records so far
	tail     int64               // the local clock from which records may come again on the next day
	tailIDs  []uint64            // their identities
	state    bookState           // of the book before the next record; Book is not kept up to date
	book     orderbook.Book
	event    BookEvent
	snapshot orderbook.Snapshot
	gap      orderbook.Gap
	summary  summary
}

// A summary is what a manifest says of a book.
type summary struct {
	updates, snapshots int64
	copies             int64 // records that came again
	outside            int64 // records that belong to no span
	firstID, lastID    int64
	spans              []SpanInfo
	gaps               []GapInfo
	sha256, crc32c     string // of the book at the end
}

func newBookReader(in marketprism.Instrument, begin *carry, tail int64, all bool) *bookReader {
	r := &bookReader{rule: in.Market.Continuity(), state: begin.bookState, all: all, seen: make(map[uint64]struct{}), tail: tail}
	for _, id := range begin.Identities {
		r.seen[id] = struct{}{}
	}
	r.event.Record = &marketprism.Record{Instrument: in}
	r.event.Book = &r.book
	if begin.Book != nil {
		r.book.Reset(begin.Book)
	}
	return r
}

// start yields the book at the end of the day before.
func (r *bookReader) start(date time.Time, yield func(*BookEvent, error) bool) error {
	if !r.state.InSpan {
		return nil
	}
	r.state.Local = max(r.state.Local, date.UnixNano())
	r.snapshot = r.book.Snapshot()
	r.summary.spans = append(r.summary.spans, SpanInfo{Span: r.state.Span, FirstID: r.book.LastID(), FirstLocal: r.state.Local})
	e := BookEvent{StartOfDay: true, Seq: r.state.Seq}
	return r.emit(e, marketprism.Record{ReceivedAt: date, Snapshot: &r.snapshot}, yield)
}

// read takes the next record.
func (r *bookReader) read(e *entry, yield func(*BookEvent, error) bool) error {
	r.state.Seq = max(r.state.Seq, e.seq)
	r.state.Local = max(r.state.Local, e.local)
	id := identity(&e.record)
	if _, ok := r.seen[id]; ok {
		r.summary.copies++
		return nil
	}
	r.seen[id] = struct{}{}
	if e.local >= r.tail {
		r.tailIDs = append(r.tailIDs, id)
	}
	switch {
	case e.record.Update != nil:
		return r.readUpdate(e, yield)
	case e.record.Snapshot != nil:
		return r.readSnapshot(e, yield)
	}
	return r.readGap(e, yield)
}

// identity returns what a record and its copy have in common: the Key and, since ids come again after a market was wiped, the
// content. A quiet book may have the same Gap and the same Snapshot twice: those of one collector differ in ReceivedAt.
func identity(r *marketprism.Record) uint64 {
	e := entry{record: *r}
	if r.Update != nil {
		e.record.ReceivedAt = time.Time{}
	}
	var room [1024]byte
	return xxhash.Sum64(appendEntry(room[:0], &e))
}

func (r *bookReader) readUpdate(e *entry, yield func(*BookEvent, error) bool) error {
	u, id := e.record.Update, r.book.LastID()
	switch {
	case !r.state.InSpan:
		return r.outside(e, yield)
	case r.follows(id, u):
	case u.LastID <= id: // the book has it, by another update
		return r.outside(e, yield)
	default:
		if err := r.missing(e, yield); err != nil {
			return err
		}
		return r.outside(e, yield)
	}
	r.book.Apply(u)
	r.state.Fresh = false
	r.summary.updates++
	return r.emit(BookEvent{Seq: e.seq}, e.record, yield)
}

// follows is Continuity.Follows, and true for what a Syncer accepts right after a snapshot besides.
func (r *bookReader) follows(id int64, u *orderbook.Update) bool {
	return r.rule.Follows(id, u) || r.state.Fresh && (id == -1 || r.rule == orderbook.Linked && u.LastID == id)
}

func (r *bookReader) readSnapshot(e *entry, yield func(*BookEvent, error) bool) error {
	s := e.record.Snapshot
	ev := BookEvent{Seq: e.seq, Opens: true}
	if r.state.InSpan {
		switch id := r.book.LastID(); {
		case s.LastID < id: // of another collector, or late
			return r.outside(e, yield)
		case s.LastID > id:
			if err := r.missing(e, yield); err != nil {
				return err
			}
		default:
			ev.Opens = false
		}
	}
	if !ev.Opens || len(s.Bids)+len(s.Asks) == 0 {
		ev.Diff = diff(&r.book, s)
	}
	r.book.Reset(s)
	r.summary.snapshots++
	if ev.Opens {
		r.state.Span++
		r.state.InSpan = true
		r.summary.spans = append(r.summary.spans, SpanInfo{Span: r.state.Span, FirstID: s.LastID, FirstLocal: r.state.Local})
	}
	r.state.Fresh = true
	return r.emit(ev, e.record, yield)
}

// readGap takes a Gap. One before the id of the book is another collector's: this book has what it misses. (Joiner has the same
// rule.)
func (r *bookReader) readGap(e *entry, yield func(*BookEvent, error) bool) error {
	g := e.record.Gap
	if r.state.InSpan && g.After < r.book.LastID() && g.Reason != orderbook.GapRegressed && g.Reason != orderbook.GapInvalid {
		return r.outside(e, yield)
	}
	r.endSpan(g)
	return r.emit(BookEvent{Seq: e.seq}, e.record, yield)
}

// outside yields a record that belongs to no span, if such are wanted.
func (r *bookReader) outside(e *entry, yield func(*BookEvent, error) bool) error {
	r.summary.outside++
	if !r.all {
		return nil
	}
	return r.emit(BookEvent{Seq: e.seq, Outside: true}, e.record, yield)
}

// missing yields a Gap before a record that does not continue the book: the Gap was lost, or the process that wrote it.
func (r *bookReader) missing(e *entry, yield func(*BookEvent, error) bool) error {
	r.gap = orderbook.Gap{After: r.book.LastID(), Reason: orderbook.GapSequence}
	r.endSpan(&r.gap)
	return r.emit(BookEvent{Seq: e.seq, Made: true}, marketprism.Record{ReceivedAt: time.Unix(0, r.state.Local).UTC(), Gap: &r.gap}, yield)
}

func (r *bookReader) endSpan(g *orderbook.Gap) {
	info := GapInfo{Span: r.state.Span, From: r.state.Local, After: g.After, Reason: g.Reason.String()}
	if g.Err != nil {
		info.Cause = g.Err.Error()
	}
	r.closeSpan()
	r.summary.gaps = append(r.summary.gaps, info)
	r.state.InSpan = false
}

// closeSpan notes where the last span of the day ends.
func (r *bookReader) closeSpan() {
	if n := len(r.summary.spans); r.state.InSpan && n > 0 {
		r.summary.spans[n-1].LastID = r.book.LastID()
		r.summary.spans[n-1].LastLocal = r.state.Local
	}
}

func (r *bookReader) emit(e BookEvent, rec marketprism.Record, yield func(*BookEvent, error) bool) error {
	*r.event.Record, rec = rec, *r.event.Record
	r.event.Record.Instrument = rec.Instrument
	e.Record, e.Book = r.event.Record, &r.book
	if e.Span = r.state.Span; e.Outside {
		e.Span = 0
	}
	e.Local = time.Unix(0, r.state.Local).UTC()
	e.Exchange = r.exchange(e.Record)
	r.event = e
	if r.summary.firstID == 0 {
		r.summary.firstID = r.book.LastID()
	}
	if !yield(&r.event, nil) {
		return errStop
	}
	return nil
}

// exchange returns the effective exchange clock of a record, which never goes back.
func (r *bookReader) exchange(rec *marketprism.Record) time.Time {
	t := rec.EventTime
	if _, transact := flagsOf(rec); !transact.IsZero() {
		t = transact
	}
	if t.IsZero() || rec.Gap != nil {
		return time.Time{}
	}
	r.state.Exchange = max(r.state.Exchange, t.UnixNano())
	return time.Unix(0, r.state.Exchange).UTC()
}

// finish returns the state at the end of the day.
func (r *bookReader) finish() bookState {
	r.closeSpan()
	r.summary.hash(r)
	end := r.state
	end.Book, end.Identities = nil, r.tailIDs
	if end.InSpan {
		s := r.book.Snapshot()
		end.Book = &s
	}
	return end
}

// diff returns the update that makes the book equal to a snapshot.
func diff(b *orderbook.Book, s *orderbook.Snapshot) *orderbook.Update {
	u := &orderbook.Update{FirstID: s.LastID, LastID: s.LastID, EventTime: s.EventTime, TransactTime: s.TransactTime}
	u.Bids = diffSide(b.AppendBids(nil, -1), s.Bids, func(a, b orderbook.Fixed) bool { return a > b })
	u.Asks = diffSide(b.AppendAsks(nil, -1), s.Asks, func(a, b orderbook.Fixed) bool { return a < b })
	return u
}

// diffSide returns the changes that lead from one side to another, both best first.
func diffSide(from, to []orderbook.Level, isBetter func(a, b orderbook.Fixed) bool) []orderbook.Level {
	var changes []orderbook.Level
	for len(from) > 0 || len(to) > 0 {
		switch {
		case len(to) == 0, len(from) > 0 && isBetter(from[0].Price, to[0].Price):
			changes = append(changes, orderbook.Level{Price: from[0].Price})
			from = from[1:]
		case len(from) == 0, isBetter(to[0].Price, from[0].Price):
			changes = append(changes, to[0])
			to = to[1:]
		default:
			if from[0].Quantity != to[0].Quantity {
				changes = append(changes, to[0])
			}
			from, to = from[1:], to[1:]
		}
	}
	return changes
}

// hash notes the book at the end of the day.
func (s *summary) hash(r *bookReader) {
	s.lastID = r.book.LastID()
	if !r.state.InSpan {
		return
	}
	text, _ := r.book.AppendText(nil) // it never fails
	sum := sha256.Sum256(text)
	s.sha256 = hex.EncodeToString(sum[:])
	s.crc32c = fmt.Sprintf("%08x", r.book.Checksum())
}
