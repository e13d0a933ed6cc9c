package integration

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
)

// Fifty hostile names stand in the listing of an exchange, and records of all of them come from another driver, which
// checks nothing: every healthy book is synced, published, stored, and what was stored is the exchange's. A name that can
// have no message is refused alone, and every other one is stored as it is.
func TestHostileNamesFromListingToArchive(t *testing.T) {
	short.Skip(t)
	hostile := binancetest.HostileNames()
	healthy := []string{"AAAUSDT", "BBBUSDT", "CCCUSDT", "币安人生USDT"}
	var mu sync.Mutex
	refused := make(map[string]bool)
	spill, _, js := spillOnBus(t, func(c *sink.SpillConfig) {
		c.DirectTimeout = -1
		c.Hooks = &sink.SpillHooks{Refused: func(i sink.SpillRefusedInfo) {
			mu.Lock()
			defer mu.Unlock()
			refused[i.Record.Instrument.Symbol] = true
		}}
	})
	srv, books := listedExchange(t, spill, healthy, hostile)
	for _, name := range hostile {
		require.NoError(t, spill.Write(t.Context(), []marketprism.Record{bookRecord(name, 1, true, 3), bookRecord(name, 2, false, 1)}))
	}
	require.NoError(t, books.Ready(t.Context(), healthy...))
	for range 20 {
		require.NoError(t, srv.Walk())
		srv.Tick()
	}
	truth := make(map[string]orderbook.Snapshot)
	for _, name := range healthy {
		book, err := srv.Book(name)
		require.NoError(t, err)
		truth[name] = book
		require.Eventually(t, func() bool { s, _ := books.Status(name); return s.LastID == book.LastID }, patience, 2*time.Millisecond)
	}
	require.NoError(t, spill.Flush(t.Context()))
	require.NotEmpty(t, refused)
	require.Less(t, len(refused), 20)

	db := chtest.Open(t)
	store := archived(t, db, js, len(busRecords(t, js, natsbus.BooksStream(""))))
	instrument := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot}
	for _, name := range healthy {
		instrument.Symbol = name
		book, err := store.BookAt(t.Context(), instrument, time.Now().Add(time.Hour))
		require.NoError(t, err, name)
		requireBook(t, truth[name], book)
	}
	query := chstore.CheckQuery{Silence: -1, Skew: time.Minute}
	for _, name := range healthy {
		instrument.Symbol = name
		query.Instruments = append(query.Instruments, instrument)
	}
	report, err := store.Check(t.Context(), query)
	require.NoError(t, err)
	require.True(t, report.OK(), report.String())
	require.Equal(t, len(healthy), report.Instruments)

	var stored []string
	require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT groupUniqArray(symbol) FROM depth_events").Scan(&stored))
	want := slices.DeleteFunc(slices.Concat(healthy, hostile), func(name string) bool { return refused[name] })
	require.ElementsMatch(t, want, stored)
}

// listedExchange runs an exchange without a clock that lists hostile names beside the healthy symbols, and a DepthSyncer
// that follows all that it lists and writes to dst.
func listedExchange(t *testing.T, dst sink.Sink, healthy, hostile []string) (*binancetest.Server, *binance.DepthSyncer) {
	t.Helper()
	symbols := binancetest.Symbols(healthy...)
	for i := range symbols {
		symbols[i].Levels = 50
	}
	srv, err := binancetest.New(binancetest.Config{Symbols: symbols, Tick: -1, Seed: 3})
	require.NoError(t, err)
	t.Cleanup(func() { _ = srv.Close() })
	srv.ListNames(hostile...)
	srv.RefuseUnknownStreams(true)
	books, err := binance.NewDepthSyncer(newClient(t, srv, binance.Config{}), binance.DepthConfig{
		AllTrading: &binance.SymbolFilter{},
		Handler: func(ctx context.Context, rec *marketprism.Record) error {
			return dst.Write(ctx, []marketprism.Record{rec.Clone()})
		},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = srv.Run(ctx) })
	running.Go(func() { _ = books.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	require.Eventually(t, func() bool { return len(books.Symbols()) >= len(healthy) }, patience, 2*time.Millisecond)
	return srv, books
}

// archived returns a store on a database that has the n records of the stream of books, written by a Consumer that would end at a
// message that is no record.
func archived(t *testing.T, db *chtest.DB, js jetstream.JetStream, n int) *chstore.Store {
	t.Helper()
	conn, err := chstore.NewConn(db.Options())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	store, err := chstore.New(conn, chstore.Config{Database: db.Name})
	require.NoError(t, err)
	require.NoError(t, store.Migrate(t.Context()))
	consumer, err := natsbus.NewConsumer(js, natsbus.ConsumerConfig{Stream: natsbus.BooksStream(""), Durable: "archiver", FlushEvery: 10 * time.Millisecond})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- consumer.Run(ctx, store) }()
	require.Eventually(t, func() bool { return consumer.Stats().Records >= uint64(n) || len(done) > 0 }, patience, 5*time.Millisecond)
	cancel()
	require.NoError(t, <-done)
	return store
}
