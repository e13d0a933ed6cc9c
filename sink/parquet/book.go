package parquet

import (
	"context"
	"errors"
	"fmt"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink/dayfile"
	"github.com/marketprism/marketprism/sink/internal/columnar"
)

// messageRows bounds a row group of messages, whose rows are long.
const messageRows = 65_536

// messages is the table of the book's records.
type messages struct {
	table     *tableFile
	clocks    clocks
	kind      *columnar.Value[string]
	seq, span *columnar.Value[int64]
	transact  *columnar.Value[int64]
	first     *columnar.Value[int64]
	last      *columnar.Value[int64]
	previous  *columnar.Value[int64]
	bids      *columnar.Levels
	asks      *columnar.Levels
	bidBound  *columnar.Value[int64]
	askBound  *columnar.Value[int64]
	gapAfter  *columnar.Value[int64]
	gapReason *columnar.Value[string]
	gapCause  *columnar.Value[string]
}

func newMessages(day *dayfile.Day) (*messages, error) {
	optional := func(name string) *columnar.Value[int64] { return columnar.NewValue[int64](name, columnar.Delta, true) }
	m := &messages{
		seq: columnar.NewValue[int64]("seq", columnar.Delta, false), kind: columnar.NewValue[string]("kind", columnar.Text, false),
		span: optional("span"), clocks: newClocks(), transact: optional("transact_ns"),
		first: optional("first_id"), last: optional("last_id"), previous: optional("prev_id"),
		bids: columnar.NewLevels("bids"), asks: columnar.NewLevels("asks"),
		bidBound: optional("bid_bound_e8"), askBound: optional("ask_bound_e8"),
		gapAfter: optional("gap_after"), gapReason: columnar.NewValue[string]("gap_reason", columnar.Text, true),
		gapCause: columnar.NewValue[string]("gap_cause", columnar.Text, true),
	}
	var err error
	m.table, err = newTable(day, "messages", messageRows, m.seq, m.kind, m.span, m.clocks.event, m.transact, m.clocks.received, m.clocks.local,
		m.first, m.last, m.previous, m.bids, m.asks, m.bidBound, m.askBound, m.gapAfter, m.gapReason, m.gapCause)
	return m, err
}

// append appends a record of the book.
func (m *messages) append(e *dayfile.BookEvent) error {
	r := e.Record
	m.seq.Append(e.Seq)
	m.kind.Append(kindName(r))
	m.span.AppendIf(e.Span > 0, e.Span)
	m.clocks.append(r, e.Local)
	u, s, g := r.Update, r.Snapshot, r.Gap
	switch {
	case u != nil:
		m.transact.AppendIf(nanos(u.TransactTime))
		m.last.Append(u.LastID)
		m.bids.Append(u.Bids)
		m.asks.Append(u.Asks)
	case s != nil:
		m.transact.AppendIf(nanos(s.TransactTime))
		m.last.Append(s.LastID)
		m.bids.Append(s.Bids)
		m.asks.Append(s.Asks)
	default:
		m.transact.AppendIf(false, 0)
		m.last.AppendIf(false, 0)
		m.bids.Append(nil)
		m.asks.Append(nil)
	}
	if u == nil {
		u = &orderbook.Update{}
	}
	m.first.AppendIf(r.Update != nil, u.FirstID)
	m.previous.AppendIf(u.PrevLastID != 0, u.PrevLastID)
	if s == nil {
		s = &orderbook.Snapshot{}
	}
	m.bidBound.AppendIf(s.BidBound.Limited, int64(s.BidBound.Price))
	m.askBound.AppendIf(s.AskBound.Limited, int64(s.AskBound.Price))
	cause := ""
	if g == nil {
		g = &orderbook.Gap{}
	} else if g.Err != nil {
		cause = g.Err.Error()
	}
	m.gapAfter.AppendIf(r.Gap != nil, g.After)
	m.gapReason.AppendIf(r.Gap != nil, g.Reason.String())
	m.gapCause.AppendIf(cause != "", cause)
	return m.table.EndRow()
}

func kindName(r *marketprism.Record) string {
	switch {
	case r.Update != nil:
		return "update"
	case r.Snapshot != nil:
		return "snapshot"
	}
	return "gap"
}

// levels is the table of changed levels.
type levels struct {
	table             *tableFile
	clocks            clocks
	seq, span, lastID *columnar.Value[int64]
	number            *columnar.Value[int32]
	isSnapshot, isEnd *columnar.Value[bool]
	suspect           *columnar.Value[bool]
	transact          *columnar.Value[int64]
	side              *columnar.Value[int32]
	price, quantity   *columnar.Value[int64]
}

