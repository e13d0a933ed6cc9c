package tracing

import (
	"context"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus/internal/letter"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
)

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
