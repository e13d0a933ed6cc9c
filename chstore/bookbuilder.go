package chstore

import (
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// maxPending bounds the updates that a book keeps until those before them are read.
const maxPending = 1 << 14

// A bookBuilder makes the book of one instrument from its stored records.
type bookBuilder struct {
	joiner  *orderbook.Joiner
	last    time.Time          // of the last record that changed the book; zero before the first snapshot
	base    marketprism.Record // the snapshot under the book, without its levels
	bids    int                // how many bids it had
	missing *missingRange      // nil while the book is synced, and before the first snapshot
}

// A missingRange is a range of update ids that are not stored.
type missingRange struct {
	after, next int64     // the ids before and after the range; next is 0 where it is not known
	from        time.Time // when the book was last synced
}

// newBookBuilder returns a bookBuilder without a book. The newest snapshot replaces the book, as BookAt starts
// from the newest one.
func newBookBuilder(market marketprism.Market) (*bookBuilder, error) {
	joiner, err := orderbook.NewJoiner(orderbook.JoinerConfig{
		Continuity: market.Continuity(), MaxPending: maxPending, MaxStale: -1, Replace: true,
	})
	return &bookBuilder{joiner: joiner}, err
}

func (b *bookBuilder) synced() bool          { return b.joiner.State() == orderbook.Synced }
func (b *bookBuilder) book() *orderbook.Book { return b.joiner.Book() }
func (b *bookBuilder) id() int64             { return b.joiner.Book().LastID() }

// apply applies the next record, which counts from a time on.
func (b *bookBuilder) apply(rec *marketprism.Record, at time.Time) {
	was, id := b.synced(), b.id()
	out := b.joiner.Join(bookEvent(rec))
	for i := range out.Events {
		if s := out.Events[i].Snapshot; s != nil && s == rec.Snapshot {
			b.base, b.bids = *rec, len(s.Bids)
			b.base.Snapshot = nil
		}
	}
	switch {
	case b.synced():
		if !was || id != b.id() {
			b.last = at
		}
		b.missing = nil
	case was:
		b.miss(id, rec.Update)
	case b.missing != nil:
		b.missing.before(rec.Update)
	}
}

// bookEvent returns the part of a record that a book is made of.
func bookEvent(rec *marketprism.Record) orderbook.Event {
	return orderbook.Event{Update: rec.Update, Snapshot: rec.Snapshot, Gap: rec.Gap, ReceivedAt: rec.ReceivedAt}
}

// miss notes that updates after an id are missing, before u if that is not nil.
func (b *bookBuilder) miss(id int64, u *orderbook.Update) {
	b.missing = &missingRange{after: id, from: b.last}
	b.missing.before(u)
}

// lose ends the book where a range is missing that no id has shown.
func (b *bookBuilder) lose(m *missingRange) {
	b.joiner.Join(orderbook.Event{Gap: &orderbook.Gap{After: m.after, Reason: orderbook.GapSequence}})
	b.missing = m
}

// before notes an update beyond the range.
func (m *missingRange) before(u *orderbook.Update) {
	if u != nil && u.LastID > m.after && (m.next == 0 || u.FirstID < m.next) {
		m.next = u.FirstID
	}
}
