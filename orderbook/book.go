package orderbook

import (
	"iter"
	"slices"
	"time"
)

// A Book holds the bids and asks of one instrument at one update id. The zero Book is empty and
// ready to use. It is not safe for concurrent use, except that any number of goroutines may read it
// while it does not change.
//
// A Book must not be copied, since the copy would share levels with it and change with it: Clone makes a copy. go vet
// reports what copies one.
type Book struct {
	_ noCopy

	lastID    int64
	eventTime time.Time
	bids      ladder
	asks      ladder
	sided     bool
}

// noCopy makes go vet report a copy of the struct that contains it, as sync.Mutex does (its check copylocks looks for
// these two methods).
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// Reset replaces the book by a snapshot. Levels may come in any order, but best first is fastest; levels
// of quantity 0 are left out. It does not check numbers: the Syncer does (Snapshot.Validate). s is not kept.
func (b *Book) Reset(s *Snapshot) {
	b.setSides()
	b.lastID, b.eventTime = s.LastID, s.EventTime
	b.bids.reset(s.Bids)
	b.asks.reset(s.Asks)
	b.bids.bound, b.asks.bound = s.BidBound, s.AskBound
}

// Apply sets the levels of u and moves the book to its LastID. It does not check ids and numbers:
// the Syncer does (Update.Validate). It allocates nothing unless a side outgrows its array. u is not kept.
//
// After the first update of an instrument that never had one (LastID -1), nothing is known of the book but u's own
// levels: no id shows whether other updates came before it. See Known.
func (b *Book) Apply(u *Update) {
	b.setSides()
	if b.lastID == noID {
		b.bids.bound, b.asks.bound = Bound{Price: MaxFixed, Limited: true}, Bound{Limited: true}
	}
	b.lastID, b.eventTime = u.LastID, u.EventTime
	b.bids.apply(u.Bids)
	b.asks.apply(u.Asks)
}

func (b *Book) setSides() {
	if !b.sided {
		b.sided = true
		b.asks.order = -1
	}
}

// LastID returns the update id of the book.
func (b *Book) LastID() int64 { return b.lastID }

// EventTime returns the exchange's time of the last update or snapshot; zero if it had none.
func (b *Book) EventTime() time.Time { return b.eventTime }

// BestBid returns the highest bid; false if there is none. See KnowsTop.
func (b *Book) BestBid() (Level, bool) { return b.bids.best() }

// BestAsk returns the lowest ask; false if there is none. See KnowsTop.
func (b *Book) BestAsk() (Level, bool) { return b.asks.best() }

// BidCount returns the number of bid levels.
func (b *Book) BidCount() int { return len(b.bids.levels) }

// AskCount returns the number of ask levels.
func (b *Book) AskCount() int { return len(b.asks.levels) }

// Bids iterates over the bids, best first. The book must not change during the iteration.
func (b *Book) Bids() iter.Seq[Level] {
	return func(yield func(Level) bool) { b.bids.all(yield) }
}

// Asks iterates over the asks, best first. The book must not change during the iteration.
func (b *Book) Asks() iter.Seq[Level] {
	return func(yield func(Level) bool) { b.asks.all(yield) }
}

// AppendBids appends the best n bids to dst, best first; all if n is negative. It allocates nothing
// where dst has room.
func (b *Book) AppendBids(dst []Level, n int) []Level { return b.bids.appendTop(dst, n) }

// AppendAsks appends the best n asks to dst, best first; all if n is negative. It allocates nothing
// where dst has room.
func (b *Book) AppendAsks(dst []Level, n int) []Level { return b.asks.appendTop(dst, n) }

// Crossed reports whether the best bid is at or above the best ask. On an exchange that is so only
// while it matches no orders: before an opening, or in a halt.
func (b *Book) Crossed() bool {
	bid, ok1 := b.BestBid()
	ask, ok2 := b.BestAsk()
	return ok1 && ok2 && bid.Price >= ask.Price
}

// Snapshot returns a copy of the whole book.
func (b *Book) Snapshot() Snapshot {
	return Snapshot{
		LastID:    b.lastID,
		EventTime: b.eventTime,
		Bids:      b.AppendBids(nil, -1),
		Asks:      b.AppendAsks(nil, -1),
		BidBound:  b.bids.bound,
		AskBound:  b.asks.bound,
	}
}

// Clone returns a copy that shares no memory with b.
func (b *Book) Clone() *Book {
	c := &Book{lastID: b.lastID, eventTime: b.eventTime, bids: b.bids, asks: b.asks, sided: b.sided}
	c.bids.levels, c.bids.front = slices.Clone(b.bids.levels), nil
	c.asks.levels, c.asks.front = slices.Clone(b.asks.levels), nil
	return c
}

// AppendText appends the book as text, equal for equal books on any machine: a line
// "price quantity" for each bid, best first, a line "-", the asks likewise, a line "-". Numbers are
// plain decimals without trailing zeros. It never fails.
func (b *Book) AppendText(dst []byte) ([]byte, error) {
	for _, side := range [...]*ladder{&b.bids, &b.asks} {
		for level := range side.all {
			dst = level.Price.append(dst)
			dst = append(dst, ' ')
			dst = level.Quantity.append(dst)
			dst = append(dst, '\n')
		}
		dst = append(dst, '-', '\n')
	}
	return dst, nil
}

// Checksum returns the Checksum of the book's Snapshot, without a copy.
func (b *Book) Checksum() uint32 {
	sum := newChecksum(b.lastID)
	sum.count(b.BidCount())
	for l := range b.bids.all {
		sum.level(l)
	}
	sum.count(b.AskCount())
	for l := range b.asks.all {
		sum.level(l)
	}
	return ^sum.crc
}

// A Side is one of the two halves of a book.
type Side uint8

// The sides.
const (
	Bid Side = iota // who wants to buy
	Ask             // who wants to sell
)

// String returns "bid" or "ask".
func (s Side) String() string {
	if s == Bid {
		return "bid"
	}
	return "ask"
}

func (b *Book) side(s Side) *ladder {
	if s == Bid {
		return &b.bids
	}
	return &b.asks
}
