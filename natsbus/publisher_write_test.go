package natsbus

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus/internal/tracing"
	"github.com/marketprism/marketprism/orderbook"
)

func tracedMessage(t testing.TB, cfg TraceConfig) func() {
	tracer, err := cfg.tracer()
	require.NoError(t, err)
	w := &write{p: &Publisher{cfg: PublisherConfig{Prefix: DefaultPrefix}, trace: tracer}, ctx: t.Context()}
	w.recs = []marketprism.Record{{
		Instrument: marketprism.Instrument{Exchange: "binance", Market: marketprism.Spot, Symbol: "BTCUSDT"},
		ReceivedAt: time.Unix(1_780_000_000, 0),
		Update:     &orderbook.Update{FirstID: 1, LastID: 2, Bids: []orderbook.Level{{Price: 1, Quantity: 2}}},
	}}
	return func() { _, _, _ = w.message(0) }
}

// Tracing that is off allocates nothing, and tracing of other records neither: only the message, its subject, its header
// and its id are allocated.
func TestTraceOffAllocatesNothing(t *testing.T) {
	off := testing.AllocsPerRun(1000, tracedMessage(t, TraceConfig{}))
	require.LessOrEqual(t, off, 6.0)
	require.Equal(t, off, testing.AllocsPerRun(1000, tracedMessage(t, TraceConfig{Provider: noop.NewTracerProvider()})))
	tracer := tracing.Tracer{}
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if tracer.StartPublish(t.Context(), nil, nil, "") != nil {
			t.Error("traced")
		}
	}))
}

// BenchmarkMessage makes the message of a record without tracing, with tracing of other records, and with a trace that is
// not recorded.
func BenchmarkMessage(b *testing.B) {
	for _, bench := range []struct {
		name string
		cfg  TraceConfig
	}{
		{"off", TraceConfig{}},
		{"other", TraceConfig{Provider: noop.NewTracerProvider(), Ratio: 1e-9}},
		{"all", TraceConfig{Provider: noop.NewTracerProvider(), Ratio: 1}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			make := tracedMessage(b, bench.cfg)
			b.ReportAllocs()
			for b.Loop() {
				make()
			}
		})
	}
}

// Two collectors that see one event give one message id, however it came. An id with other content is another event.
func TestMessageIDSaysWhatIsACopy(t *testing.T) {
	at := time.UnixMilli(1_780_000_000_123).UTC()
	i := marketprism.Instrument{Exchange: "binance", Market: marketprism.Spot, Symbol: "BTCUSDT"}
	bids := []orderbook.Level{{Price: 1, Quantity: 2}, {Price: 3, Quantity: 4}}
	update := func(bids, asks []orderbook.Level) marketprism.Record {
		return marketprism.Record{Instrument: i, EventTime: at, ReceivedAt: at, Update: &orderbook.Update{FirstID: 1, LastID: 2, EventTime: at, Bids: bids, Asks: asks}}
	}
	trade := func(price orderbook.Fixed, at time.Time) marketprism.Record {
		return marketprism.Record{Instrument: i, EventTime: at, Trade: &marketprism.Trade{ID: 7, Price: price, Quantity: 2, TradeTime: at}}
	}
	ticker := func(bid orderbook.Fixed) marketprism.Record {
		return marketprism.Record{Instrument: i, ReceivedAt: at, Ticker: &marketprism.Ticker{UpdateID: 7, Bid: orderbook.Level{Price: bid, Quantity: 1}}}
	}
	empty, later := update(nil, nil), update(nil, nil)
	later.Update.EventTime = at.Add(time.Second)
	received := update(bids, nil)
	received.ReceivedAt = at.Add(time.Hour)
	for name, c := range map[string]struct {
		a, b marketprism.Record
		copy bool
	}{
		"received later":          {update(bids, nil), received, true},
		"another quantity":        {update(bids, nil), update([]orderbook.Level{bids[0], {Price: 3, Quantity: 5}}, nil), false},
		"quantities exchanged":    {update(bids, nil), update([]orderbook.Level{{Price: 1, Quantity: 4}, {Price: 3, Quantity: 2}}, nil), false},
		"the other side":          {update(bids, nil), update(nil, bids), false},
		"no levels":               {empty, empty, true},
		"no levels, sent later":   {empty, later, false},
		"a trade of REST":         {trade(5, at.Add(456*time.Microsecond)), trade(5, at), true},
		"another price":           {trade(5, at), trade(6, at), false},
		"a trade of another time": {trade(5, at), trade(5, at.Add(time.Minute)), false},
		"a ticker":                {ticker(5), ticker(5), true},
		"another ticker":          {ticker(5), ticker(6), false},
	} {
		a, err := AppendRecord(nil, &c.a)
		require.NoError(t, err, name)
		b, err := AppendRecord(nil, &c.b)
		require.NoError(t, err, name)
		require.Equal(t, c.copy, messageID(&c.a, a) == messageID(&c.b, b), name)
		key, _, _ := strings.Cut(messageID(&c.a, a), "@")
		require.Equal(t, c.a.Key(), key, name)
	}
}
