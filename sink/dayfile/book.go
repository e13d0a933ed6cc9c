package dayfile

import (
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A bookReader follows the records of one book through a day.
type bookReader struct {
	rule     orderbook.Continuity
	state    carry // of the book before the next record; Book is not kept up to date
	book     orderbook.Book
	first    int64 // the Seq before the day
	event    BookEvent
	snapshot orderbook.Snapshot
	gap      orderbook.Gap
	summary  summary
}

// A summary is what a manifest says of a book.
type summary struct {
	updates, snapshots int64
	copies             int64 // records that the book had already
	outside            int64 // updates outside a span
	firstID, lastID    int64
	spans              []SpanInfo
	gaps               []GapInfo
	sha256, crc32c     string // of the book at the end
}

func newBookReader(in marketprism.Instrument, begin carry) *bookReader {
	r := &bookReader{rule: in.Market.Continuity(), state: begin, first: begin.Seq}
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
	return r.emit(e, marketprism.Record{ReceivedAt: date, Snapshot: &r.snapshot}, r.state.Local, yield)
}

// read takes the next record.
func (r *bookReader) read(e *entry, yield func(*BookEvent, error) bool) error {
	r.state.Seq = max(r.state.Seq, e.seq)
	r.state.Local = max(r.state.Local, e.local)
	switch {
	case e.record.Update != nil:
		return r.readUpdate(e, yield)
	case e.record.Snapshot != nil:
		return r.readSnapshot(e, yield)
	}
	return r.readGap(e, yield)
}

func (r *bookReader) readUpdate(e *entry, yield func(*BookEvent, error) bool) error {
	u, id := e.record.Update, r.book.LastID()
	switch {
	case !r.state.InSpan:
		r.summary.outside++
		return nil
	case r.follows(id, u):
	case u.LastID <= id:
		r.summary.copies++
		return nil
	default:
		if err := r.missing(e, orderbook.GapSequence, yield); err != nil {
			return err
		}
		r.summary.outside++
		return nil
	}
	r.book.Apply(u)
	r.state.Fresh = false
	r.summary.updates++
	return r.emit(BookEvent{Seq: e.seq}, e.record, r.state.Local, yield)
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
		case s.LastID < id: // it was delivered again, with updates that follow it
			r.summary.copies++
			return nil
		case s.LastID > id:
			if err := r.missing(e, orderbook.GapSequence, yield); err != nil {
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
	return r.emit(ev, e.record, r.state.Local, yield)
}

func (r *bookReader) readGap(e *entry, yield func(*BookEvent, error) bool) error {
	r.endSpan(e.record.Gap)
	return r.emit(BookEvent{Seq: e.seq}, e.record, r.state.Local, yield)
}

// missing yields a Gap before a record that does not continue the book: the Gap was lost, or the process that wrote it.
func (r *bookReader) missing(e *entry, reason orderbook.GapReason, yield func(*BookEvent, error) bool) error {
	r.gap = orderbook.Gap{After: r.book.LastID(), Reason: reason}
	r.endSpan(&r.gap)
	return r.emit(BookEvent{Seq: e.seq}, marketprism.Record{ReceivedAt: time.Unix(0, r.state.Local).UTC(), Gap: &r.gap}, r.state.Local, yield)
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

func (r *bookReader) emit(e BookEvent, rec marketprism.Record, local int64, yield func(*BookEvent, error) bool) error {
	*r.event.Record, rec = rec, *r.event.Record
	r.event.Record.Instrument = rec.Instrument
	e.Record, e.Book = r.event.Record, &r.book
	e.Span = r.state.Span
	e.Local = time.Unix(0, local).UTC()
	e.Exchange = r.exchange(e.Record)
	r.event = e
	if id := r.book.LastID(); r.summary.firstID == 0 {
		r.summary.firstID = id
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
func (r *bookReader) finish() carry {
	r.closeSpan()
	r.summary.hash(r)
	end := r.state
	end.Book = nil
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
