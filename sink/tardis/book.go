package tardis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink/dayfile"
)

// A bookWriter writes the three files that are made of the book.
type bookWriter struct {
	format  Format
	changes *table // incremental_book_L2
	quotes  *table
	top     *table // book_snapshot_N; nil if it is not made

	pending      *orderbook.Snapshot // not written yet: nothing follows it so far
	pendingTime  time.Time
	pendingLocal time.Time

	last, now     [2][]orderbook.Level // bids and asks of the last row of top
	quote         [2]orderbook.Level   // of the last row of quotes; zero for an empty side
	quoted, shown bool
}

func convertBook(ctx context.Context, day *dayfile.Day, f Format) error {
	w := &bookWriter{format: f}
	var err error
	if w.changes, err = newTable(day, "incremental_book_L2", bookHeader); err != nil {
		return err
	}
	if w.quotes, err = newTable(day, "quotes", topHeader); err != nil {
		return err
	}
	if f.Depth > 0 {
		if w.top, err = newTable(day, fmt.Sprintf("book_snapshot_%d", f.Depth), topLevelsHeader(f.Depth)); err != nil {
			return err
		}
	}
	for e, err := range day.Book() {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if err := w.event(e); err != nil {
			return err
		}
	}
	return errors.Join(w.flush(), w.changes.close(), w.quotes.close(), w.top.close())
}

func topLevelsHeader(n int) string {
	var b strings.Builder
	b.WriteString("exchange,symbol,timestamp,local_timestamp")
	for i := range n {
		fmt.Fprintf(&b, ",asks[%d].price,asks[%d].amount,bids[%d].price,bids[%d].amount", i, i, i, i)
	}
	return b.String()
}

func (w *bookWriter) event(e *dayfile.BookEvent) error {
	if e.Record.Gap != nil {
		return nil // the next snapshot drops the book
	}
	exchange := w.time(e)
	var err error
	switch s := e.Record.Snapshot; {
	case s == nil:
		err = w.rows(e.Record.Update.Bids, e.Record.Update.Asks, exchange, e.Local)
	case e.Diff != nil && (w.pending != nil || len(s.Bids)+len(s.Asks) == 0):
		// Rows of two snapshots one after the other are one snapshot to a reader, and one without rows is none.
		err = w.rows(e.Diff.Bids, e.Diff.Asks, exchange, e.Local)
	default:
		w.pending, w.pendingTime, w.pendingLocal = s.Clone(), exchange, e.Local
	}
	if err != nil {
		return err
	}
	if err := w.writeQuote(e, exchange); err != nil {
		return err
	}
	return w.writeTop(e, exchange)
}

// time returns the timestamp of a row: E of an update, T of a snapshot, and the local clock where the venue sends none (as
// in tardis-node, src/mappers/binance.ts).
func (w *bookWriter) time(e *dayfile.BookEvent) time.Time {
	if u := e.Record.Update; u != nil {
		if w.format.MatchingTime {
			return cmp.Or(u.TransactTime, e.Record.EventTime, e.Local)
		}
		return cmp.Or(e.Record.EventTime, e.Local)
	}
	return cmp.Or(e.Record.Snapshot.TransactTime, e.Local)
}

// rows writes changes, after the snapshot that waits for them.
func (w *bookWriter) rows(bids, asks []orderbook.Level, exchange, local time.Time) error {
	if len(bids)+len(asks) == 0 {
		return nil // the snapshot goes on waiting
	}
	if err := w.flush(); err != nil {
		return err
	}
	return w.levels("false", bids, asks, exchange, local)
}

// flush writes the snapshot that waits. It waits because another one may follow with a gap between them and no
// change: then the first one is left out, since a reader would keep its levels.
func (w *bookWriter) flush() error {
	if w.pending == nil {
		return nil
	}
	s := w.pending
	w.pending = nil
	return w.levels("true", s.Bids, s.Asks, w.pendingTime, w.pendingLocal)
}

func (w *bookWriter) levels(isSnapshot string, bids, asks []orderbook.Level, exchange, local time.Time) error {
	for i, side := range [...][]orderbook.Level{bids, asks} {
		name := [...]string{"bid", "ask"}[i]
		for _, l := range side {
			w.changes.begin(exchange, local)
			w.changes.text(isSnapshot)
			w.changes.text(name)
			w.changes.number(l.Price)
			w.changes.number(l.Quantity)
			if err := w.changes.end(); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeQuote writes the best bid and ask, if they changed.
func (w *bookWriter) writeQuote(e *dayfile.BookEvent, exchange time.Time) error {
	bid, hasBid := e.Book.BestBid()
	ask, hasAsk := e.Book.BestAsk()
	now := [2]orderbook.Level{bid, ask}
	if w.quoted && now == w.quote {
		return nil
	}
	w.quote, w.quoted = now, true
	w.quotes.begin(exchange, e.Local)
	w.quotes.level(ask.Quantity, ask.Price, hasAsk)
	w.quotes.level(bid.Price, bid.Quantity, hasBid)
	return w.quotes.end()
}

// writeTop writes the best levels, if they changed.
func (w *bookWriter) writeTop(e *dayfile.BookEvent, exchange time.Time) error {
	if w.top == nil {
		return nil
	}
	w.now[0] = e.Book.AppendBids(w.now[0][:0], w.format.Depth)
	w.now[1] = e.Book.AppendAsks(w.now[1][:0], w.format.Depth)
	if w.shown && slices.Equal(w.now[0], w.last[0]) && slices.Equal(w.now[1], w.last[1]) {
		return nil
	}
	w.shown = true
	w.last, w.now = w.now, w.last
	w.top.begin(exchange, e.Local)
	for i := range w.format.Depth {
		for _, side := range [...][]orderbook.Level{w.last[1], w.last[0]} {
			var l orderbook.Level
			if i < len(side) {
				l = side[i]
			}
			w.top.level(l.Price, l.Quantity, i < len(side))
		}
	}
	return w.top.end()
}
