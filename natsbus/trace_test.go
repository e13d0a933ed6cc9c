package natsbus_test

import (
	"context"
	"math"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/deadletter"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/natsbus/internal/letter"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// spans records the ended spans with a real SDK.
type spans struct {
	*sdktrace.TracerProvider
	recorder *tracetest.SpanRecorder
}

func newSpans(t testing.TB) spans {
	recorder := tracetest.NewSpanRecorder()
	s := spans{sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)), recorder}
	t.Cleanup(func() { _ = s.Shutdown(context.Background()) })
	return s
}

func (s spans) named(name string) (found []sdktrace.ReadOnlySpan) {
	for _, span := range s.recorder.Ended() {
		if span.Name() == name {
			found = append(found, span)
		}
	}
	return found
}

func (s spans) one(t testing.TB, name string) sdktrace.ReadOnlySpan {
	t.Helper()
	found := s.named(name)
	require.Len(t, found, 1, name)
	return found[0]
}

// busHeaders returns the headers of the messages of a stream.
func busHeaders(t testing.TB, b *bustest.Bus, stream string) []nats.Header {
	t.Helper()
	s, err := b.JS.Stream(t.Context(), stream)
	require.NoError(t, err)
	var headers []nats.Header
	for at := uint64(1); at <= s.CachedInfo().State.LastSeq; at++ {
		msg, err := s.GetMsg(t.Context(), at)
		require.NoError(t, err)
		headers = append(headers, msg.Header)
	}
	return headers
}

func traced(headers []nats.Header) (n int) {
	for _, h := range headers {
		if len(h["traceparent"]) > 0 {
			n++
		}
	}
	return n
}

func refusedDead(t testing.TB, b *bustest.Bus, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return b.Messages(t, "MD_DLQ") == n }, bustest.Patience, bustest.Interval)
}

// One record is traced from the caller of Write through the publisher, the sink that refuses it, the dead letters, the
// re-drive and the sink that accepts it: one trace, in which each step is the child of the one before, and the last is in
// the sink's context.
func TestTraceGoesAllTheWay(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	sp := newSpans(t)
	cfg := natsbus.TraceConfig{Provider: sp}
	state, err := trace.ParseTraceState("vendor=value")
	require.NoError(t, err)
	root := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, TraceState: state,
	})
	recs := bustest.Updates(3)
	p := b.Publisher(t, natsbus.PublisherConfig{Trace: cfg})
	require.NoError(t, p.Write(t.Context(), recs[:1]))
	require.NoError(t, p.Write(trace.ContextWithSpanContext(t.Context(), root), recs[1:2]))
	require.NoError(t, p.Write(t.Context(), recs[2:]))

	published := sp.one(t, "publish depth")
	require.Equal(t, root.SpanID(), published.Parent().SpanID())
	require.Equal(t, trace.SpanKindProducer, published.SpanKind())
	headers := busHeaders(t, b, "MD_DEPTH")
	require.Equal(t, 1, traced(headers))
	require.Equal(t, []string{parent(published)}, headers[1]["traceparent"])
	require.Equal(t, []string{"vendor=value"}, headers[1]["tracestate"])

	var (
		got sinktest.Recorder
		mu  sync.Mutex
		at  []trace.SpanContext
	)
	sk := bustest.NewPicky(sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
		mu.Lock()
		at = append(at, trace.SpanContextFromContext(ctx))
		mu.Unlock()
		return got.Write(ctx, recs)
	}), recs[1])
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true, Trace: cfg})
	stop := bustest.Run(t, c, sk)
	bustest.Settled(t, c, len(recs))
	refusedDead(t, b, 1)

	dead := sp.one(t, "dead letter")
	require.Equal(t, published.SpanContext().SpanID(), dead.Parent().SpanID())
	deadHeader := busHeaders(t, b, "MD_DLQ")[0]
	require.Equal(t, headers[1]["traceparent"], deadHeader["traceparent"], "the original's headers are unchanged")
	require.Equal(t, headers[1]["tracestate"], deadHeader["tracestate"])
	require.Equal(t, parent(dead), deadHeader.Get(letter.HeaderTrace))
	for _, span := range sp.named("process MD_DEPTH") { // the whole batch, then its parts
		require.Equal(t, published.SpanContext().SpanID(), span.Parent().SpanID())
		require.Equal(t, published.SpanContext().SpanID(), span.Links()[0].SpanContext.SpanID())
		require.Equal(t, codes.Error, span.Status().Code)
	}
	require.NotEmpty(t, sp.named("process MD_DEPTH"))

	mu.Lock()
	at = nil
	mu.Unlock()
	sk.Relent()
	_, err = b.DeadLetters().Redrive(t.Context(), deadletter.Filter{}, deadletter.RedriveConfig{Trace: cfg})
	require.NoError(t, err)
	bustest.Await(t, &got, len(recs))
	require.NoError(t, stop())
	redriven := sp.one(t, "redrive")
	require.Equal(t, dead.SpanContext().SpanID(), redriven.Parent().SpanID())
	stored := sp.one(t, "process MD_REDRIVE")
	require.Equal(t, []trace.SpanID{published.SpanContext().SpanID(), redriven.SpanContext().SpanID()}, linked(stored))
	require.Equal(t, codes.Unset, stored.Status().Code)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []trace.SpanContext{stored.SpanContext()}, at)
	for _, span := range sp.recorder.Ended() {
		require.Equal(t, root.TraceID(), span.SpanContext().TraceID(), span.Name())
	}
	require.Len(t, sp.recorder.Ended(), len(sp.recorder.Started()), "every span is ended")
}

