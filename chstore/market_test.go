package chstore_test

import (
	"math/rand/v2"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A market is an exchange's book that walks at random, with its state at every update id.
type market struct {
	rng        *rand.Rand
	instrument marketprism.Instrument
	now        time.Time
	book       map[bool]map[orderbook.Fixed]orderbook.Fixed // by side: true is bids
	id         int64
	history    map[int64]string // the book's text by update id
	changes    []change         // of all ids so far
}

// A change is what one update id stands for.
type change struct {
	id    int64
	at    time.Time
	bid   bool
	level orderbook.Level
}

func newMarket(seed uint64, m marketprism.Market) *market {
	mk := &market{
		rng:        rand.New(rand.NewPCG(seed, 7)),
		instrument: marketprism.Instrument{Exchange: marketprism.Binance, Market: m, Symbol: "BTCUSDT"},
		now:        time.Date(2026, 3, 1, 23, 59, 0, 0, time.UTC), // midnight is near
		book:       map[bool]map[orderbook.Fixed]orderbook.Fixed{true: {}, false: {}},
		id:         1_000,
		history:    make(map[int64]string),
	}
	mk.run(50, time.Millisecond)
	mk.changes = nil
	return mk
}

// run makes n changes, step apart.
func (m *market) run(n int, step time.Duration) {
	for range n {
		m.now = m.now.Add(step)
		m.id++
		c := change{id: m.id, at: m.now, bid: m.rng.IntN(2) == 0}
		price := orderbook.Fixed(1 + m.rng.IntN(40))
		if c.bid {
			price = -price
		}
		c.level = orderbook.Level{Price: (1_000 + price) * orderbook.One, Quantity: orderbook.Fixed(m.rng.IntN(3)) * orderbook.One / 8}
		if c.level.Quantity == 0 {
			delete(m.book[c.bid], c.level.Price)
		} else {
			m.book[c.bid][c.level.Price] = c.level.Quantity
		}
		m.changes = append(m.changes, c)
		m.history[m.id] = bookText(m.snapshot())
	}
}

// snapshot is what the exchange answers at this moment.
func (m *market) snapshot() *orderbook.Snapshot {
	s := &orderbook.Snapshot{LastID: m.id}
	for price := orderbook.Fixed(1_100); price > 900; price-- {
		if q := m.book[true][price*orderbook.One]; q != 0 {
			s.Bids = append(s.Bids, orderbook.Level{Price: price * orderbook.One, Quantity: q})
		}
	}
	for price := orderbook.Fixed(900); price < 1_100; price++ {
		if q := m.book[false][price*orderbook.One]; q != 0 {
			s.Asks = append(s.Asks, orderbook.Level{Price: price * orderbook.One, Quantity: q})
		}
	}
	return s
}

// snapshotRecord is a snapshot as a collector stores it, received after a while.
func (m *market) snapshotRecord(delay time.Duration) marketprism.Record {
	r := marketprism.Record{Instrument: m.instrument, ReceivedAt: m.now.Add(delay), Snapshot: m.snapshot()}
	if m.instrument.Market != marketprism.Spot {
		r.Snapshot.EventTime = m.now
		r.EventTime = m.now
	}
	return r
}

// updates cuts the changes since the last call into updates of up to most ids, sent skew after the
// last of their changes.
func (m *market) updates(rng *rand.Rand, changes []change, most int, skew time.Duration) []marketprism.Record {
	var recs []marketprism.Record
	for len(changes) > 0 {
		n := min(1+rng.IntN(most), len(changes))
		at := changes[n-1].at.Add(skew)
		u := &orderbook.Update{FirstID: changes[0].id, LastID: changes[n-1].id, EventTime: at}
		if m.instrument.Market != marketprism.Spot {
			u.PrevLastID = u.FirstID - 1
			u.TransactTime = at.Add(-time.Millisecond)
		}
		for _, c := range changes[:n] {
			if c.bid {
				u.Bids = append(u.Bids, c.level)
			} else {
				u.Asks = append(u.Asks, c.level)
			}
		}
		recs = append(recs, marketprism.Record{Instrument: m.instrument, EventTime: at, ReceivedAt: at.Add(3 * time.Millisecond), Update: u})
		changes = changes[n:]
	}
	return recs
}

func bookText(s *orderbook.Snapshot) string {
	var b orderbook.Book
	b.Reset(s)
	text, _ := b.AppendText(nil)
	return string(text)
}

// stateAt is the update id at which a reader of recs, which have no holes, knows the book at t; false
// before the first snapshot.
func stateAt(recs []marketprism.Record, t time.Time) (id int64, ok bool) {
	var newest time.Time
	for _, r := range recs {
		if r.Snapshot != nil && !r.Time().After(t) && (!ok || r.Time().After(newest)) {
			id, newest, ok = r.Snapshot.LastID, r.Time(), true
		}
	}
	for _, r := range recs {
		if ok && r.Update != nil && !r.Time().After(t) {
			id = max(id, r.Update.LastID)
		}
	}
	return id, ok
}
