package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/examples/marketprism/metrics"
	"github.com/marketprism/marketprism/internal/natsserver"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
	"github.com/nats-io/nats.go/jetstream"
)

// complete returns metrics with every part, none of which has done anything, in a registry that
// refuses what does not fit its description.
func complete(t *testing.T, cfg metrics.Config, symbols int) (*metrics.Metrics, *prometheus.Registry) {
	t.Helper()
	m := metrics.New(cfg)
	exchange := m.Exchange(marketprism.Spot)
	client, err := binance.NewClient(binance.Config{Hooks: exchange.Hooks()})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range symbols {
		names = append(names, fmt.Sprintf("SYM%04dUSDT", i))
	}
	books, err := binance.NewDepthSyncer(client, binance.DepthConfig{Symbols: names, Handler: exchange.Handler(nil)})
	if err != nil {
		t.Fatal(err)
	}
	exchange.Observe(client, books)
	bus := m.Bus()
	bus.Publisher()
	bus.Streams(nil, natsbus.BooksStream(""), natsbus.TradesStream(""))
	bus.DeadLetters(nil, natsbus.DeadLettersStream(""), nil)
	bus.Consumer(natsbus.BooksStream(""), "archive")
	bus.Consumer(natsbus.TradesStream(""), "archive")
	m.Spill()
	m.Archive("archive", "")
	registry := prometheus.NewPedanticRegistry()
	if err := m.Register(registry); err != nil {
		t.Fatal(err)
	}
	return m, registry
}

func gather(t *testing.T, g prometheus.Gatherer) map[string]*dto.MetricFamily {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]*dto.MetricFamily)
	for _, f := range families {
		byName[f.GetName()] = f
	}
	return byName
}

// value returns the value of the series whose label values are these, in any order.
func value(t *testing.T, g prometheus.Gatherer, name string, labels ...string) float64 {
	t.Helper()
	family := gather(t, g)[name]
	for _, m := range family.GetMetric() {
		var values []string
		for _, l := range m.GetLabel() {
			values = append(values, l.GetValue())
		}
		if slices.Equal(slices.Sorted(slices.Values(values)), slices.Sorted(slices.Values(labels))) {
			switch {
			case m.GetCounter() != nil:
				return m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				return m.GetGauge().GetValue()
			}
			return float64(m.GetHistogram().GetSampleCount())
		}
	}
	t.Fatalf("no series %s%v among %d", name, labels, len(family.GetMetric()))
	return 0
}

// Before anything has happened every family is there, with every value of its closed sets, at 0.
func TestAllSeriesExistAtZero(t *testing.T) {
	_, registry := complete(t, metrics.Config{}, 2)
	families := gather(t, registry)
	for _, f := range metrics.Catalogue() {
		switch f.Name {
		case metrics.BookMid, metrics.BookSpread, metrics.BookDepth: // a book that is not synced has no price
			continue
		case metrics.StoreTierBytes, metrics.StoreDiskFree, metrics.StoreDiskTotal: // the server names its disks
			continue
		}
		family := families[f.Name]
		if family == nil {
			t.Errorf("%s does not exist", f.Name)
			continue
		}
		want := 1
		for _, l := range f.Labels {
			if len(l.Values) > 0 && (len(l.Values) > 1 || l.Name != "exchange") {
				want *= len(l.Values)
			}
		}
		if n := len(family.GetMetric()); n < want {
			t.Errorf("%s has %d series, its closed sets make %d", f.Name, n, want)
		}
		for _, m := range family.GetMetric() {
			v := m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			if f.Type != metrics.Gauge && v != 0 {
				t.Errorf("%s%v is %v before anything has happened", f.Name, m.GetLabel(), v)
			}
		}
	}
}

