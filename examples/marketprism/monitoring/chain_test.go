package monitoring

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/examples/marketprism/metrics"
	"github.com/marketprism/marketprism/internal/chserver"
	"github.com/marketprism/marketprism/internal/natsserver"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/sink"
)

// A chain is the real pipeline, from a fake exchange that can be cut off to ClickHouse, and the address
// of its metrics.
type chain struct {
	exchange *binancetest.Server
	books    *binance.DepthSyncer
	metrics  string // host:port
}

// need ends the test with the error, if there is one.
func need(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// startChain starts it. It ends with the test.
func startChain(t *testing.T, ctx context.Context) *chain {
	exchange, err := binancetest.New(binancetest.Config{Symbols: binancetest.Symbols("BTCUSDT", "ETHUSDT"), Seed: 1})
	need(t, err)
	t.Cleanup(func() { exchange.Close() })
	m := metrics.New(metrics.Config{PollEvery: time.Second, PollFailed: func(i metrics.PollInfo) { t.Logf("%s: %v", i.What, i.Err) }})

	out := startBusAndStore(t, ctx, m)
	meter := m.Exchange(marketprism.Spot)
	client, err := binance.NewClient(binance.Config{
		Endpoints: binance.Endpoints{REST: exchange.RESTURL(), Stream: exchange.StreamURL()}, DialContext: exchange.DialContext,
		Hooks: meter.Hooks(), HTTPClient: meter.HTTPClient(exchange.DialContext),
	})
	need(t, err)
	books, err := binance.NewDepthSyncer(client, binance.DepthConfig{
		Symbols: exchange.Listed(), Trades: true, Tickers: true, ReconnectMax: time.Second,
		Handler: meter.Handler(func(ctx context.Context, rec *marketprism.Record) error {
			m.Beat()
			return out.Write(ctx, []marketprism.Record{*rec})
		}),
	})
	need(t, err)
	meter.Observe(client, books)
	background(t, ctx, exchange.Run, books.Run, m.Poll)
	need(t, books.Ready(ctx))

	registry := prometheus.NewRegistry()
	need(t, m.Register(registry))
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	server := httptest.NewServer(metrics.Handler(registry))
	t.Cleanup(server.Close)
	return &chain{exchange, books, server.Listener.Addr().String()}
}

// startBusAndStore starts NATS, ClickHouse and the archiver between them, and returns the way in.
func startBusAndStore(t *testing.T, ctx context.Context, m *metrics.Metrics) sink.Sink {
	server, err := natsserver.Start(natsserver.Config{StoreDir: t.TempDir()})
	need(t, err)
	t.Cleanup(server.Shutdown)
	bus := m.Bus()
	conn, err := natsbus.Connect(ctx, server.URL(), bus.ConnHooks().Options()...)
	need(t, err)
	t.Cleanup(conn.Close)
	bus.Observe(conn)
	js, err := jetstream.New(conn)
	need(t, err)
	need(t, natsbus.EnsureStreams(ctx, js, natsbus.StreamsConfig{}))
	streams := []string{natsbus.BooksStream(""), natsbus.TradesStream("")}
	bus.Streams(js, streams...)
	bus.DeadLetters(js, natsbus.DeadLettersStream(""), nil)

	archive := m.Archive("archive", "")
	clickhouse, err := chserver.Start(ctx, chserver.Config{Dir: t.TempDir()})
	need(t, err)
	t.Cleanup(func() { clickhouse.Stop(context.Background()) }) //nolint:errcheck // its folder goes as well
	db, err := chstore.Dial(ctx, clickhouse.Addr())
	need(t, err)
	t.Cleanup(func() { db.Close() })
	store, err := chstore.New(db, chstore.Config{Hooks: archive.Hooks()})
	need(t, err)
	need(t, store.Migrate(ctx))

	var consumers []*natsbus.Consumer
	for _, stream := range streams {
		reading := bus.Consumer(stream, "archive")
		consumer, err := natsbus.NewConsumer(js, natsbus.ConsumerConfig{Stream: stream, Durable: "archive", Hooks: reading.Hooks()})
		need(t, err)
		reading.Observe(consumer)
		consumers = append(consumers, consumer)
		background(t, ctx, func(ctx context.Context) error { return consumer.Run(ctx, archive.Storing(store)) })
	}
	archive.Observe(store, consumers...)
	meter := bus.Publisher()
	publisher, err := natsbus.NewPublisher(js, natsbus.PublisherConfig{Hooks: meter.Hooks()})
	need(t, err)
	t.Cleanup(publisher.Close)
	meter.Observe(publisher)
	buffer, err := sink.NewBuffer(publisher, sink.BufferConfig{DrainTimeout: time.Second})
	need(t, err)
	background(t, ctx, buffer.Run)
	return buffer
}

// background runs functions until the test ends, and waits for their ends then.
func background(t *testing.T, ctx context.Context, functions ...func(context.Context) error) {
	for _, f := range functions {
		running, stop := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			f(running) //nolint:errcheck // it ends with its context; what it fails to do the test sees
		}()
		t.Cleanup(func() { stop(); <-ended })
	}
}

// freePort returns an address on loopback that nobody listens on.
func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	need(t, err)
	defer l.Close()
	return l.Addr().String()
}

// until asks again and again until reached says so, or ctx ends.
func until(t *testing.T, ctx context.Context, what string, reached func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !reached() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not reached: %s", what)
		}
	}
}

func answers(url string) bool {
	response, err := http.Get(url) //nolint:noctx // on loopback
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}
