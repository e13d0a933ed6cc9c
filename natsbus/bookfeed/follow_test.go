package bookfeed_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus/bookfeed"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/orderbook"
)

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

// A follow is a running Feed, with books made only from the records that its handler received.
type follow struct {
	*bookfeed.Feed
	t    testing.TB
	stop func() error

	mu     sync.Mutex
	books  map[marketprism.Instrument]*orderbook.Book // nil after a Gap
	gaps   []orderbook.Gap
	audits []orderbook.Audit
	wrong  string // how the records broke their contract
	snaps  int
	synced chan bookfeed.SyncedInfo
	lost   chan bookfeed.LostInfo
}

func newFollow(t testing.TB, b *bustest.Bus, cfg bookfeed.Config, venues ...*bustest.Venue) *follow {
	t.Helper()
	f := &follow{
		t: t, books: make(map[marketprism.Instrument]*orderbook.Book),
		synced: make(chan bookfeed.SyncedInfo, 10_000), lost: make(chan bookfeed.LostInfo, 10_000),
	}
	for _, v := range venues {
		cfg.Instruments = append(cfg.Instruments, v.Instrument)
	}
	cfg.RetryMin, cfg.RetryMax = time.Millisecond, 20*time.Millisecond
	cfg.Handler = f.handle
	cfg.Hooks = bookfeed.TeeHooks(cfg.Hooks, &bookfeed.Hooks{
		Synced: func(i bookfeed.SyncedInfo) { f.synced <- i },
		Lost:   func(i bookfeed.LostInfo) { f.lost <- i },
		Audited: func(i bookfeed.AuditInfo) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.audits = append(f.audits, i.Audit)
		},
	})
	feed, err := bookfeed.New(b.JS, cfg)
	require.NoError(t, err)
	f.Feed = feed
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

// handle keeps the books, and records where a change is repeated or missing.
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

// succeeds reports whether an update may come after a book's id. On futures markets the update that ends at a snapshot's
// id comes after the snapshot again, by the venue's rule.
func succeeds(rec *marketprism.Record, id int64) bool {
	u := rec.Update
	if rec.Instrument.Market == marketprism.Spot {
		return u.FirstID <= id+1 && u.LastID > id
	}
	return u.PrevLastID <= id && u.LastID >= id
}

// reach waits until the feed's book and the handler's are at the venue's id, and compares them with it.
func (f *follow) reach(v *bustest.Venue) {
	f.t.Helper()
	want, _ := v.Book.AppendText(nil)
	var got []byte
	there := func() bool {
		err := f.View(v.Instrument, func(b *orderbook.Book, s bookfeed.Status) {
			if got = nil; s.LastID == v.ID() {
				got, _ = b.AppendText(nil)
			}
		})
		return err == nil && got != nil && f.shown(v.Instrument) == v.ID()
	}
	if !there() {
		require.Eventually(f.t, there, bustest.Patience, bustest.Interval)
	}
	require.Equal(f.t, string(want), string(got))
	f.mu.Lock()
	defer f.mu.Unlock()
	shown, _ := f.books[v.Instrument].AppendText(nil)
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
