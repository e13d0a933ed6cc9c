package integration

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/natsserver/natstest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/bookfeed"
	"github.com/marketprism/marketprism/orderbook"
)

const collected = "BTCUSDT"

// runCollector publishes the book of an exchange, and prints "at n" when the update that ends at id n is
// stored.
func runCollector(ctx context.Context, cfg childConfig) error {
	js, err := connect(ctx, cfg.URL)
	if err != nil {
		return err
	}
	p, err := natsbus.NewPublisher(js, natsbus.PublisherConfig{})
	if err != nil {
		return err
	}
	client, err := binance.NewClient(binance.Config{Endpoints: binance.Endpoints{REST: cfg.REST, Stream: cfg.Stream}})
	if err != nil {
		return err
	}
	d, err := binance.NewDepthSyncer(client, binance.DepthConfig{
		Symbols: []string{collected}, SnapshotLimit: 5000,
		Handler: func(ctx context.Context, rec *marketprism.Record) error {
			if err := p.Write(ctx, []marketprism.Record{*rec}); err != nil {
				return err
			}
			if rec.Update != nil {
				fmt.Println("at", rec.Update.LastID)
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	return d.Run(ctx)
}

// hearUpdates blocks until a collector has stored n more updates, and returns the last id.
func hearUpdates(c *child, n int) (id int) {
	for range n {
		id = c.number("at")
	}
	return id
}

// Two collectors publish one exchange's book, and one is killed and restarted. With the same events the bus has
// each once; with differing borders it has both. Either way a reader shows each change once, or reports a gap where
// it continues from the snapshot of the restarted collector.
func TestTwoCollectorsOnOneBus(t *testing.T) {
	short.Skip(t)
	for name, differ := range map[string]bool{"equal borders": false, "differing borders": true} {
		t.Run(name, func(t *testing.T) { testTwoCollectors(t, differ) })
	}
}

func testTwoCollectors(t *testing.T, differ bool) {
	srv, err := binancetest.New(binancetest.Config{
		Symbols: binancetest.Symbols(collected), Seed: 5, Tick: 20 * time.Millisecond, AlternateBatches: differ, History: 10_000,
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = srv.Close() })
	server := natstest.Start(t)
	js := natstest.JetStream(t, server)
	require.NoError(t, natsbus.EnsureStreams(t.Context(), js, natsbus.StreamsConfig{}))
	walk, halt := context.WithCancel(t.Context())
	var walking sync.WaitGroup
	walking.Go(func() { _ = srv.Run(walk) })
	t.Cleanup(func() { halt(); walking.Wait() })

	cfg := childConfig{Role: "collector", URL: server.URL(), REST: srv.RESTURL(), Stream: srv.StreamURL()}
	first := start(t, cfg)
	hearUpdates(first, 5) // gives it the first connection
	second := start(t, cfg)
	hearUpdates(second, 5)

	instrument := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: collected}
	var shown reader
	feed, err := bookfeed.New(js, bookfeed.Config{Instruments: []marketprism.Instrument{instrument}, Handler: shown.handle})
	require.NoError(t, err)
	var reading sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	reading.Go(func() { _ = feed.Run(ctx) })
	t.Cleanup(func() { cancel(); reading.Wait() })
	require.NoError(t, feed.Ready(t.Context()))

	hearUpdates(second, 20)
	first.kill(func(string) {})
	hearUpdates(second, 10)
	first = start(t, cfg)
	hearUpdates(first, 20)
	halt()
	walking.Wait()
	// The last change, which neither collector has yet.
	_, err = srv.Apply(collected, []orderbook.Level{{Price: orderbook.One, Quantity: orderbook.One}}, nil)
	require.NoError(t, err)
	srv.Tick() // ends the interval, or with differing borders the first of two
	srv.Tick()
	truth, err := srv.Book(collected)
	require.NoError(t, err)
	for _, c := range []*child{first, second} {
		for hearUpdates(c, 1) < int(truth.LastID) {
		}
	}
	require.Eventually(t, func() bool {
		s, _ := feed.Status(instrument)
		return s.LastID == truth.LastID
	}, patience, 5*time.Millisecond)
	require.NoError(t, feed.View(instrument, func(b *orderbook.Book, _ bookfeed.Status) { requireBook(t, truth, b) }))
	cancel()
	reading.Wait()
	require.Empty(t, shown.wrong)
	first.kill(func(string) {})
	second.kill(func(string) {})

	recs := busRecords(t, js, natsbus.BooksStream(""))
	require.Equal(t, differ, overlaps(t, recs))
	requireStored(t, srv, recs, truth)
}

// A reader records in wrong where a bookfeed.Feed does not show each change once.
type reader struct {
	id    int64 // of its book; 0 while there is none
	ended bool
	wrong string

	// A restarted collector may publish its snapshot and an update after it before the other collector publishes
	// the updates up to that snapshot. Then the feed reports a gap and continues from that snapshot, once.
	joining, joined bool
}

func (r *reader) handle(ctx context.Context, rec *marketprism.Record) error {
	switch {
	case rec.Snapshot != nil && r.id == 0:
		r.id = rec.Snapshot.LastID
	case rec.Gap != nil && rec.Gap.Reason == orderbook.GapDisconnect && !r.ended:
		r.ended = true // Run ends
	case rec.Gap != nil && rec.Gap.Reason == orderbook.GapSequence && rec.Gap.After == r.id && !r.joined:
		r.joining, r.joined = true, true
	case rec.Snapshot != nil && rec.Snapshot.LastID > r.id && r.joining:
		r.id, r.joining = rec.Snapshot.LastID, false
	case rec.Update != nil && !r.ended && !r.joining && rec.Update.FirstID <= r.id+1 && rec.Update.LastID > r.id:
		r.id = rec.Update.LastID
	case rec.Snapshot != nil && !r.ended && rec.Snapshot.LastID == r.id:
	default:
		r.wrong += fmt.Sprintf("%s at %d\n", rec.Key(), r.id)
	}
	return nil
}

// overlaps reports whether an id is in several updates, and fails the test if one is in none.
func overlaps(t *testing.T, recs []marketprism.Record) (found bool) {
	t.Helper()
	var updates []*orderbook.Update
	for _, r := range recs {
		if r.Update != nil {
			updates = append(updates, r.Update)
		}
	}
	slices.SortFunc(updates, func(a, b *orderbook.Update) int { return int(a.FirstID - b.FirstID) })
	last := updates[0].LastID
	for _, u := range updates[1:] {
		require.LessOrEqual(t, u.FirstID, last+1, "changes are missing on the bus")
		found = found || u.FirstID <= last
		last = max(last, u.LastID)
	}
	return found
}

// requireStored writes recs to ClickHouse and compares every book read from there with the true one.
func requireStored(t *testing.T, srv *binancetest.Server, recs []marketprism.Record, truth orderbook.Snapshot) {
	t.Helper()
	db := chtest.Open(t)
	conn, err := chstore.NewConn(db.Options())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	store, err := chstore.New(conn, chstore.Config{Database: db.Name})
	require.NoError(t, err)
	require.NoError(t, store.Migrate(t.Context()))
	require.NoError(t, store.Write(t.Context(), recs))
	require.NoError(t, store.Write(t.Context(), recs)) // as after a redelivery

	keys := make(map[string]bool)
	for rec, err := range store.Records(t.Context(), chstore.Query{Instrument: recs[0].Instrument}) {
		require.NoError(t, err)
		require.False(t, keys[rec.Key()], "%s is shown twice", rec.Key())
		keys[rec.Key()] = true
	}
	require.Len(t, keys, len(recs))

	var last int64
	for state, err := range store.Books(t.Context(), chstore.BookQuery{Instrument: recs[0].Instrument}) {
		require.NoError(t, err)
		require.Nil(t, state.Missing)
		require.GreaterOrEqual(t, state.Book.LastID(), last)
		last = state.Book.LastID()
		at, err := srv.BookAt(collected, last)
		require.NoError(t, err)
		requireBook(t, at, state.Book)
	}
	require.Equal(t, truth.LastID, last)
	book, err := store.BookAt(t.Context(), recs[0].Instrument, time.Now().Add(time.Hour))
	require.NoError(t, err)
	requireBook(t, truth, book)
}

func requireBook(t *testing.T, want orderbook.Snapshot, got *orderbook.Book) {
	t.Helper()
	var book orderbook.Book
	book.Reset(&want)
	wanted, _ := book.AppendText(nil)
	text, _ := got.AppendText(nil)
	require.Equal(t, string(wanted), string(text))
}
