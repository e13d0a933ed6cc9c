package natsbus

import (
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
