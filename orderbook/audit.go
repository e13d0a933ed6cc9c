package orderbook

// An Audit is the result of a refresh: the comparison of the running book with a fresh one, made
// from a snapshot and the updates since, at one update id.
type Audit struct {
	LastID int64 // the update id of the book, and of the comparison
	Err    error // not nil if nothing was compared: one of ErrRefreshLost, ErrRefreshOverflow, ErrRefreshFailed

	// Compared counts the levels, of both sides, that either book has within the depth known to both;
	// Different counts those of them that are not equal.
	Compared, Different int
	// Differences are the first 32 of them: bids, then asks, each best first.
	Differences []Difference

	// Swapped reports that fresh sides replaced running ones, because the books differed or the fresh
	// ones are known further. The new book is the Snapshot event of the same Output.
	Swapped bool
}

// maxDifferences bounds the list in an Audit.
const maxDifferences = 32

// A Difference is one level on which two books of one update id do not agree.
type Difference struct {
	Side       Side
	Price      Fixed
	Had, Fresh Fixed // quantities in the running and in the fresh book; 0 for no level
}

// begin clears a for a book at an update id. It keeps the memory of the list.
func (a *Audit) begin(id int64) { *a = Audit{LastID: id, Differences: a.Differences[:0]} }

// run compares a book with a fresh one of the same id and replaces sides of it by fresh ones: both if the
// book is wrong, since its other levels may be wrong as well; otherwise those that are known further.
func (a *Audit) run(book, fresh *Book) {
	a.compare(Bid, &book.bids, &fresh.bids)
	a.compare(Ask, &book.asks, &fresh.asks)
	for _, side := range [...]Side{Bid, Ask} {
		if a.Different > 0 || fresh.side(side).deeper(book.side(side)) {
			*book.side(side) = *fresh.side(side)
			a.Swapped = true
		}
	}
}

// compare compares one side of two books, best first, down to the depth known to both.
func (a *Audit) compare(side Side, running, fresh *ladder) {
	had, now := running.knownToBoth(fresh), fresh.knownToBoth(running)
	for len(had) > 0 || len(now) > 0 {
		d := Difference{Side: side}
		d.Price = betterPrice(had, now, running.order)
		had, d.Had = popPrice(had, d.Price)
		now, d.Fresh = popPrice(now, d.Price)
		a.add(d)
	}
}

// betterPrice returns the better of the best prices of two lists, each best last, that are not both empty.
func betterPrice(a, b []Level, order Fixed) Fixed {
	switch {
	case len(a) == 0:
		return b[len(b)-1].Price
	case len(b) == 0:
		return a[len(a)-1].Price
	}
	return max(a[len(a)-1].Price^order, b[len(b)-1].Price^order) ^ order
}

// popPrice removes the best level of a list if it has that price, and returns its quantity.
func popPrice(levels []Level, price Fixed) (rest []Level, quantity Fixed) {
	last := len(levels) - 1
	if last < 0 || levels[last].Price != price {
		return levels, 0
	}
	return levels[:last], levels[last].Quantity
}

// add counts a pair of levels, and lists it if they differ.
func (a *Audit) add(d Difference) {
	a.Compared++
	if d.Had == d.Fresh {
		return
	}
	a.Different++
	if len(a.Differences) < maxDifferences {
		a.Differences = append(a.Differences, d)
	}
}
