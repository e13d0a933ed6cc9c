package bookfeed_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/bookfeed"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/orderbook"
)

// A history has the changes of a venue, and its book after each.
type history struct {
	venue   *bustest.Venue
	begin   int64 // id before the first change
	changes []marketprism.Record
	books   map[int64]*orderbook.Book // by update id
}

func newHistory(venue *bustest.Venue) *history {
	h := &history{venue: venue, begin: venue.ID()}
	h.books = map[int64]*orderbook.Book{h.venue.ID(): h.venue.Book.Clone()}
	return h
}

func (h *history) change(n int) {
	for range n {
		h.changes = append(h.changes, h.venue.Updates(1)...)
		h.books[h.venue.ID()] = h.venue.Book.Clone()
	}
}

// differs returns how a book differs from the venue's at its id, within the prices that it says to know; "" if it does not.
func (h *history) differs(got *orderbook.Book) string {
	want := h.books[got.LastID()]
	if want == nil {
		return fmt.Sprintf("id %d of %v", got.LastID(), h.venue.Instrument)
	}
	for side, price := range map[orderbook.Side]int{orderbook.Bid: 100, orderbook.Ask: 200} {
		for range 50 {
			at := orderbook.Fixed(price) * orderbook.One
			if is, should := quantity(got, side, at), quantity(want, side, at); got.Knows(side, at) && is != should {
				return fmt.Sprintf("%v at id %d: %v of %v is %v, want %v", h.venue.Instrument, got.LastID(), side, at, is, should)
			}
			price++
		}
	}
	return ""
}

func quantity(b *orderbook.Book, side orderbook.Side, price orderbook.Fixed) orderbook.Fixed {
	levels := b.Bids()
	if side == orderbook.Ask {
		levels = b.Asks()
	}
	for l := range levels {
		if l.Price == price {
			return l.Quantity
		}
	}
	return 0
}

// A collector publishes what it sees of a venue: changes with borders of its own, some time after they were made, and
// snapshots cut at a depth of its own.
type collector struct {
	of    *history
	depth int
	next  int // index of the first change that it has not published
}

func (c *collector) id() int64 {
	if c.next == 0 {
		return c.of.begin
	}
	return c.of.changes[c.next-1].Update.LastID
}

// snapshot returns the book at the collector's id, best levels first, up to its depth.
func (c *collector) snapshot() marketprism.Record {
	snap := c.of.books[c.id()].Snapshot()
	snap.Bids = snap.Bids[:min(len(snap.Bids), c.depth)]
	snap.Asks = snap.Asks[:min(len(snap.Asks), c.depth)]
	snap.SetLimit(c.depth)
	return c.of.venue.Record(marketprism.Record{Snapshot: &snap})
}

// updates returns up to n changes, in updates of up to size of them.
func (c *collector) updates(n, size int) []marketprism.Record {
	n = min(n, len(c.of.changes)-c.next)
	if n == 0 {
		return nil
	}
	recs := merged(c.of.changes[c.next:c.next+n], size)
	c.next += n
	return recs
}

// step returns what the collector publishes next.
func (c *collector) step(rng *rand.Rand) []marketprism.Record {
	switch rng.IntN(12) {
	case 0: // a refresh
		return []marketprism.Record{c.snapshot()}
	case 1: // it loses its connection, and some changes
		gap := c.of.venue.Gap(c.id(), orderbook.GapDisconnect)
		c.next = min(c.next+rng.IntN(15), len(c.of.changes))
		return []marketprism.Record{gap, c.snapshot()}
	case 2: // it is killed, and another takes its place
		c.next = min(c.next+rng.IntN(15), len(c.of.changes))
		return []marketprism.Record{c.snapshot()}
	}
	return c.updates(1+rng.IntN(8), 1+rng.IntN(4))
}

