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
	baseID  int64              // its id
	missing *missingRange      // nil while the book is synced, and before the first snapshot
	read    time.Time          // up to which records were applied
}

// A missingRange is a range of update ids that are not stored.
type missingRange struct {
	after, next int64     // the ids before and after the range; next is 0 where it is not known
	from        time.Time // when the book was last synced, or that of the snapshot before the range if it arrived later
	at          time.Time // of the record that showed it
}

// newBookBuilder returns a bookBuilder without a book. The newest snapshot replaces the book, as BookAt starts
// from the newest one.
func newBookBuilder(market marketprism.Market) (*bookBuilder, error) {
	joiner, err := orderbook.NewJoiner(orderbook.JoinerConfig{
		Continuity: market.Continuity(), MaxPending: maxPending, MaxStale: -1, Replace: true,
	})
	return &bookBuilder{joiner: joiner}, err
}

// newBookBuilderOf returns a bookBuilder with the book of a snapshot.
func newBookBuilderOf(market marketprism.Market, snapshot *marketprism.Record) (*bookBuilder, error) {
	b, err := newBookBuilder(market)
	if err == nil {
		b.apply(snapshot, snapshot.Time())
	}
	return b, err
}

func (b *bookBuilder) synced() bool          { return b.joiner.State() == orderbook.Synced }
func (b *bookBuilder) book() *orderbook.Book { return b.joiner.Book() }
func (b *bookBuilder) id() int64             { return b.joiner.Book().LastID() }

// apply applies the next record, which counts from a time on.
func (b *bookBuilder) apply(rec *marketprism.Record, at time.Time) {
	was, id := b.synced(), b.id()
	b.read = at
	out := b.joiner.Join(bookEvent(rec))
	for i := range out.Events {
		if s := out.Events[i].Snapshot; s != nil && s == rec.Snapshot {
			b.base, b.bids, b.baseID = *rec, len(s.Bids), s.LastID
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
		b.missing = &missingRange{after: id, from: b.last, at: at}
		b.missing.before(rec.Update)
	case b.missing != nil:
		b.missing.before(rec.Update)
	}
}

// bookEvent returns the part of a record that a book is made of. It has no time of receipt, by which a Joiner leaves out
// what is from before ids went back: records come by epoch.
func bookEvent(rec *marketprism.Record) orderbook.Event {
	return orderbook.Event{Update: rec.Update, Snapshot: rec.Snapshot, Gap: rec.Gap}
}

// lose ends the book where a range is missing that no id has shown.
func (b *bookBuilder) lose(m *missingRange) {
	b.joiner.Join(orderbook.Event{Gap: &orderbook.Gap{After: m.after, Reason: orderbook.GapSequence}})
	b.missing = m
}

// regress ends the book where ids went back.
func (b *bookBuilder) regress() {
	missing := b.missing
	if missing == nil {
		missing = &missingRange{after: b.id(), from: b.last}
	}
	b.joiner.Join(orderbook.Event{Gap: &orderbook.Gap{After: b.id(), Reason: orderbook.GapRegressed}})
	b.missing = missing
}

// end notes the record with which the book is synced again.
func (m *missingRange) end(rec *marketprism.Record) {
	if m.next == 0 && rec.Snapshot != nil {
		m.next = rec.Snapshot.LastID
	}
}

// before notes an update beyond the range.
func (m *missingRange) before(u *orderbook.Update) {
	if u != nil && u.LastID > m.after && (m.next == 0 || u.FirstID < m.next) {
		m.next = u.FirstID
	}
}
