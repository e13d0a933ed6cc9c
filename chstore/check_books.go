package chstore

import (
	"context"
	"fmt"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// checkBooks rebuilds the book of an instrument. Each stored snapshot is compared with the book that the updates
// make of the one before it, and no update may leave the book crossed or a side of it empty.
func (s *Store) checkBooks(ctx context.Context, i marketprism.Instrument, q CheckQuery, r *Report) error {
	r.Checks++
	ctx, cancel := context.WithCancel(ctx)
	f, err := s.openFeedByID(ctx, Query{Instrument: i, Kinds: bookKinds(), From: q.From, To: q.To})
	defer f.close()
	defer cancel() // before close, which would otherwise read all that is left
	if err != nil {
		return err
	}
	a := audit{market: i.Market}
	for {
		rec, at, ok, err := f.next(ctx)
		if err == nil && ok {
			err = a.take(&rec, at)
		}
		if err != nil {
			return err
		}
		if !ok {
			break
		}
	}
	if a.missing {
		r.add(Finding{
			Check: CheckMissingUpdates, Table: depthTable.name(), Instrument: i, Count: 1, First: a.missingAt,
			Detail: fmt.Sprintf("after the snapshot at id %d", a.missingAfter),
		})
	}
	if n := a.crossed + a.empty; n > 0 {
		r.add(Finding{
			Check: CheckCrossed, Table: depthTable.name(), Instrument: i, Count: n, First: a.unsound,
			Detail: fmt.Sprintf("%d crossed, %d with an empty side", a.crossed, a.empty),
		})
	}
	if a.wrong > 0 {
		r.add(Finding{
			Check: CheckSnapshots, Table: snapshotTable.name(), Instrument: i, Count: a.wrong, First: a.first,
			Detail: fmt.Sprintf("of %d compared; %s", a.compared, a.detail),
		})
	}
	return nil
}

// An audit follows one instrument's book. It compares only what both sides know: a snapshot that was
// cut at its limit knows nothing beyond its last level.
type audit struct {
	market  marketprism.Market
	book    *bookBuilder // from the snapshot before; nil where the book is not known
	reach   reach        // of book
	fresh   *bookBuilder // from a snapshot that lies between two updates of book
	freshTo reach
	sent    time.Time // of fresh

	// The first update of all may not follow its snapshot: no check of the updates alone sees that.
	updated      bool
	missing      bool
	missingAfter int64
	missingAt    time.Time

	crossed, empty uint64    // updates that left the book so
	unsound        time.Time // of the first

	compared, wrong uint64
	first           time.Time
	detail          string // of the first
}

// A reach is the last price that is known, by side.
type reach struct{ bid, ask orderbook.Fixed }

func reachOf(s *orderbook.Snapshot) reach {
	far := reach{orderbook.MinFixed, orderbook.MaxFixed}
	if n := len(s.Bids); n > 0 {
		far.bid = s.Bids[n-1].Price
	}
	if n := len(s.Asks); n > 0 {
		far.ask = s.Asks[n-1].Price
	}
	return far
}

func (a *audit) take(rec *marketprism.Record, at time.Time) error {
	switch {
	case rec.Snapshot != nil:
		return a.snapshot(rec, at)
	case rec.Update != nil:
		if a.book != nil {
			a.update(rec.Update, at)
		}
		a.updated = true
	case rec.Gap != nil && rec.Gap.Reason == orderbook.GapRegressed:
		a.book, a.fresh = nil, nil
	}
	return nil
}

// snapshot begins a fresh book. It can be compared at once if the running one stands at its id, else
// when an update brings both to the same id.
func (a *audit) snapshot(rec *marketprism.Record, at time.Time) error {
	if a.book != nil && rec.Snapshot.LastID < a.book.sync.Book().LastID() {
		return nil // late: the running book has its updates already
	}
	f, err := newBookBuilder(a.market, rec.Snapshot, at)
	if err != nil {
		return err
	}
	a.fresh, a.freshTo, a.sent = f, reachOf(rec.Snapshot), rec.Time()
	a.settle()
	return nil
}

func (a *audit) update(u *orderbook.Update, at time.Time) {
	if a.fresh != nil && !a.fresh.apply(u, at) {
		a.fresh = nil
	}
	if id := a.book.sync.Book().LastID(); a.book.apply(u, at) {
		a.look(a.book.sync.Book(), at)
	} else {
		a.book = nil // a hole, which another check reports unless it is before the first update
		if !a.updated {
			a.missing, a.missingAfter, a.missingAt = true, id, at
		}
	}
	a.settle()
}

// look counts a book that cannot be right.
func (a *audit) look(book *orderbook.Book, at time.Time) {
	bid, bids := book.BestBid()
	ask, asks := book.BestAsk()
	switch {
	case emptied(book, orderbook.Bid, bids) || emptied(book, orderbook.Ask, asks):
		a.empty++
	case bids && asks && bid.Price >= ask.Price:
		a.crossed++
	default:
		return
	}
	if a.unsound.IsZero() {
		a.unsound = at
	}
}

// emptied tells whether a side has no level. One that is known down to a limit only may have some beyond it.
func emptied(book *orderbook.Book, side orderbook.Side, some bool) bool {
	_, limited := book.Known(side)
	return !some && !limited
}

// settle compares the two books if they stand at one id, and goes on with the fresh one.
func (a *audit) settle() {
	if a.fresh == nil {
		return
	}
	if a.book != nil {
		had, now := a.book.sync.Book(), a.fresh.sync.Book()
		if had.LastID() < now.LastID() {
			return
		}
		a.compare(had, now)
	}
	a.book, a.reach, a.fresh = a.fresh, a.freshTo, nil
}

func (a *audit) compare(had, now *orderbook.Book) {
	a.compared++
	bid, ask := max(a.reach.bid, a.freshTo.bid), min(a.reach.ask, a.freshTo.ask)
	different, price := 0, orderbook.Fixed(0)
	count := func(had, now []orderbook.Level, known func(orderbook.Fixed) bool) {
		levels := make(map[orderbook.Fixed]orderbook.Fixed, len(had))
		for _, l := range had {
			if known(l.Price) {
				levels[l.Price] = l.Quantity
			}
		}
		for _, l := range now {
			if known(l.Price) {
				if levels[l.Price] != l.Quantity {
					different, price = different+1, l.Price
				}
				delete(levels, l.Price)
			}
		}
		for p := range levels {
			different, price = different+1, p
		}
	}
	count(had.AppendBids(nil, -1), now.AppendBids(nil, -1), func(p orderbook.Fixed) bool { return p >= bid })
	count(had.AppendAsks(nil, -1), now.AppendAsks(nil, -1), func(p orderbook.Fixed) bool { return p <= ask })
	if different == 0 {
		return
	}
	if a.wrong++; a.wrong == 1 {
		a.first = a.sent
		a.detail = fmt.Sprintf("at update id %d %d levels differ, one of them at %s", now.LastID(), different, price)
	}
}
