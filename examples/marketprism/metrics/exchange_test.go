package metrics_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/examples/marketprism/metrics"
	"github.com/marketprism/marketprism/sink"
)

func sinkOf(taken chan<- int) sink.Sink {
	return sink.Func(func(_ context.Context, recs []marketprism.Record) error {
		taken <- len(recs)
		return nil
	})
}

// poll runs Poll until reached is true.
func poll(t *testing.T, ctx context.Context, m *metrics.Metrics, reached func() bool) {
	t.Helper()
	polling, stop := context.WithCancel(ctx)
	defer stop()
	go m.Poll(polling) //nolint:errcheck // ends with its context
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !reached() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
	}
}

// A market is a fake exchange with books followed and measured.
type market struct {
	*testing.T
	server   *binancetest.Server
	books    *binance.DepthSyncer
	metrics  *metrics.Metrics
	registry *prometheus.Registry
}

func (m *market) value(name string, labels ...string) float64 {
	m.Helper()
	return value(m.T, m.registry, name, append([]string{"binance", "spot"}, labels...)...)
}

// withMarket runs a test in virtual time.
func withMarket(t *testing.T, test func(*market)) {
	synctest.Test(t, func(t *testing.T) {
		server, err := binancetest.New(binancetest.Config{Symbols: binancetest.Symbols("BTCUSDT", "ETHUSDT"), Seed: 1, Network: binancetest.InMemory()})
		if err != nil {
			t.Fatal(err)
		}
		m := metrics.New(metrics.Config{Symbols: metrics.SymbolPolicy{Chosen: []string{"BTCUSDT"}}})
		exchange := m.Exchange(marketprism.Spot)
		client, err := binance.NewClient(binance.Config{
			Endpoints:   binance.Endpoints{REST: server.RESTURL(), Stream: server.StreamURL()},
			DialContext: server.DialContext, Hooks: exchange.Hooks(),
		})
		if err != nil {
			t.Fatal(err)
		}
		books, err := binance.NewDepthSyncer(client, binance.DepthConfig{
			Symbols: server.Listed(), Trades: true, Tickers: true, Handler: exchange.Handler(nil),
		})
		if err != nil {
			t.Fatal(err)
		}
		exchange.Observe(client, books)
		registry := prometheus.NewPedanticRegistry()
		if err := m.Register(registry); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go server.Run(ctx) //nolint:errcheck // ends with the server
		ended := make(chan error, 1)
		go func() { ended <- books.Run(ctx) }()
		if err := books.Ready(ctx); err != nil {
			t.Fatal(err)
		}
		test(&market{t, server, books, m, registry})
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		client.CloseIdleConnections()
		server.Close()
	})
}

func TestExchange(t *testing.T) {
	withMarket(t, func(m *market) {
		gather(m.T, m.registry) // from the first scrape on there are volumes
		time.Sleep(10 * time.Second)
		synctest.Wait()
		stats := m.books.Stats()
		for _, want := range []struct {
			name   string
			value  float64
			labels []string
		}{
			{metrics.ConnectionStatus, 1, nil},
			{metrics.Connections, 1, []string{"connected"}},
			{metrics.Books, 2, []string{"live"}},
			{metrics.BookSynced, 1, []string{"BTCUSDT"}},
			{metrics.MessagesReceived, float64(stats.DepthEvents), []string{"depth"}},
			{metrics.ReceivedBytes, float64(stats.Bytes), nil},
			{metrics.Trades, float64(stats.Trades), nil},
			{metrics.EventLag, float64(stats.Updates + stats.Trades), nil},
			{metrics.Snapshots, 2, []string{"ok"}},
			{metrics.RestRequests, 2, []string{"depth", "2xx"}},
			{metrics.ResyncDuration, 2, nil},
			{metrics.Gaps, 0, nil},
		} {
			if got := m.value(want.name, want.labels...); got != want.value {
				m.Errorf("%s%v is %v, want %v", want.name, want.labels, got, want.value)
			}
		}
		for _, name := range []string{metrics.BookMid, metrics.BookSpread, metrics.TradesVolume} {
			if v := m.value(name, "BTCUSDT"); v <= 0 {
				m.Errorf("%s is %v", name, v)
			}
			if n := len(gather(m.T, m.registry)[name].GetMetric()); n != 1 {
				m.Errorf("%s has %d series, want that of the chosen symbol", name, n)
			}
		}
		if mid, bid := m.value(metrics.BookMid, "BTCUSDT"), m.value(metrics.BookDepth, "BTCUSDT", "bid"); bid <= 0 || mid <= 0 {
			m.Errorf("mid %v, depth %v", mid, bid)
		}
		if used := m.value(metrics.RestUsedWeight); used <= 0 {
			m.Errorf("weight used is %v", used)
		}
		if age := time.Since(time.Unix(int64(m.value(metrics.LastMessage)), 0)); age > 2*time.Second {
			m.Errorf("the last message is %v old", age)
		}
	})
}

