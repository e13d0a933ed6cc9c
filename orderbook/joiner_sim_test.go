package orderbook_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// A joinerVenue has the true book at every id it ever had, one change an id. Ids of a later life are
// lower than all before, so that an id names one book.
type joinerVenue struct {
	rng     *rand.Rand
	rule    orderbook.Continuity
	truth   map[int64]*oracleBook
	changes []joinerChange // of the present life
	book    *oracleBook
	now     time.Time
}

type joinerChange struct {
	id, before int64
	at         time.Time
	bid        bool
	level      orderbook.Level
}

func newJoinerVenue(seed uint64) *joinerVenue {
	v := &joinerVenue{rng: rand.New(rand.NewPCG(seed, 13)), truth: map[int64]*oracleBook{}, book: newOracleBook(), now: scriptStart.Add(time.Hour)}
	v.rule = orderbook.Continuity(v.rng.IntN(2))
	v.book.lastID = 1_000_000
	v.change(40)
	return v
}

func (v *joinerVenue) change(n int) {
	for range n {
		c := joinerChange{id: v.book.lastID + 1, before: v.book.lastID, bid: v.rng.IntN(2) == 0}
		if v.rule == orderbook.Linked {
			c.id += int64(v.rng.IntN(3))
		}
		v.now = v.now.Add(10 * time.Millisecond)
		c.at = v.now
		c.level.Quantity = orderbook.Fixed(v.rng.IntN(4)) * orderbook.One
		c.level.Price = orderbook.Fixed(101+v.rng.IntN(12)) * orderbook.One
		u := &orderbook.Update{LastID: c.id}
		if c.bid {
			c.level.Price = orderbook.Fixed(100-v.rng.IntN(12)) * orderbook.One
			u.Bids = []orderbook.Level{c.level}
		} else {
			u.Asks = []orderbook.Level{c.level}
		}
		v.book.apply(u)
		v.truth[c.id] = v.book.clone()
		v.changes = append(v.changes, c)
	}
}

// wipe begins a new life, of lower ids and other levels.
func (v *joinerVenue) wipe() {
	id := v.changes[0].id - 200_000
	v.book, v.changes = newOracleBook(), nil
	v.book.lastID = id
	v.now = v.now.Add(time.Second)
	v.change(40)
}

// A joinerRecord is an Event that reaches the Joiner at a moment.
type joinerRecord struct {
	orderbook.Event
	at time.Time
}

// collect returns the records of one collector that sees changes from one index on: a snapshot, and
// updates with borders of its own. Some updates are lost, with a Gap or without; snapshots come again.
func (v *joinerVenue) collect(from int, most int, lag time.Duration, faults bool) (recs []joinerRecord) {
	emit := func(e orderbook.Event, at time.Time) {
		e.ReceivedAt = at
		recs = append(recs, joinerRecord{e, at.Add(lag)})
	}
	snapshot := func(i int, late time.Duration) {
		s := v.truth[v.changes[i].id].snapshot([]int{0, 0, 3, 5}[v.rng.IntN(4)])
		emit(orderbook.Event{Snapshot: s}, v.changes[i].at.Add(late))
	}
	snapshot(from, 0)
	for i := from + 1; i < len(v.changes); {
		n := min(1+v.rng.IntN(most), len(v.changes)-i)
		part := v.changes[i : i+n]
		last := part[n-1]
		i += n
		fault := v.rng.IntN(60)
		if faults && fault == 0 { // lost, with a Gap
			emit(orderbook.Event{Gap: &orderbook.Gap{After: part[0].before, Reason: orderbook.GapDisconnect}}, part[0].at)
			snapshot(i-1, 0)
			continue
		}
		if faults && fault == 1 {
			continue // lost in silence
		}
		u := &orderbook.Update{FirstID: part[0].id, LastID: last.id}
		if v.rule == orderbook.Linked {
			u.PrevLastID = part[0].before
		}
		for _, c := range part {
			if c.bid {
				u.Bids = append(u.Bids, c.level)
			} else {
				u.Asks = append(u.Asks, c.level)
			}
		}
		emit(orderbook.Event{Update: u}, last.at)
		switch {
		case fault == 2: // there again
			emit(orderbook.Event{Update: u}, last.at)
		case fault < 6: // one of those that are added now and then, or a slow answer
			snapshot(i-1, time.Duration(v.rng.IntN(200))*time.Millisecond)
		}
	}
	return recs
}

