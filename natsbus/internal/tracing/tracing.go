// Package tracing records OpenTelemetry spans of messages, and carries traces in their headers.
package tracing

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus/internal/letter"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
)

// Header names of W3C Trace Context (https://www.w3.org/TR/trace-context/).
const headerTraceParent = "traceparent"

// tracerName is the instrumentation scope of the spans.
const tracerName = "github.com/marketprism/marketprism/natsbus"

// A Tracer records spans. The zero Tracer is off.
type Tracer struct {
	trace.Tracer        // nil means off
	below        uint64 // keys with a hash below it begin a trace
	all          bool
}

// New returns a Tracer of a natsbus.TraceConfig.
func New(provider trace.TracerProvider, ratio float64) (Tracer, error) {
	if !(ratio >= 0 && ratio <= 1) {
		return Tracer{}, fmt.Errorf("TraceConfig.Ratio %v: want 0 to 1", ratio)
	}
	if provider == nil {
		return Tracer{}, nil
	}
	t := Tracer{Tracer: provider.Tracer(tracerName), all: ratio == 1}
	if !t.all {
		t.below = uint64(ratio * math.MaxUint64)
	}
	return t, nil
}

// On reports whether spans are recorded.
func (t *Tracer) On() bool { return t.Tracer != nil }

// samples reports whether the record with that key is traced.
func (t *Tracer) samples(ctx context.Context, r *marketprism.Record, key string) bool {
	if parent := trace.SpanContextFromContext(ctx); parent.IsValid() {
		return parent.IsSampled()
	}
	return t.all || r.Gap != nil || t.below > 0 && hashKey(key) < t.below
}

