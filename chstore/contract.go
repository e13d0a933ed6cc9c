package chstore

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A contractFeed is a feed in the order of marketprism.Record's contract: a reader that begins a book with each
// Snapshot, ends it with each Gap, and skips updates whose ids the book has, has the exchange's book all the time. In an
// epoch, ids say what came first:
//
//   - Updates come by id (idOrder).
//   - A Snapshot comes before the updates that follow it, and after the Gap that it ends, although it is known to be the
//     successor of neither by its time: a spot snapshot has the time of its arrival.
//   - A Gap comes after the updates up to its After. One that ids refute, because another collector has the updates
//     after it, waits for the next Snapshot, and is left out where none comes: the book goes on.
//   - Where ids show that updates are missing, and no record says so, a Gap is added. So is one with
//     GapRegressed where ids show that they went back.
//   - A Snapshot that comes after updates with higher ids is left out: it was late.
type contractFeed struct {
	*feed
	order      *idOrder
	continuity orderbook.Continuity
	instrument marketprism.Instrument
	adds       bool // gaps may be added: all kinds that make a book are read

	held []*marker // gaps that ids refute

	synced, fresh bool  // of the reader's book
	bookID        int64 // the id of that book
}

// openContractFeed starts the queries. Its records are from a pool. The caller must close the feed, even after an error.
func openContractFeed(ctx context.Context, d *db, q Query, pool *recordPool) (*contractFeed, error) {
	f := newFeed(pool)
	c := &contractFeed{feed: f, instrument: q.Instrument, continuity: q.Instrument.Market.Continuity()}
	c.adds = len(q.Kinds) == 0 || !slices.ContainsFunc(bookKinds(), func(k marketprism.Kind) bool { return !slices.Contains(q.Kinds, k) })
	err := f.open(ctx, d, q, 0, marketprism.KindSnapshot, marketprism.KindGap)
	c.order = newIDOrder(f.records, f.epochs, c.continuity)
	f.read = c.order.next
	return c, err
}

// continueFrom makes the feed the continuation of a book that had an id at some time.
func (c *contractFeed) continueFrom(id int64, at time.Time) {
	c.epoch = c.epochs.at(at.Add(-1))
	c.id, c.floor, c.floorEpoch, c.stale = id, id, c.epoch, at.Add(lookBack)
	c.synced, c.bookID = true, id
}

// next returns the next record, with the time from which it counts; nil if there is none. That time never goes back.
func (c *contractFeed) next(ctx context.Context) (*timedRecord, error) {
	for {
		if err := c.fill(ctx); err != nil {
			return nil, err
		}
		r, ended := c.step()
		if ended {
			return nil, nil
		}
		if r == nil {
			continue
		}
		if r.at.Before(c.last) {
			r.at = c.last
		}
		c.last = r.at
		return r, nil
	}
}

// step returns the next record, if there is one that can be returned now, and whether that was all.
func (c *contractFeed) step() (r *timedRecord, ended bool) {
	present := c.head != nil && c.epochs.at(c.head.at) <= c.epoch
	first := slices.IndexFunc(c.ahead, func(m *marker) bool { return m.epoch <= c.epoch && regressedGap(&m.Record) })
	if first < 0 && !present {
		first = slices.IndexFunc(c.ahead, func(m *marker) bool { return m.epoch <= c.epoch })
	}
	switch {
	case first >= 0:
		return c.mark(first, c.ahead[first].Time()), false
	case c.head == nil && len(c.ahead) == 0:
		return nil, true
	case !present && len(c.held) > 0:
		return c.release(c.last), false
	case !present:
		c.begin()
		return nil, false
	}
	if c.headRegressed() {
		if i := c.leftOver(); i >= 0 {
			return c.mark(i, c.ahead[i].Time()), false
		}
		return c.regress(c.head.rec.Update, c.head.at), false
	}
	if i := c.predecessor(); i >= 0 {
		return c.mark(i, c.head.at), false
	}
	for i, m := range c.ahead {
		if m.epoch <= c.epoch && c.isDue(m) && !c.waits(m) {
			return c.mark(i, m.Time()), false
		}
	}
	if u := c.head.rec.Update; u != nil {
		if gap := c.gapBefore(u); gap != nil {
			return gap, false
		}
		c.reached(u)
	}
	return c.takeHead(), false
}

// begin begins the next epoch of which there are records.
func (c *contractFeed) begin() {
	next := math.MaxInt
	if c.head != nil {
		next = c.epochs.at(c.head.at)
	}
	for i := range c.ahead {
		next = min(next, c.ahead[i].epoch)
	}
	c.reach(next)
	c.forget()
}

// forget forgets the ids of an epoch that has ended, and the reader's book.
func (c *contractFeed) forget() {
	c.forgetIDs()
	c.synced = false
}