// Two collectors see the same exchange, each with its own borders, clock and losses. Whatever comes in
// whatever order, the book is the exchange's whenever the Joiner says that it is synced; and it is
// synced in the end.
func TestJoinerAgainstOracle(t *testing.T) {
	synced, refuted := 0, 0
	for seed := range *seedCount / 4 {
		s, r, err := simulateJoiner(seed)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		synced, refuted = synced+s, refuted+r
	}
	t.Logf("%d records left the book synced, %d gaps were refuted", synced, refuted)
	if synced == 0 || refuted == 0 {
		t.Errorf("%d records left the book synced, %d gaps were refuted: nothing was shown", synced, refuted)
	}
}

func simulateJoiner(seed uint64) (synced, refuted int, err error) {
	v := newJoinerVenue(seed)
	c, err := newJoinerContract(orderbook.JoinerConfig{
		Continuity: v.rule, MaxPending: []int{8, 64, 0}[v.rng.IntN(3)], MaxStale: []int{20, -1}[v.rng.IntN(2)],
		Replace: v.rng.IntN(2) == 0, MaxDepth: []int{0, 0, 6}[v.rng.IntN(3)],
	})
	if err != nil {
		return 0, 0, err
	}
	lives := 1 + v.rng.IntN(3)
	knows := v.rng.IntN(2) == 0 // ReceivedAt is there
	var jitter time.Duration
	if v.rng.IntN(2) == 0 {
		jitter = 150 * time.Millisecond
	}
	var recs []joinerRecord
	for life := range lives {
		v.change(300)
		lag := time.Duration(v.rng.IntN(300)) * time.Millisecond
		recs = append(recs, v.collect(v.rng.IntN(30), 1, 0, true)...)
		recs = append(recs, v.collect(v.rng.IntN(200), 1+v.rng.IntN(12), lag, true)...)
		if life < lives-1 {
			after := v.book.lastID
			v.wipe()
			for _, late := range []time.Duration{0, lag} {
				e := orderbook.Event{Gap: &orderbook.Gap{After: after, Reason: orderbook.GapRegressed}, ReceivedAt: v.now}
				recs = append(recs, joinerRecord{e, v.now.Add(late)})
			}
		}
	}
	for i := range recs {
		if jitter > 0 && recs[i].Gap == nil {
			recs[i].at = recs[i].at.Add(time.Duration(v.rng.Int64N(int64(jitter))))
		}
		if !knows {
			recs[i].ReceivedAt = time.Time{}
		}
	}
	slices.SortStableFunc(recs, func(a, b joinerRecord) int { return a.at.Compare(b.at) })

	check := func(out orderbook.Output, what string) error {
		if c.joiner.State() != orderbook.Synced {
			return nil
		}
		synced++
		book := c.joiner.Book()
		truth := v.truth[book.LastID()]
		if truth == nil {
			return fmt.Errorf("%s: no book ever had id %d", what, book.LastID())
		}
		if err := truth.contradicts(book); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if out.Audit != nil && out.Audit.Different > 0 {
			return fmt.Errorf("%s: an audit found %d differences: %v", what, out.Audit.Different, out.Audit.Differences)
		}
		return nil
	}
	var gap *orderbook.Gap
	take := func(e orderbook.Event) error {
		out, err := c.join(e)
		if err == nil {
			err = check(out, describe(e))
		}
		for _, ev := range out.Events {
			if ev.Gap != nil {
				g := *ev.Gap
				gap = &g
			} else if ev.Snapshot != nil && gap != nil && gap.After == ev.Snapshot.LastID {
				refuted++
			}
		}
		return err
	}
	for _, r := range recs {
		if err := take(r.Event); err != nil {
			return synced, refuted, err
		}
		if c.joiner.Ahead() && v.rng.IntN(40) == 0 {
			out := c.joiner.Jump()
			if err := c.check(out); err != nil {
				return synced, refuted, err
			}
			if err := check(out, "jump"); err != nil {
				return synced, refuted, err
			}
		}
	}
	// A single collector that goes on, and adds snapshots.
	for range 10 {
		begin := len(v.changes) - 1
		v.change(30)
		for _, r := range v.collect(begin, 3, 0, false) {
			r.ReceivedAt = time.Time{}
			if err := take(r.Event); err != nil {
				return synced, refuted, err
			}
		}
	}
	if c.joiner.State() != orderbook.Synced || c.joiner.Book().LastID() != v.book.lastID {
		return synced, refuted, fmt.Errorf("in the end the book is %v at %d, the exchange's is at %d", c.joiner.State(), c.joiner.Book().LastID(), v.book.lastID)
	}
	return synced, refuted, nil
}

func describe(e orderbook.Event) string {
	switch {
	case e.Update != nil:
		return fmt.Sprintf("update %d-%d", e.Update.FirstID, e.Update.LastID)
	case e.Snapshot != nil:
		return fmt.Sprintf("snapshot %d", e.Snapshot.LastID)
	}
	return fmt.Sprintf("gap after %d", e.Gap.After)
}