func newLevels(day *dayfile.Day) (*levels, error) {
	l := &levels{
		seq: columnar.NewValue[int64]("seq", columnar.Delta, false), number: columnar.NewValue[int32]("level_no", columnar.Small, false),
		isSnapshot: columnar.NewValue[bool]("is_snapshot", columnar.Flag, false), isEnd: columnar.NewValue[bool]("last_in_msg", columnar.Flag, false),
		span: columnar.NewValue[int64]("span", columnar.Delta, false), suspect: columnar.NewValue[bool]("suspect", columnar.Flag, false),
		clocks: newClocks(), transact: columnar.NewValue[int64]("transact_ns", columnar.Delta, true),
		lastID: columnar.NewValue[int64]("last_id", columnar.Delta, false), side: columnar.NewValue[int32]("side", columnar.Tiny, true),
		price: columnar.NewValue[int64]("price_e8", columnar.Delta, true), quantity: columnar.NewValue[int64]("qty_e8", columnar.Number, true),
	}
	var err error
	l.table, err = newTable(day, "levels", 0, l.seq, l.number, l.isSnapshot, l.isEnd, l.span, l.suspect, l.clocks.event, l.transact,
		l.clocks.received, l.clocks.local, l.lastID, l.side, l.price, l.quantity)
	return l, err
}

// append appends the levels of an update or a snapshot. One without levels is a row whose level is null, since it moves the id or
// empties the book.
func (l *levels) append(e *dayfile.BookEvent) error {
	var sides [2][]orderbook.Level
	row := levelRow{event: e}
	if u := e.Record.Update; u != nil {
		sides = [...][]orderbook.Level{u.Bids, u.Asks}
		row.hasTransact, row.transact = nanos(u.TransactTime)
		row.lastID = u.LastID
	} else {
		s := e.Record.Snapshot
		sides = [...][]orderbook.Level{s.Bids, s.Asks}
		row.hasTransact, row.transact = nanos(s.TransactTime)
		row.lastID = s.LastID
	}
	total := len(sides[0]) + len(sides[1])
	if total == 0 {
		row.isEnd = true
		return l.row(&row, orderbook.Level{}, -1)
	}
	for side, levels := range sides {
		for _, level := range levels {
			row.isEnd = int(row.number) == total-1
			if err := l.row(&row, level, int32(side)); err != nil {
				return err
			}
			row.number++
		}
	}
	return nil
}

// A levelRow is what the rows of one record share.
type levelRow struct {
	event       *dayfile.BookEvent
	number      int32
	isEnd       bool
	hasTransact bool
	transact    int64
	lastID      int64
}

// row appends one row; side is -1 if it has no level.
func (l *levels) row(r *levelRow, level orderbook.Level, side int32) error {
	l.seq.Append(r.event.Seq)
	l.number.Append(r.number)
	l.isSnapshot.Append(r.event.Record.Snapshot != nil)
	l.isEnd.Append(r.isEnd)
	l.span.Append(r.event.Span)
	l.suspect.Append(false)
	l.clocks.append(r.event.Record, r.event.Local)
	l.transact.AppendIf(r.hasTransact, r.transact)
	l.lastID.Append(r.lastID)
	l.side.AppendIf(side >= 0, side)
	l.price.AppendIf(side >= 0, int64(level.Price))
	l.quantity.AppendIf(side >= 0, int64(level.Quantity))
	return l.table.EndRow()
}

func convertBook(ctx context.Context, day *dayfile.Day) error {
	m, err := newMessages(day)
	if err != nil {
		return err
	}
	l, err := newLevels(day)
	if err != nil {
		return err
	}
	checksum := ""
	for e, err := range day.AllBook() {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if !e.StartOfDay && !e.Made { // which are no records
			if err := m.append(e); err != nil {
				return err
			}
		}
		if e.Outside || e.Record.Gap != nil {
			continue
		}
		if err := l.append(e); err != nil {
			return err
		}
	}
	spans, book := day.Spans(), day.LastBook()
	if book != nil {
		checksum = fmt.Sprintf("%08x", book.Checksum())
	}
	footer := map[string]string{"spans": spansText(spans), "book_crc32c": checksum, "proof": "ids"}
	if err := errors.Join(m.table.close(footer), l.table.close(footer)); err != nil {
		return err
	}
	return convertGaps(day)
}

// convertGaps writes where the book was not synced: from each Gap to the Snapshot after it.
func convertGaps(day *dayfile.Day) error {
	gaps, spans := day.Gaps(), day.Spans()
	if len(gaps) == 0 {
		return nil
	}
	span := columnar.NewValue[int64]("span", columnar.Delta, true)
	from := columnar.NewValue[int64]("from_local_ns", columnar.Delta, false)
	to := columnar.NewValue[int64]("to_local_ns", columnar.Delta, true)
	after := columnar.NewValue[int64]("after_id", columnar.Delta, false)
	next := columnar.NewValue[int64]("next_id", columnar.Delta, true)
	reason := columnar.NewValue[string]("reason", columnar.Text, false)
	cause := columnar.NewValue[string]("cause", columnar.Text, true)
	table, err := newTable(day, "gaps", 0, span, from, to, after, next, reason, cause)
	if err != nil {
		return err
	}
	for _, g := range gaps {
		span.AppendIf(g.Span > 0, g.Span)
		from.Append(g.From)
		after.Append(g.After)
		reason.Append(g.Reason)
		cause.AppendIf(g.Cause != "", g.Cause)
		ended := false
		for _, s := range spans {
			if s.Span > g.Span {
				to.Append(s.FirstLocal)
				next.Append(s.FirstID)
				ended = true
				break
			}
		}
		if !ended {
			to.AppendIf(false, 0)
			next.AppendIf(false, 0)
		}
		if err := table.EndRow(); err != nil {
			return err
		}
	}
	return table.close(nil)
}