// mark returns a marker at its place, or a Gap that precedes it; nil if the marker is left out, or waits.
func (c *contractFeed) mark(i int, at time.Time) *timedRecord {
	m := c.ahead[i]
	if m.Gap != nil {
		g := c.take(i)
		if c.refuted(g) && len(c.held) < maxAhead {
			c.held = append(c.held, g)
			return nil
		}
		c.synced = false
		return c.pool.of(g.Record, at)
	}
	for n, g := range c.ahead[:i] {
		if g.Gap != nil && g.epoch == m.epoch && g.Gap.After <= m.Snapshot.LastID {
			return c.mark(n, at)
		}
	}
	if id := m.Snapshot.LastID; m.epoch < c.epoch || c.synced && id < c.bookID {
		if u := c.nextUpdate(math.MinInt64); u != nil && m.epoch == c.epoch && regressed(c.highest, c.sent, u.rec.Update.LastID, u.rec.Time()) {
			return c.regress(u.rec.Update, at)
		}
		c.ahead = slices.Delete(c.ahead, i, i+1) // late
		return nil
	}
	if len(c.held) > 0 {
		return c.release(at)
	}
	s := c.take(i)
	c.synced, c.fresh, c.bookID = true, true, s.Snapshot.LastID
	if c.bookID < c.id { // ids may have gone back while no collector was connected
		c.id, c.highest = c.bookID, math.MinInt64
	}
	return c.pool.of(s.Record, at)
}

// release returns the first Gap that was held.
func (c *contractFeed) release(at time.Time) *timedRecord {
	g := c.held[0]
	c.held = slices.Delete(c.held, 0, 1)
	c.synced = false
	return c.pool.of(g.Record, at)
}

// waits reports whether updates up to the id of a Gap are still to come. The collector's clock may be behind.
func (c *contractFeed) waits(m *marker) bool {
	if m.Gap == nil || c.head != nil && c.head.rec.Update != nil && c.head.rec.Update.LastID > m.Gap.After {
		return false
	}
	u := c.nextUpdate(c.id)
	return u != nil && c.epochs.at(u.at) == c.epoch && u.rec.Update.LastID <= m.Gap.After && !u.at.After(m.Time().Add(lookBack))
}

// refuted reports whether the reader's book goes on after a Gap without a missing update, and no Snapshot comes before.
func (c *contractFeed) refuted(g *marker) bool {
	if !c.synced || regressedGap(&g.Record) {
		return false
	}
	u := c.nextUpdate(c.bookID)
	if u == nil || c.epochs.at(u.at) != c.epoch || !c.follows(u.rec.Update) {
		return false
	}
	for _, m := range c.ahead {
		if m.Snapshot != nil && m.epoch == c.epoch && m.Snapshot.LastID >= c.bookID && (m.Snapshot.LastID <= u.rec.Update.LastID || m.Time().Before(u.at)) {
			return false
		}
	}
	return true
}

func (c *contractFeed) follows(u *orderbook.Update) bool {
	return c.fresh && c.bookID == newborn || c.continuity.Follows(c.bookID, u)
}

// newborn is the id of the snapshot of an instrument that never had an update. Any update follows it.
const newborn = -1

// nextUpdate returns the update that comes next of those that end above an id, as far as it has been read; nil if none
// has.
func (c *contractFeed) nextUpdate(above int64) *timedRecord {
	if h := c.head; h != nil && h.rec.Update != nil && h.rec.Update.LastID > above {
		return h
	}
	return c.order.peek(above)
}

// gapBefore returns the Gap that ends the reader's book before the head, an update; nil if that follows.
func (c *contractFeed) gapBefore(u *orderbook.Update) *timedRecord {
	if !c.synced || u.LastID <= c.bookID || c.follows(u) {
		return nil
	}
	if len(c.held) > 0 {
		return c.release(c.head.at)
	}
	return c.added(orderbook.GapSequence, u, c.head.at)
}

// regress begins an epoch that no record says has begun. It returns the Gap that ends the reader's book; nil if it has
// none.
func (c *contractFeed) regress(u *orderbook.Update, at time.Time) *timedRecord {
	gap := c.added(orderbook.GapRegressed, u, at)
	c.forget()
	return gap
}

// added returns a Gap that no collector has stored; nil if the reader has no book, or no gaps are read.
func (c *contractFeed) added(reason orderbook.GapReason, u *orderbook.Update, at time.Time) *timedRecord {
	was := c.synced
	if c.synced = false; !was || !c.adds {
		return nil
	}
	cause := &orderbook.SequenceError{Want: c.bookID + 1, Got: u.FirstID}
	if c.continuity == orderbook.Linked {
		cause = &orderbook.SequenceError{Want: c.bookID, Got: u.PrevLastID}
	}
	return c.pool.of(marketprism.Record{
		Instrument: c.instrument, ReceivedAt: at,
		Gap: &orderbook.Gap{After: c.bookID, Reason: reason, Err: cause},
	}, at)
}

// reached notes that an update is returned.
func (c *contractFeed) reached(u *orderbook.Update) {
	c.returns(u)
	if c.synced && u.LastID > c.bookID {
		c.bookID, c.fresh = u.LastID, false
	}
}