// The metric of the original system: 0 as soon as the exchange is cut off, 1 once it is back.
func TestConnectionStatus(t *testing.T) {
	withMarket(t, func(m *market) {
		m.server.RejectStreams(1000, http.StatusServiceUnavailable)
		m.server.Disconnect(1001, "maintenance")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if status, backoff := m.value(metrics.ConnectionStatus), m.value(metrics.Connections, "backoff"); status != 0 || backoff != 1 {
			m.Errorf("cut off: status %v, %v in backoff", status, backoff)
		}
		if closed, dials := m.value(metrics.Reconnects, "server_close"), m.value(metrics.Reconnects, "dial_error"); closed != 1 || dials < 1 {
			m.Errorf("%v closed by the server, %v failed dials", closed, dials)
		}
		if stale := m.value(metrics.Books, "stale"); stale != 2 {
			m.Errorf("%v stale books, want 2", stale)
		}
		m.server.RejectStreams(0, 0)
		if err := m.books.Ready(m.Context()); err != nil {
			m.Fatal(err)
		}
		if status := m.value(metrics.ConnectionStatus); status != 1 {
			m.Errorf("back again: status %v", status)
		}
		if n := m.value(metrics.Resyncs, "disconnect"); n != 2 {
			m.Errorf("%v resyncs after the disconnect, want 2", n)
		}
	})
}

// A planned replacement is no outage: the status stays 1, and the reason says that it was planned.
func TestRotationIsNoOutage(t *testing.T) {
	withMarket(t, func(m *market) {
		m.books.Rotate()
		for range 60 {
			time.Sleep(time.Second)
			synctest.Wait()
			if status := m.value(metrics.ConnectionStatus); status != 1 {
				m.Fatalf("status %v while the connection is replaced", status)
			}
		}
		if n := m.value(metrics.Reconnects, "manual"); n != 1 {
			m.Errorf("%v replacements on demand, want 1", n)
		}
		if n := m.value(metrics.Reconnects, "read_error"); n != 0 {
			m.Errorf("%v read errors", n)
		}
	})
}

func TestClockAndDecodeErrors(t *testing.T) {
	withMarket(t, func(m *market) {
		m.server.SetClock(700 * time.Millisecond)
		m.server.SendRaw(`{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":"no number"}}`)
		ctx, cancel := context.WithTimeout(m.Context(), time.Second)
		defer cancel()
		if err := m.metrics.Poll(ctx); err != nil {
			m.Error(err)
		}
		if offset := m.value(metrics.ClockOffset); offset < 0.6 || offset > 0.8 {
			m.Errorf("clock offset %v s, want 0.7", offset)
		}
		if n := m.value(metrics.DecodeErrors, "depth"); n != 1 {
			m.Errorf("%v decode errors, want 1", n)
		}
		if n := m.value(metrics.Resyncs, "invalid"); n != 1 {
			m.Errorf("%v resyncs for it, want 1", n)
		}
	})
}
