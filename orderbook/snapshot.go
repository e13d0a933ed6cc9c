package orderbook

import (
	"encoding/binary"
	"hash/crc32"
	"time"
)

// A Level is one price of one side of a book and the quantity resting there, neither below zero. In an Update
// quantity 0 removes the level; in a Snapshot and in a Book it does not occur.
//
// A quantity of MaxFixed means this or more: see ParseQuantity. What depends on how much more is not known, and
// sums that contain it say so: Fill.Complete, DepthTo, Imbalance, Microprice.
type Level struct {
	Price, Quantity Fixed
}

// checkLevels returns a *NumberError for the first price or quantity below zero. It reads all signs before it looks
// for one, since hardly any is negative.
func checkLevels(bids, asks []Level) error {
	var signs Fixed
	for i := range bids {
		signs |= bids[i].Price | bids[i].Quantity
	}
	for i := range asks {
		signs |= asks[i].Price | asks[i].Quantity
	}
	if signs >= 0 {
		return nil
	}
	for _, side := range [...][]Level{bids, asks} {
		for _, l := range side {
			if n := min(l.Price, l.Quantity); n < 0 {
				return numberError(n.String(), ErrRange)
			}
		}
	}
	return nil
}

// An Update is one diff of the exchange: the absolute new quantities of the levels that changed.
//
// Ids are the venue's and signed. Levels come in any order, and one level may merge several changes of
// its price. Both sides may be empty: the update then only advances the id.
type Update struct {
	FirstID, LastID int64 // the inclusive range of update ids it covers (Binance U and u)
	PrevLastID      int64 // LastID of the update before it (Binance futures pu); 0 where the venue sends none

	EventTime    time.Time // exchange clock, when it was sent (Binance E)
	TransactTime time.Time // exchange clock of the matching engine (Binance T); zero where the venue sends none

	Bids, Asks []Level
}

// Validate returns why u can be applied to no book; nil if it can: a *SequenceError if FirstID is above LastID, a
// *NumberError, which wraps ErrRange, if a price or a quantity is below zero.
func (u *Update) Validate() error {
	if u.LastID < u.FirstID {
		return &SequenceError{Want: u.FirstID, Got: u.LastID}
	}
	return checkLevels(u.Bids, u.Asks)
}

// Clone returns a copy of u that shares no memory with it.
func (u *Update) Clone() *Update {
	c := *u
	c.Bids, c.Asks = cloneSides(u.Bids, u.Asks)
	return &c
}

// A Snapshot is the state of a book at one update id. Levels beyond a side's bound are exact too, but
// others may be missing there.
type Snapshot struct {
	LastID int64 // the update id up to which it is complete; -1 for an instrument that never had one

	EventTime    time.Time // exchange clock; zero where the venue sends none (Binance spot)
	TransactTime time.Time // exchange clock of the matching engine; zero where the venue sends none

	Bids, Asks []Level // best first, quantities not 0

	BidBound, AskBound Bound // how far the sides are known; zero: to their end. SetLimit sets them
}

// Validate returns a *NumberError, which wraps ErrRange, if a price, a quantity or a bound is below zero.
func (s *Snapshot) Validate() error {
	for _, b := range [...]Bound{s.BidBound, s.AskBound} {
		if b.Limited && b.Price < 0 {
			return numberError(b.Price.String(), ErrRange)
		}
	}
	return checkLevels(s.Bids, s.Asks)
}

// Clone returns a copy of s that shares no memory with it.
func (s *Snapshot) Clone() *Snapshot {
	c := *s
	c.Bids, c.Asks = cloneSides(s.Bids, s.Asks)
	return &c
}

// cloneSides copies both sides into one allocation. The capacity of the bids ends at their length, so
// appending to them cannot overwrite the asks.
func cloneSides(bids, asks []Level) (b, a []Level) {
	both := make([]Level, len(bids)+len(asks))
	n := copy(both, bids)
	copy(both[n:], asks)
	return both[:n:n], both[n:]
}

// A Bound is the known depth of one side of a book: the price down to which it is complete. The zero Bound
// means that the side is known to its end.
type Bound struct {
	Price   Fixed // the worst price at which the side is complete; ignored unless Limited
	Limited bool  // levels at prices worse than Price may be missing
}

// SetLimit sets the bounds of a snapshot that was requested with at most limit levels a side: a side with
// that many is known to its last price, a side with fewer to its end. A limit of 0 or less means that the
// venue cut nothing. Bids and Asks must be set before, best first.
//
// Binance spot, How to manage a local order book correctly: "Since depth snapshots retrieved from the
// API have a limit on the number of price levels (5000 on each side maximum), you won't learn the
// quantities for the levels outside of the initial snapshot unless they change."
func (s *Snapshot) SetLimit(limit int) {
	s.BidBound, s.AskBound = boundOf(s.Bids, limit), boundOf(s.Asks, limit)
}

func boundOf(bestFirst []Level, limit int) Bound {
	if limit <= 0 || len(bestFirst) < limit {
		return Bound{}
	}
	return Bound{Price: bestFirst[len(bestFirst)-1].Price, Limited: true}
}

// Checksum returns the CRC-32C (Castagnoli) of the update id and all levels: as little-endian 64-bit
// integers LastID, the number of bids, price and quantity of each bid in units of 10^-8, best first,
// and the asks likewise. Times and bounds are not in it.
func (s *Snapshot) Checksum() uint32 {
	sum := newChecksum(s.LastID)
	sum.count(len(s.Bids))
	for _, l := range s.Bids {
		sum.level(l)
	}
	sum.count(len(s.Asks))
	for _, l := range s.Asks {
		sum.level(l)
	}
	return ^sum.crc
}

// A checksum computes a CRC from the table itself: the argument of crc32.Update would escape to the heap.
type checksum struct {
	table *crc32.Table
	crc   uint32
}

func newChecksum(lastID int64) checksum {
	sum := checksum{table: crc32.MakeTable(crc32.Castagnoli), crc: ^uint32(0)}
	sum.add(uint64(lastID))
	return sum
}

func (c *checksum) count(n int)   { c.add(uint64(n)) }
func (c *checksum) level(l Level) { c.add(uint64(l.Price)); c.add(uint64(l.Quantity)) }

func (c *checksum) add(v uint64) {
	var word [8]byte
	binary.LittleEndian.PutUint64(word[:], v)
	for _, b := range word {
		c.crc = c.table[byte(c.crc)^b] ^ c.crc>>8
	}
}
