package orderbook_test

import (
	"fmt"

	"github.com/marketprism/marketprism/orderbook"
)

// Dice gives a number from 0 to n-1. 0 always means the calm choice: no fault, the shortest delay.
type dice func(n int) int

// chance is true so many times in a thousand.
func (roll dice) chance(permille int) bool {
	return permille > 0 && roll(1000) >= 1000-permille
}

// A simVenue is an exchange with one symbol: its true book, now and at any past id, and the batches
// in which the changes are sent. With contiguous ids every change has the next one; with linked ids
// they jump, as they do where many symbols share a counter.
type simVenue struct {
	roll       dice
	continuity orderbook.Continuity

	book    *oracleBook // the truth; its lastID is that of the last change
	counter int64       // the last id given out to anybody
	epochs  []*simEpoch
	batches [2]*simBatch // two connections' worth: the same changes, cut at different borders
	borders []int64      // ends of batches sent by the first, at which snapshots are mostly taken
}

// A simEpoch is the time between two resets of the ids. Its ids lie in a range of their own.
type simEpoch struct {
	base  int64
	start *oracleBook
	log   []simChange

	cursor *oracleBook // the book after the first done entries of log
	done   int
}

type simChange struct {
	id    int64
	bid   bool
	level orderbook.Level
}

// A simBatch collects changes until they are sent as one Update.
type simBatch struct {
	next orderbook.Update // LastID 0 while nothing happened
	prev int64            // LastID of the Update before
}

const (
	simEpochIDs = 1_000_000_000 // ids per epoch
	simPrices   = 30            // prices per side
)

// newSimVenue returns a venue with a book, or, if it is new, with an instrument that never had one.
func newSimVenue(roll dice, continuity orderbook.Continuity, isNew bool) *simVenue {
	v := &simVenue{roll: roll, continuity: continuity, book: newOracleBook()}
	v.batches = [2]*simBatch{{}, {}}
	if isNew {
		v.book.lastID = -1
		v.epochs = []*simEpoch{{base: -1, start: v.book.clone()}}
		v.borders = []int64{-1}
	} else {
		v.begin(2 * simEpochIDs)
	}
	return v
}

// begin starts an epoch with ids above base and a book of its own, of which the stream says nothing.
func (v *simVenue) begin(base int64) {
	prev := base
	if len(v.epochs) > 0 && v.roll(2) == 1 {
		prev = v.sent() // the first pu after a reset may still be of the time before
	}
	v.counter = base
	v.book = newOracleBook()
	v.book.lastID = base
	for range v.roll(3 * simPrices) {
		change := v.randomChange()
		v.side(change.bid).set([]orderbook.Level{change.level})
	}
	v.epochs = append(v.epochs, &simEpoch{base: base, start: v.book.clone()})
	v.borders = []int64{base}
	for _, b := range v.batches {
		*b = simBatch{prev: prev}
	}
}

// reset makes the ids go back, while there are lower ones.
func (v *simVenue) reset() bool {
	base := v.epochs[len(v.epochs)-1].base
	if base <= 0 {
		return false
	}
	v.begin(base - simEpochIDs)
	return true
}

func (v *simVenue) side(bid bool) oracleSide {
	if bid {
		return v.book.bids
	}
	return v.book.asks
}

// randomChange sets or removes a level, at times the best or one that is not there. Sides overlap a
// little: a crossed book is no concern of the Syncer.
func (v *simVenue) randomChange() simChange {
	c := simChange{bid: v.roll(2) == 0}
	price := v.roll(simPrices)
	if v.roll(6) == 5 {
		price = simPrices - 1 // the best there can be
	}
	if !c.bid {
		price = 2*simPrices - 3 - price
	}
	c.level.Price = orderbook.Fixed(1 + price)
	if v.roll(5) >= 2 {
		c.level.Quantity = orderbook.Fixed(1 + v.roll(200))
	}
	return c
}