func TestLint(t *testing.T) {
	_, registry := complete(t, metrics.Config{}, 2)
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestBoundOfSeries(t *testing.T) {
	_, registry := complete(t, metrics.Config{}, 1300)
	response := httptest.NewRecorder()
	metrics.Handler(registry).ServeHTTP(response, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	lines := 0
	for line := range strings.Lines(response.Body.String()) {
		if !strings.HasPrefix(line, "#") {
			lines++
		}
	}
	t.Logf("%d series, %d bytes", lines, response.Body.Len())
	if lines > metrics.MaxSeries || lines < 4*1300 {
		t.Errorf("%d series, want at most %d", lines, metrics.MaxSeries)
	}
}

func TestSymbolPolicy(t *testing.T) {
	limited := 0
	for _, c := range []struct {
		policy metrics.SymbolPolicy
		want   int
	}{
		{metrics.SymbolPolicy{}, 30},
		{metrics.SymbolPolicy{Mode: metrics.NoSymbols}, 0},
		{metrics.SymbolPolicy{Mode: metrics.ListedSymbols, List: []string{"SYM0003USDT", "SYM0007USDT", "GONE"}}, 2},
		{metrics.SymbolPolicy{Max: 29, List: []string{"SYM0000USDT"}, Limited: func(n int) { limited += n }}, 1},
	} {
		_, registry := complete(t, metrics.Config{Symbols: c.policy}, 30)
		gather(t, registry)
		families := gather(t, registry)
		for _, name := range []string{metrics.BookSynced, metrics.BookLastUpdate, metrics.BookUpdates, metrics.BookGaps} {
			if n := len(families[name].GetMetric()); n != c.want {
				t.Errorf("%+v: %d series of %s, want %d", c.policy, n, name, c.want)
			}
		}
		if v := value(t, registry, metrics.Books, "binance", "spot", "init"); v != 30 {
			t.Errorf("%+v: %v books, want all 30 whatever the policy", c.policy, v)
		}
	}
	if limited != 30 {
		t.Errorf("told of %d symbols, want 30 once", limited)
	}
}

func TestRegisterTwice(t *testing.T) {
	m, registry := complete(t, metrics.Config{}, 1)
	if m.Register(registry) == nil {
		t.Error("a second registration of the same names was accepted")
	}
}

// Exemplars need OpenMetrics, native histograms protobuf; both come beside the classic buckets.
func TestExemplarsAndNativeHistograms(t *testing.T) {
	m, registry := complete(t, metrics.Config{}, 1)
	received := time.Now()
	rec := &marketprism.Record{
		Instrument: marketprism.Instrument{Exchange: "binance", Market: marketprism.Spot, Symbol: "LATEUSDT"},
		EventTime:  received.Add(-3 * time.Second), ReceivedAt: received, Update: &orderbook.Update{},
	}
	if err := m.Exchange(marketprism.Spot).Handler(nil)(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	request.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	response := httptest.NewRecorder()
	metrics.Handler(registry).ServeHTTP(response, request)
	if text := response.Body.String(); !strings.Contains(text, `le="5.0"} 1 # {symbol="LATEUSDT"} 3.0`) {
		t.Error("no exemplar with the symbol of the late event")
	}
	h := gather(t, registry)[metrics.EventLag].GetMetric()[0].GetHistogram()
	if h.Schema == nil || len(h.GetPositiveSpan()) == 0 || len(h.GetBucket()) == 0 {
		t.Errorf("want a histogram native and classic: %v", h)
	}
}

func TestCountLogs(t *testing.T) {
	m, registry := complete(t, metrics.Config{Service: "collect"}, 1)
	l := slog.New(m.CountLogs(slog.NewJSONHandler(io.Discard, nil)))
	l.Info("one")
	l.With("component", "bus").Error("two")
	l.Error("three", "component", "bus")
	l.Warn("four", "component", "no such thing")
	l.WithGroup("g").Warn("five", "component", "bus")
	got := map[string]float64{}
	for _, at := range [][]string{{"other", "INFO"}, {"bus", "ERROR"}, {"other", "WARN"}, {"archive", "WARN"}} {
		got[strings.Join(at, " ")] = value(t, registry, metrics.LogMessages, "collect", at[0], at[1])
	}
	if want := map[string]float64{"other INFO": 1, "bus ERROR": 2, "other WARN": 2, "archive WARN": 0}; !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}

// A bus that does not accept records is away; a disk queue that is not empty is behind.
func TestSpill(t *testing.T) {
	m, registry := metrics.New(metrics.Config{}), prometheus.NewPedanticRegistry()
	if err := m.Register(registry); err != nil {
		t.Fatal(err)
	}
	var faults sinktest.Faults
	live := make(chan struct{}, 1)
	spill, err := sink.NewSpill(faults.Wrap(new(sinktest.Recorder)), sink.SpillConfig{
		Dir: t.TempDir(), Encode: natsbus.AppendRecord, Decode: natsbus.DecodeRecord,
		Hooks: &sink.SpillHooks{Live: func(time.Duration) { live <- struct{}{} }},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer spill.Close()
	m.Spill().Observe(spill, 1000)
	expect := func(away, behind, queued, direct, drained float64) {
		t.Helper()
		for name, want := range map[string]float64{metrics.SpillAway: away, metrics.SpillBehind: behind, metrics.SpillQueued: queued, metrics.SpillMaxBytes: 1000} {
			if v := value(t, registry, name); v != want {
				t.Errorf("%s is %v, want %v", name, v, want)
			}
		}
		for result, want := range map[string]float64{"direct": direct, "spilled": drained + queued, "drained": drained, "refused": 0} {
			if v := value(t, registry, metrics.SpillRecords, result); v != want {
				t.Errorf("%s %s is %v, want %v", metrics.SpillRecords, result, v, want)
			}
		}
	}
	recs := sinktest.Records(1, 20)
	write := func(recs []marketprism.Record) {
		t.Helper()
		if err := spill.Write(t.Context(), recs); err != nil {
			t.Fatal(err)
		}
	}
	write(recs[:5])
	expect(0, 0, 0, 5, 0)
	faults.FailNext(1, errors.New("away"))
	write(recs[5:])
	expect(1, 1, 15, 5, 0)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- spill.Run(ctx) }()
	<-live
	expect(0, 0, 0, 5, 15)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// The numbers of the bus are those of a real server.
func TestBus(t *testing.T) {
	server, err := natsserver.Start(natsserver.Config{StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	m := metrics.New(metrics.Config{PollEvery: time.Minute, PollFailed: func(i metrics.PollInfo) { t.Errorf("%s: %v", i.What, i.Err) }})
	registry := prometheus.NewPedanticRegistry()
	if err := m.Register(registry); err != nil {
		t.Fatal(err)
	}
	bus := m.Bus()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := natsbus.Connect(ctx, server.URL(), bus.ConnHooks().Options()...)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	bus.Observe(conn)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	if err := natsbus.EnsureStreams(ctx, js, natsbus.StreamsConfig{}); err != nil {
		t.Fatal(err)
	}
	stream := natsbus.TradesStream("")
	bus.Streams(js, stream)
	bus.DeadLetters(js, natsbus.DeadLettersStream(""), nil)

	meter := bus.Publisher()
	publisher, err := natsbus.NewPublisher(js, natsbus.PublisherConfig{Hooks: meter.Hooks()})
	if err != nil {
		t.Fatal(err)
	}
	defer publisher.Close()
	meter.Observe(publisher)
	var recs []marketprism.Record
	for id := range int64(10) {
		recs = append(recs, marketprism.Record{
			Instrument: marketprism.Instrument{Exchange: "binance", Market: marketprism.Spot, Symbol: "BTCUSDT"},
			EventTime:  time.Now(), ReceivedAt: time.Now(), Trade: &marketprism.Trade{ID: id + 1, Price: 1, Quantity: 1, TradeTime: time.Now()},
		})
	}
	for range 2 { // the second time all are duplicates
		if err := publisher.Write(ctx, recs); err != nil {
			t.Fatal(err)
		}
	}

	reading := bus.Consumer(stream, "archive")
	consumer, err := natsbus.NewConsumer(js, natsbus.ConsumerConfig{Stream: stream, Durable: "archive", Hooks: reading.Hooks()})
	if err != nil {
		t.Fatal(err)
	}
	reading.Observe(consumer)
	archive := m.Archive("archive", "")
	archive.Observe(nil, consumer)
	running, stop := context.WithCancel(ctx)
	taken := make(chan int, 100)
	ended := make(chan error, 1)
	go func() { ended <- consumer.Run(running, archive.Storing(sinkOf(taken))) }()
	for n := 0; n < len(recs); {
		select {
		case k := <-taken:
			n += k
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
	}
	stop()
	<-ended
	polled, done := context.WithCancel(ctx)
	done()
	if err := m.Poll(polled); err != nil {
		t.Errorf("Poll returned %v", err)
	}
	poll(t, ctx, m, func() bool { return value(t, registry, metrics.StreamMessages, stream) == 10 })

	for _, want := range []struct {
		name   string
		value  float64
		labels []string
	}{
		{metrics.BusStatus, 1, nil},
		{metrics.PublisherMessages, 20, []string{stream}},
		{metrics.PublisherDuplicates, 10, []string{stream}},
		{metrics.PublisherAck, 20, []string{stream}},
		{metrics.ConsumerMessages, 10, []string{stream, "archive"}},
		{metrics.ConsumerLag, 10, []string{stream, "archive"}},
		{metrics.ConsumerAcks, 10, []string{stream, "archive", "ack"}},
		{metrics.ConsumerPending, 0, []string{stream, "archive"}},
		{metrics.ArchiverLag, 10, []string{"trades"}},
		{metrics.DeadLetters, 0, []string{natsbus.DeadLettersStream("")}},
	} {
		if v := value(t, registry, want.name, want.labels...); v != want.value {
			t.Errorf("%s%v is %v, want %v", want.name, want.labels, v, want.value)
		}
	}
	if age := time.Since(time.Unix(int64(value(t, registry, metrics.ArchiverHeartbeat, "archive")), 0)); age > time.Minute {
		t.Errorf("the heartbeat is %v old", age)
	}
}
