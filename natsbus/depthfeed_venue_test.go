package natsbus_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/orderbook"
)

// A venue has the true book of one instrument and makes up the changes to it, one update id each.
type venue struct {
	instrument marketprism.Instrument
	rng        *rand.Rand
	book       orderbook.Book
}

func newVenue(symbol string, seed uint64) *venue {
	v := &venue{
		instrument: marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: symbol},
		rng:        rand.New(rand.NewPCG(seed, 7)),
	}
	v.book.Reset(&orderbook.Snapshot{LastID: 1000})
	v.updates(50)
	return v
}

func (v *venue) id() int64 { return v.book.LastID() }

// futures has the venue count as futures markets do: ids are shared by all symbols, and updates name the
// one before.
func (v *venue) futures() *venue {
	v.instrument.Market = marketprism.USDM
	return v
}

// updates makes n changes of one update id each.
func (v *venue) updates(n int) []marketprism.Record {
	recs := make([]marketprism.Record, n)
	for i := range recs {
		id := v.id() + 1
		level := orderbook.Level{Quantity: orderbook.Fixed(v.rng.IntN(5)) * orderbook.One}
		u := &orderbook.Update{FirstID: id, LastID: id, EventTime: time.UnixMilli(id).UTC()}
		if v.rng.IntN(2) == 0 {
			level.Price = orderbook.Fixed(100+v.rng.IntN(50)) * orderbook.One
			u.Bids = []orderbook.Level{level}
		} else {
			level.Price = orderbook.Fixed(200+v.rng.IntN(50)) * orderbook.One
			u.Asks = []orderbook.Level{level}
		}
		if v.instrument.Market == marketprism.USDM {
			u.PrevLastID = v.id()
			u.FirstID, u.LastID = id+4, id+7
		}
		v.book.Apply(u)
		recs[i] = v.record(marketprism.Record{Update: u, EventTime: u.EventTime})
	}
	return recs
}

func (v *venue) snapshot() marketprism.Record {
	snap := v.book.Snapshot()
	return v.record(marketprism.Record{Snapshot: &snap})
}

func (v *venue) gap(after int64, reason orderbook.GapReason) marketprism.Record {
	return v.record(marketprism.Record{Gap: &orderbook.Gap{After: after, Reason: reason}})
}

func (v *venue) record(r marketprism.Record) marketprism.Record {
	r.Instrument = v.instrument
	r.ReceivedAt = time.Now().UTC()
	return r
}

// merged returns the same changes in updates of up to n ids.
func merged(recs []marketprism.Record, n int) []marketprism.Record {
	var out []marketprism.Record
	for part := range slices.Chunk(recs, n) {
		one := part[0].Clone()
		for _, r := range part[1:] {
			one.Update.LastID, one.Update.EventTime = r.Update.LastID, r.Update.EventTime
			one.Update.Bids = append(one.Update.Bids, r.Update.Bids...)
			one.Update.Asks = append(one.Update.Asks, r.Update.Asks...)
		}
		out = append(out, one)
	}
	return out
}

// A follow is a running DepthFeed, with books made of nothing but the records its handler was given.
type follow struct {
	*natsbus.DepthFeed
	t    testing.TB
	stop func() error

	mu     sync.Mutex
	books  map[marketprism.Instrument]*orderbook.Book // nil after a Gap
	gaps   []orderbook.Gap
	audits []orderbook.Audit
	wrong  string // how the records broke their contract
	snaps  int
	synced chan natsbus.FeedSyncedInfo
	lost   chan natsbus.FeedLostInfo
}

func (b *bus) follow(t testing.TB, cfg natsbus.DepthFeedConfig, venues ...*venue) *follow {
	t.Helper()
	f := &follow{
		t: t, books: make(map[marketprism.Instrument]*orderbook.Book),
		synced: make(chan natsbus.FeedSyncedInfo, 100), lost: make(chan natsbus.FeedLostInfo, 100),
	}
	for _, v := range venues {
		cfg.Instruments = append(cfg.Instruments, v.instrument)
	}
	cfg.RetryMin, cfg.RetryMax = time.Millisecond, 20*time.Millisecond
	cfg.Handler = f.handle
	cfg.Hooks = natsbus.TeeFeedHooks(cfg.Hooks, &natsbus.FeedHooks{
		Synced: func(i natsbus.FeedSyncedInfo) { f.synced <- i },
		Lost:   func(i natsbus.FeedLostInfo) { f.lost <- i },
		Audited: func(i natsbus.FeedAuditInfo) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.audits = append(f.audits, i.Audit)
		},
	})
	feed, err := natsbus.NewDepthFeed(b.js, cfg)
	require.NoError(t, err)
	f.DepthFeed = feed
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- feed.Run(ctx) }()
	f.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = f.stop() })
	return f
}

// handle keeps the books, and notes where the records say a change twice or leave one out.
func (f *follow) handle(_ context.Context, rec *marketprism.Record) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	book := f.books[rec.Instrument]
	switch {
	case rec.Snapshot != nil:
		f.snaps++
		if book != nil && book.LastID() != rec.Snapshot.LastID {
			f.wrong = "a snapshot within a span stands at another id"
		}
		book = &orderbook.Book{}
		book.Reset(rec.Snapshot)
		f.books[rec.Instrument] = book
	case rec.Gap != nil:
		f.gaps = append(f.gaps, *rec.Gap)
		f.books[rec.Instrument] = nil
	case book == nil:
		f.wrong = "an update outside a span"
	case !succeeds(rec, book.LastID()):
		f.wrong = "an update does not follow the one before"
	default:
		book.Apply(rec.Update)
	}
	return nil
}

// succeeds tells whether an update may come after a book's id. On futures markets the one that ends at a
// snapshot's id comes after it once more, as the venue's rule has it.
func succeeds(rec *marketprism.Record, id int64) bool {
	u := rec.Update
	if rec.Instrument.Market == marketprism.Spot {
		return u.FirstID <= id+1 && u.LastID > id
	}
	return u.PrevLastID <= id && u.LastID >= id
}

// reach waits until the feed's book and the handler's are at the venue's id, and compares them with it.
func (f *follow) reach(v *venue) {
	f.t.Helper()
	want, _ := v.book.AppendText(nil)
	var got []byte
	require.Eventually(f.t, func() bool {
		err := f.View(v.instrument, func(b *orderbook.Book, s natsbus.Status) {
			if got = nil; s.LastID == v.id() {
				got, _ = b.AppendText(nil)
			}
		})
		return err == nil && got != nil && f.shown(v.instrument) == v.id()
	}, patience, interval)
	require.Equal(f.t, string(want), string(got))
	f.mu.Lock()
	defer f.mu.Unlock()
	shown, _ := f.books[v.instrument].AppendText(nil)
	require.Equal(f.t, string(want), string(shown))
	require.Empty(f.t, f.wrong)
}

// shown returns the id of the handler's book; 0 if there is none.
func (f *follow) shown(instrument marketprism.Instrument) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if b := f.books[instrument]; b != nil {
		return b.LastID()
	}
	return 0
}

// reasons returns why books were lost so far.
func (f *follow) reasons() (reasons []orderbook.GapReason) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, g := range f.gaps {
		reasons = append(reasons, g.Reason)
	}
	return reasons
}

func receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("it does not come")
		panic("unreachable")
	}
}