// Two collectors publish the same market: with other borders between updates, at other times, each with snapshots of its
// own depth, with losses of its own. Every book that the feed shows is the market's at that id, as far as it says to know,
// and no audit finds a difference.
func TestTwoCollectorsWithTheirOwnSnapshots(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	rng := rand.New(rand.NewPCG(1, 2))
	p := b.Publisher(t, natsbus.PublisherConfig{})
	histories := make(map[marketprism.Instrument]*history)
	var all []*history
	cfg := bookfeed.Config{CatchUp: 20 * time.Millisecond, RetryMin: time.Millisecond, RetryMax: 20 * time.Millisecond}
	for i := range 12 {
		v := bustest.NewVenue(fmt.Sprintf("SYM%dUSDT", i), uint64(i))
		if i%2 == 1 {
			v.Futures()
		}
		h := newHistory(v)
		h.change(400)
		histories[h.venue.Instrument] = h
		all = append(all, h)
		cfg.Instruments = append(cfg.Instruments, h.venue.Instrument)
	}

	var (
		mu     sync.Mutex
		books  = make(map[marketprism.Instrument]*orderbook.Book) // of the records that the handler received
		faults []string
		shown  int
	)
	cfg.Handler = func(_ context.Context, rec *marketprism.Record) error {
		mu.Lock()
		defer mu.Unlock()
		switch book := books[rec.Instrument]; {
		case rec.Gap != nil:
			delete(books, rec.Instrument)
			return nil
		case rec.Snapshot != nil:
			books[rec.Instrument] = &orderbook.Book{}
			books[rec.Instrument].Reset(rec.Snapshot)
		case book == nil || !succeeds(rec, book.LastID()):
			faults = append(faults, fmt.Sprintf("%s follows nothing", rec.Key()))
			return nil
		default:
			book.Apply(rec.Update)
		}
		shown++
		if text := histories[rec.Instrument].differs(books[rec.Instrument]); text != "" {
			faults = append(faults, text)
		}
		return nil
	}
	cfg.Hooks = &bookfeed.Hooks{Audited: func(i bookfeed.AuditInfo) {
		mu.Lock()
		defer mu.Unlock()
		if i.Audit.Different > 0 {
			faults = append(faults, fmt.Sprintf("audit of %v: %+v", i.Instrument, i.Audit))
		}
	}}
	feed, err := bookfeed.New(b.JS, cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- feed.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })

	var collectors []*collector
	for _, h := range all {
		for _, depth := range []int{8, 25} {
			c := &collector{of: h, depth: depth, next: rng.IntN(40)}
			require.NoError(t, p.Write(t.Context(), []marketprism.Record{c.snapshot()}))
			collectors = append(collectors, c)
		}
	}
	for len(collectors) > 0 { // each goes on until it has published the last change
		i := rng.IntN(len(collectors))
		require.NoError(t, p.Write(t.Context(), collectors[i].step(rng)))
		if c := collectors[i]; c.next == len(c.of.changes) {
			collectors = append(collectors[:i], collectors[i+1:]...)
		}
	}
	for _, h := range all { // a whole book at the end
		snap := h.venue.Snapshot()
		mu.Lock()
		h.change(1)
		mu.Unlock()
		require.NoError(t, p.Write(t.Context(), []marketprism.Record{snap, h.changes[len(h.changes)-1]}))
	}
	for _, h := range all {
		want, _ := h.venue.Book.AppendText(nil)
		var got []byte
		require.Eventually(t, func() bool {
			err := feed.View(h.venue.Instrument, func(b *orderbook.Book, _ bookfeed.Status) {
				if b.LastID() == h.venue.ID() {
					got, _ = b.AppendText(nil)
				}
			})
			return err == nil && got != nil
		}, bustest.Patience, bustest.Interval)
		require.Equal(t, string(want), string(got))
	}
	cancel()
	require.NoError(t, <-done)
	done <- nil
	mu.Lock()
	defer mu.Unlock()
	require.Empty(t, faults)
	require.Greater(t, shown, 2000)
}
