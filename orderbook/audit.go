package orderbook

// An Audit is how a refresh ended: what came of comparing the running book with a fresh one, made
// from a snapshot and the updates since, at one update id.
type Audit struct {
	LastID int64 // the update id of the book, and of the comparison
	Err    error // not nil if there was no comparison: one of ErrRefreshLost, ErrRefreshOverflow, ErrRefreshFailed

	// Compared counts the levels, of both sides, that either book has within what both know;
	// Different counts those of them that are not equal.
	Compared, Different int
	// Differences are the first MaxDifferences of them: bids, then asks, each best first.
	Differences []Difference

	// Swapped says that fresh sides took the place of running ones, because the books differed or the
	// fresh ones are known further. The new book is the Snapshot event of the same Output.
	Swapped bool
}

// MaxDifferences bounds the list in an Audit.
const MaxDifferences = 32

// A Difference is one level on which two books of one update id do not agree.
type Difference struct {
	Side       Side
	Price      Fixed
	Had, Fresh Fixed // quantities in the running and in the fresh book; 0 for no level
}

// begin makes a the empty Audit of a book at an update id. It keeps the memory of its list.
func (a *Audit) begin(id int64) { *a = Audit{LastID: id, Differences: a.Differences[:0]} }

// settle compares a book with a fresh one of the same id, and moves fresh sides into it: both if the
// book is wrong, as its other levels may be as well; otherwise those that are known further.
func (a *Audit) settle(book, fresh *Book) {
	a.compare(Bid, &book.bids, &fresh.bids)
	a.compare(Ask, &book.asks, &fresh.asks)
	for _, side := range [...]Side{Bid, Ask} {
		if a.Different > 0 || fresh.side(side).deeper(book.side(side)) {
			*book.side(side) = *fresh.side(side)
			a.Swapped = true
		}
	}
}

// noteAudit counts an Audit that compared two books.
func (s *SyncerStats) noteAudit(a *Audit) {
	s.Audits++
	s.Differences += uint64(a.Different)
	if a.Swapped {
		s.Swaps++
	}
}

// compare goes through a side of both books, best first, as far as both are known.
func (a *Audit) compare(side Side, running, fresh *ladder) {
	had, now := running.knownToBoth(fresh), fresh.knownToBoth(running)
	for len(had) > 0 || len(now) > 0 {
		d := Difference{Side: side}
		d.Price = betterPrice(had, now, running.order)
		had, d.Had = takePrice(had, d.Price)
		now, d.Fresh = takePrice(now, d.Price)
		a.note(d)
	}
}

// betterPrice returns the better of the best prices of two lists, best last, of which one is not empty.
func betterPrice(a, b []Level, order Fixed) Fixed {
	switch {
	case len(a) == 0:
		return b[len(b)-1].Price
	case len(b) == 0:
		return a[len(a)-1].Price
	}
	return max(a[len(a)-1].Price^order, b[len(b)-1].Price^order) ^ order
}

// takePrice takes the best level from a list if it has that price, and returns its quantity.
func takePrice(levels []Level, price Fixed) (rest []Level, quantity Fixed) {
	last := len(levels) - 1
	if last < 0 || levels[last].Price != price {
		return levels, 0
	}
	return levels[:last], levels[last].Quantity
}

func (a *Audit) note(d Difference) {
	a.Compared++
	if d.Had == d.Fresh {
		return
	}
	a.Different++
	if len(a.Differences) < MaxDifferences {
		a.Differences = append(a.Differences, d)
	}
}