func parent(span sdktrace.ReadOnlySpan) string {
	at := span.SpanContext()
	return "00-" + at.TraceID().String() + "-" + at.SpanID().String() + "-" + at.TraceFlags().String()
}

func linked(span sdktrace.ReadOnlySpan) (ids []trace.SpanID) {
	for _, link := range span.Links() {
		ids = append(ids, link.SpanContext.SpanID())
	}
	return ids
}

// A batch is linked to each of its traced messages.
func TestTraceBatchLinks(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	sp := newSpans(t)
	recs := bustest.Updates(200)
	require.NoError(t, b.Publisher(t, natsbus.PublisherConfig{Trace: natsbus.TraceConfig{Provider: sp, Ratio: 1}}).Write(t.Context(), recs))
	require.Len(t, sp.named("publish depth"), 200)
	require.Equal(t, 200, traced(busHeaders(t, b, "MD_DEPTH")))
	var got sinktest.Recorder
	c := b.Consumer(t, natsbus.ConsumerConfig{Batch: 40, Trace: natsbus.TraceConfig{Provider: sp}})
	stop := bustest.Run(t, c, &got)
	bustest.Await(t, &got, 200)
	require.NoError(t, stop())
	var links []trace.SpanID
	for _, span := range sp.named("process MD_DEPTH") {
		require.Equal(t, trace.SpanKindConsumer, span.SpanKind())
		require.LessOrEqual(t, len(span.Links()), 40)
		links = append(links, linked(span)...)
	}
	var want []trace.SpanID
	for _, span := range sp.named("publish depth") {
		want = append(want, span.SpanContext().SpanID())
	}
	require.ElementsMatch(t, want, links)
}

// Sampling by key traces about Ratio of the records, the same ones in every collector; gaps are always traced, and the
// sampled flag of a context decides.
func TestTraceSampling(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	const n = 4000
	recs := bustest.Updates(n)
	var chosen [2][]string
	for i := range chosen {
		sp := newSpans(t)
		p := b.Publisher(t, natsbus.PublisherConfig{Trace: natsbus.TraceConfig{Provider: sp, Ratio: 0.05}})
		require.NoError(t, p.Write(t.Context(), recs))
		for _, span := range sp.named("publish depth") {
			for _, attr := range span.Attributes() {
				if attr.Key == "messaging.message.id" {
					chosen[i] = append(chosen[i], attr.Value.AsString())
				}
			}
		}
		slices.Sort(chosen[i])
	}
	require.Equal(t, chosen[0], chosen[1])
	require.InDelta(t, 0.05*n, len(chosen[0]), 5*math.Sqrt(0.05*n))
	require.Equal(t, len(chosen[0]), traced(busHeaders(t, b, "MD_DEPTH")))

	sp := newSpans(t)
	p := b.Publisher(t, natsbus.PublisherConfig{Trace: natsbus.TraceConfig{Provider: sp}})
	gap := marketprism.Record{Instrument: recs[0].Instrument, ReceivedAt: time.Now(), Gap: &orderbook.Gap{After: n, Reason: orderbook.GapSequence}}
	unsampled := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}})
	require.NoError(t, p.Write(trace.ContextWithSpanContext(t.Context(), unsampled), []marketprism.Record{gap}))
	require.Empty(t, sp.recorder.Started())
	gap.Gap.After++
	require.NoError(t, p.Write(t.Context(), []marketprism.Record{gap}))
	sp.one(t, "publish gap")
}

// The span of a message that is not confirmed has the error, and the next attempt has another span.
func TestTraceFailure(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	require.NoError(t, b.JS.DeleteStream(t.Context(), "MD_DEPTH"))
	sp := newSpans(t)
	p := b.Publisher(t, natsbus.PublisherConfig{Trace: natsbus.TraceConfig{Provider: sp, Ratio: 1}})
	require.ErrorIs(t, p.Write(t.Context(), bustest.Updates(1)), natsbus.ErrNoStream)
	require.Equal(t, codes.Error, sp.one(t, "publish depth").Status().Code)
}

// A provider that records nothing continues existing traces.
func TestTraceWithoutRecording(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	cfg := natsbus.TraceConfig{Provider: noop.NewTracerProvider(), Ratio: 1}
	root := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	p := b.Publisher(t, natsbus.PublisherConfig{Trace: cfg})
	require.NoError(t, p.Write(trace.ContextWithSpanContext(t.Context(), root), bustest.Updates(1)))
	require.Equal(t, 1, traced(busHeaders(t, b, "MD_DEPTH")))
	seen := make(chan trace.SpanContext, 10)
	bustest.Run(t, b.Consumer(t, natsbus.ConsumerConfig{Trace: cfg}), sink.Func(func(ctx context.Context, _ []marketprism.Record) error {
		seen <- trace.SpanContextFromContext(ctx)
		return nil
	}))
	require.True(t, root.WithRemote(true).Equal((<-seen).WithRemote(true)))
}

func TestTraceConfigIsChecked(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	for _, ratio := range []float64{-0.1, 1.1, math.NaN(), math.Inf(1)} {
		bad := natsbus.TraceConfig{Ratio: ratio}
		_, err := natsbus.NewPublisher(b.JS, natsbus.PublisherConfig{Trace: bad})
		require.ErrorContains(t, err, "Ratio "+strconv.FormatFloat(ratio, 'g', -1, 64))
		_, err = natsbus.NewConsumer(b.JS, natsbus.ConsumerConfig{Stream: "A", Durable: "b", Trace: bad})
		require.Error(t, err)
		_, err = b.DeadLetters().Redrive(t.Context(), deadletter.Filter{}, deadletter.RedriveConfig{Trace: bad})
		require.Error(t, err)
	}
}
