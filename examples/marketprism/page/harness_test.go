package page_test

import (
	"context"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/examples/marketprism/page"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
)

func TestMain(m *testing.M) { chtest.Main(m) }

// A pipeline is a fake exchange, its books over real sockets, and their page.
type pipeline struct {
	exchange *binancetest.Server
	books    *binance.DepthSyncer
	page     *page.Page
	url      string

	moving sync.Mutex // held to stop the exchange
	stored func(rec *marketprism.Record)
}

// newPipeline serves a page of BTCUSDT and ETHUSDT. The exchange moves after move.
func newPipeline(t *testing.T, configure func(*pipeline, *page.Config)) *pipeline {
	t.Helper()
	exchange, err := binancetest.New(binancetest.Config{Symbols: binancetest.Symbols("BTCUSDT", "ETHUSDT"), Seed: 7})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, exchange.Close()) })

	var connections atomic.Int64
	client, err := binance.NewClient(binance.Config{
		Endpoints: binance.Endpoints{REST: exchange.RESTURL(), Stream: exchange.StreamURL()},
		Hooks: &binance.Hooks{
			ConnectDone: func(i binance.ConnectInfo) {
				if i.Err == nil {
					connections.Add(1)
				}
			},
			Disconnected: func(binance.DisconnectInfo) { connections.Add(-1) },
		},
	})
	require.NoError(t, err)
	p := &pipeline{exchange: exchange, stored: func(*marketprism.Record) {}}
	var shown *page.Page
	p.books, err = binance.NewDepthSyncer(client, binance.DepthConfig{
		Symbols: []string{"BTCUSDT", "ETHUSDT"}, Trades: true, ReconnectMin: time.Millisecond,
		Handler: func(_ context.Context, rec *marketprism.Record) error {
			shown.Observe(rec)
			p.stored(rec)
			return nil
		},
	})
	require.NoError(t, err)

	cfg := page.Config{
		Feed: p.books, Sample: 100 * time.Millisecond,
		Health: func() page.Health {
			return page.Health{Connections: int(connections.Load()), ConnectionsWant: 1, BusConnected: true, StoreConnected: true, Stored: 12345}
		},
	}
	if configure != nil {
		configure(p, &cfg)
	}
	shown, err = page.New(cfg)
	require.NoError(t, err)
	p.page = shown

	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = p.books.Run(ctx) }) // they end with ctx
	running.Go(func() { _ = shown.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })
	require.NoError(t, p.books.Ready(t.Context()))

	server := httptest.NewServer(shown)
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections) // pages that are open do not end by themselves
	p.url = server.URL
	return p
}

// move runs the exchange's random walk until the test ends, except while moving is held.
func (p *pipeline) move(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.moving.Lock()
				_ = p.exchange.Walk() // an error says that it is closed
				p.moving.Unlock()
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() { stop(); <-done })
}

// archive gives the pipeline a store on a real ClickHouse, into which every record goes.
func archive(t *testing.T) func(*pipeline, *page.Config) {
	db := chtest.Open(t)
	conn, err := chstore.NewConn(db.Options())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	store, err := chstore.New(conn, chstore.Config{Database: db.Name})
	require.NoError(t, err)
	require.NoError(t, store.Migrate(t.Context()))
	return func(p *pipeline, cfg *page.Config) {
		var sequence uint64
		cfg.Archive = store
		p.stored = func(rec *marketprism.Record) {
			if rec.Kind() != marketprism.KindUpdate && rec.Kind() != marketprism.KindSnapshot && rec.Kind() != marketprism.KindGap {
				return
			}
			r := rec.Clone()
			sequence++
			r.Origin = marketprism.Origin{Source: "page", Sequence: sequence}
			if err := store.Write(context.WithoutCancel(t.Context()), []marketprism.Record{r}); err != nil {
				t.Errorf("storing a record: %v", err)
			}
		}
	}
}

func instrument(symbol string) marketprism.Instrument {
	return marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: symbol}
}