// change makes something happen: one or two levels change under one id, or none does.
func (v *simVenue) change() {
	v.counter++
	if v.continuity == orderbook.Linked {
		v.counter += int64(v.roll(50))
	}
	v.book.lastID = v.counter
	epoch := v.epochs[len(v.epochs)-1]
	for range v.roll(3) {
		c := v.randomChange()
		c.id = v.counter
		v.side(c.bid).set([]orderbook.Level{c.level})
		epoch.log = append(epoch.log, c)
		for _, b := range v.batches {
			b.add(c)
		}
	}
	for _, b := range v.batches {
		if b.next.LastID == 0 {
			b.next.FirstID = v.counter
		}
		b.next.LastID = v.counter
	}
}

// add merges a change into the batch: of several for one price the last one counts.
func (b *simBatch) add(c simChange) {
	side := &b.next.Asks
	if c.bid {
		side = &b.next.Bids
	}
	for i := range *side {
		if (*side)[i].Price == c.level.Price {
			(*side)[i] = c.level
			return
		}
	}
	*side = append(*side, c.level)
}

// flush ends the batch of a connection and returns it; nil if nothing happened since the last one.
func (v *simVenue) flush(connection int) *orderbook.Update {
	b := v.batches[connection]
	if b.next.LastID == 0 {
		return nil
	}
	u := b.next
	if v.continuity == orderbook.Linked {
		u.PrevLastID = b.prev
	}
	*b = simBatch{prev: u.LastID}
	if connection == 0 {
		if v.sent() == -1 { // a stale -1 could not be told from a true one
			v.borders = nil
		}
		v.borders = append(v.borders, u.LastID)
	}
	return &u
}

// sent is the id up to which a connection has sent everything.
func (v *simVenue) sent() int64 { return v.borders[len(v.borders)-1] }

// snapshot is the answer of the REST side: at the border of a batch or in the middle of one, and if
// it is stale, at some border of the past.
func (v *simVenue) snapshot(stale bool) *oracleBook {
	id := v.sent()
	switch {
	case stale:
		id = v.borders[len(v.borders)-1-v.roll(min(len(v.borders), 30))]
	case v.roll(2) == 1 && v.book.lastID >= 0:
		id = v.book.lastID
		if v.continuity == orderbook.Linked { // ids of other symbols count too
			v.counter += int64(v.roll(20))
			id = v.counter
		}
	}
	book := v.at(id).clone()
	book.lastID = id
	return book
}

// at returns the true book as it was at an id. It is valid until the next call.
func (v *simVenue) at(id int64) *oracleBook {
	for _, e := range v.epochs {
		if id < e.base || id >= e.base+simEpochIDs {
			continue
		}
		if e.cursor == nil || e.done > 0 && e.log[e.done-1].id > id {
			e.cursor, e.done = e.start.clone(), 0
		}
		for ; e.done < len(e.log) && e.log[e.done].id <= id; e.done++ {
			c := &e.log[e.done]
			side := e.cursor.asks
			if c.bid {
				side = e.cursor.bids
			}
			side.set([]orderbook.Level{c.level})
		}
		e.cursor.lastID = id
		return e.cursor
	}
	return nil
}

// verify holds a book against the truth at its id: every level it has is right, and it lacks none
// within its bounds.
func (v *simVenue) verify(book *oracleBook) error {
	truth := v.at(book.lastID)
	if truth == nil {
		return fmt.Errorf("id %d never was", book.lastID)
	}
	floor, ceiling := orderbook.MinFixed, orderbook.MaxFixed
	if book.bidBound.Limited {
		floor = book.bidBound.Price
	}
	if book.askBound.Limited {
		ceiling = book.askBound.Price
	}
	if err := book.bids.verify(truth.bids, floor, orderbook.MaxFixed); err != nil {
		return fmt.Errorf("bids at id %d: %w", book.lastID, err)
	}
	if err := book.asks.verify(truth.asks, orderbook.MinFixed, ceiling); err != nil {
		return fmt.Errorf("asks at id %d: %w", book.lastID, err)
	}
	return nil
}

func (s oracleSide) verify(truth oracleSide, from, to orderbook.Fixed) error {
	for price, quantity := range s {
		if truth[price] != quantity {
			return fmt.Errorf("%d at price %d, in truth %d", quantity, price, truth[price])
		}
	}
	for price, quantity := range truth {
		if price >= from && price <= to && s[price] == 0 {
			return fmt.Errorf("nothing at price %d, in truth %d", price, quantity)
		}
	}
	return nil
}