// hashKey is the same in every process: FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/) with the
// finaliser of MurmurHash3, without which the high bits of keys that differ in the last digit are alike.
func hashKey(key string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 0x100000001b3
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// headerCarrier reads and writes trace context in headers. NATS headers are case-sensitive, and
// propagation.HeaderCarrier would write Traceparent, which other programs do not find.
type headerCarrier nats.Header

var _ propagation.TextMapCarrier = headerCarrier{}

// Get returns the header of that name, or of one that differs in case.
func (c headerCarrier) Get(name string) string {
	if values := c[name]; len(values) > 0 {
		return values[0]
	}
	for own, values := range c {
		if len(values) > 0 && strings.EqualFold(own, name) {
			return values[0]
		}
	}
	return ""
}

// Set sets the header in lower case.
func (c headerCarrier) Set(name, value string) { c[strings.ToLower(name)] = []string{value} }

// Keys returns the names of all headers.
func (c headerCarrier) Keys() []string {
	keys := make([]string, 0, len(c))
	for name := range c {
		keys = append(keys, name)
	}
	return keys
}

// inject writes the trace of ctx into headers.
func inject(ctx context.Context, header nats.Header) {
	propagation.TraceContext{}.Inject(ctx, headerCarrier(header))
}

// extract returns the trace named in headers; it is not valid if there is none.
func extract(header nats.Header) trace.SpanContext {
	if len(header) == 0 {
		return trace.SpanContext{}
	}
	ctx := propagation.TraceContext{}.Extract(context.Background(), headerCarrier(header))
	return trace.SpanContextFromContext(ctx)
}

// traceParent returns the trace of ctx as the value of a header; "" if there is none.
func traceParent(ctx context.Context) string {
	header := make(nats.Header, 2)
	inject(ctx, header)
	return headerCarrier(header).Get(headerTraceParent)
}

// parseTraceParent is the inverse of traceParent.
func parseTraceParent(value string) trace.SpanContext {
	return extract(nats.Header{headerTraceParent: {value}})
}

// Attributes of spans, named as in the conventions for messaging
// (https://opentelemetry.io/docs/specs/semconv/messaging/) where those have a name.
const (
	attrSystem      = attribute.Key("messaging.system")
	attrDestination = attribute.Key("messaging.destination.name")
	attrMessageID   = attribute.Key("messaging.message.id")
	attrBatch       = attribute.Key("messaging.batch.message_count")
	attrConsumer    = attribute.Key("messaging.consumer.group.name")
	attrSequence    = attribute.Key("messaging.nats.stream.sequence")
	attrStream      = attribute.Key("messaging.nats.stream.name")
	attrDuplicate   = attribute.Key("messaging.nats.duplicate")
	attrReason      = attribute.Key("marketprism.dead_letter.reason")
	attrRedrives    = attribute.Key("marketprism.dead_letter.redrives")
)

// maxLinks bounds the links of a span, to the default bound of SDKs. A batch of more traced messages is linked to the
// first ones.
const maxLinks = 128

var systemNATS = attrSystem.String("nats")

// StartPublish begins the span of a record that is sampled, and writes its trace into the headers of msg. It returns
// nil for any other record.
func (t *Tracer) StartPublish(ctx context.Context, r *marketprism.Record, msg *nats.Msg, key string) trace.Span {
	if !t.On() || !t.samples(ctx, r, key) {
		return nil
	}
	ctx, span := t.Start(ctx, "publish "+r.Kind().String(), trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(systemNATS, attrDestination.String(msg.Subject), attrMessageID.String(key)))
	if !span.SpanContext().IsSampled() {
		span.End()
		return nil
	}
	inject(ctx, msg.Header)
	return span
}

// EndPublish ends the span, which may be nil, of a message that a stream has confirmed.
func EndPublish(span trace.Span, ack *jetstream.PubAck) {
	if span != nil {
		span.SetAttributes(attrStream.String(ack.Stream), attrSequence.Int64(int64(ack.Sequence)), attrDuplicate.Bool(ack.Duplicate))
		span.End()
	}
}

// End ends a span, which may be nil.
func End(span trace.Span, err error) {
	if span == nil {
		return
	}
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// StartProcess begins the span of a Write of the sink if any of the messages is sampled, and returns its context. It
// links to those messages and is a child of the first: a sampler would drop a span without a parent more often than
// the messages' spans.
func (t *Tracer) StartProcess(ctx context.Context, stream, durable string, msgs []pull.Delivery) (context.Context, trace.Span) {
	if !t.On() {
		return ctx, nil
	}
	links := linksTo(msgs)
	if len(links) == 0 {
		return ctx, nil
	}
	ctx = trace.ContextWithRemoteSpanContext(ctx, links[0].SpanContext)
	return t.Start(ctx, "process "+stream, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(links...),
		trace.WithAttributes(systemNATS, attrStream.String(stream), attrConsumer.String(durable), attrBatch.Int(len(msgs)),
			attrSequence.Int64(int64(msgs[0].Meta.Sequence.Stream))))
}

// linksTo returns links to the traces of messages: the one in which each was published, and of a re-driven message
// also the one of its re-drive.
func linksTo(msgs []pull.Delivery) (links []trace.Link) {
	for _, msg := range msgs {
		for _, parent := range [...]trace.SpanContext{extract(msg.Header), parseTraceParent(msg.Header.Get(letter.HeaderTrace))} {
			if parent.IsSampled() && len(links) < maxLinks {
				links = append(links, trace.Link{SpanContext: parent})
			}
		}
	}
	return links
}

// StartDeadLetter begins the span in which a message becomes the dead letter msg, in the trace of the original.
func (t *Tracer) StartDeadLetter(ctx context.Context, original nats.Header, msg *nats.Msg) trace.Span {
	return t.startMove(ctx, "dead letter", extract(original), msg,
		attrReason.String(msg.Header.Get(letter.HeaderReason)), attrDestination.String(msg.Subject))
}

// StartRedrive begins the span in which msg re-drives a letter with the given headers, in the trace in which that
// became a letter.
func (t *Tracer) StartRedrive(ctx context.Context, header nats.Header, redrives int, msg *nats.Msg) trace.Span {
	parent := parseTraceParent(header.Get(letter.HeaderTrace))
	if !parent.IsValid() {
		parent = extract(header)
	}
	return t.startMove(ctx, "redrive", parent, msg, attrRedrives.Int(redrives), attrDestination.String(msg.Subject))
}

// startMove begins a span and names it in the headers of msg. It returns nil if tracing is off.
func (t *Tracer) startMove(ctx context.Context, name string, parent trace.SpanContext, msg *nats.Msg, attributes ...attribute.KeyValue) trace.Span {
	if !t.On() {
		return nil
	}
	if parent.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
	}
	ctx, span := t.Start(ctx, name, trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(append(attributes, systemNATS, attrMessageID.String(msg.Header.Get(letter.HeaderID)))...))
	if value := traceParent(ctx); value != "" {
		msg.Header[letter.HeaderTrace] = []string{value}
	}
	return span
}
