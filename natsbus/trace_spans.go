package natsbus

import (
	"context"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/marketprism/marketprism"
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

// maxLinks bounds the links of a span; a batch of more traced messages is linked to the first ones. It
// is what SDKs keep unless told otherwise.
const maxLinks = 128

var systemNATS = attrSystem.String("nats")

// publish begins the span of a record that is followed, and writes its trace into the headers of msg; nil
// if it is not.
func (t *tracer) publish(ctx context.Context, r *marketprism.Record, msg *nats.Msg, key string) trace.Span {
	if !t.on() || !t.follows(ctx, r, key) {
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

// published ends the span of a message that a stream has confirmed.
func published(span trace.Span, ack *jetstream.PubAck) {
	if span != nil {
		span.SetAttributes(attrStream.String(ack.Stream), attrSequence.Int64(int64(ack.Sequence)), attrDuplicate.Bool(ack.Duplicate))
		span.End()
	}
}

// endSpan ends a span that may be nil.
func endSpan(span trace.Span, err error) {
	if span == nil {
		return
	}
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// handle begins the span of a Write of the sink, if any of the messages is followed. It links to all of
// those, up to maxLinks, and is a child of the first, because a sampler would not record a span without
// a parent as often as the messages are.
func (r *reader) traceHandle(msgs []pull.Delivery) (context.Context, trace.Span) {
	if !r.trace.on() {
		return r.work, nil
	}
	links := linksTo(msgs)
	if len(links) == 0 {
		return r.work, nil
	}
	ctx := trace.ContextWithRemoteSpanContext(r.work, links[0].SpanContext)
	return r.trace.Start(ctx, "process "+r.cfg.Stream, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(links...),
		trace.WithAttributes(systemNATS, attrStream.String(r.cfg.Stream), attrConsumer.String(r.cfg.Durable), attrBatch.Int(len(msgs)),
			attrSequence.Int64(int64(first(msgs)))))
}

// linksTo returns links to the traces that messages belong to: the one they were published in, and for
// those that were dead letters the one in which they were put back.
func linksTo(msgs []pull.Delivery) (links []trace.Link) {
	for _, msg := range msgs {
		header := msg.Header
		for _, at := range [...]trace.SpanContext{extract(header), parseTraceParent(header.Get(HeaderDeadTrace))} {
			if at.IsSampled() && len(links) < maxLinks {
				links = append(links, trace.Link{SpanContext: at})
			}
		}
	}
	return links
}

// die begins the span in which a message becomes a dead letter, in the trace of the message if it has
// one, and names it in the headers of the letter.
func (t *tracer) die(ctx context.Context, original nats.Header, letter *nats.Msg) trace.Span {
	return t.move(ctx, "dead letter", extract(original), letter,
		attrReason.String(letter.Header.Get(HeaderDeadReason)), attrDestination.String(letter.Subject))
}

// redrive begins the span in which a letter is put back, in the trace in which it became one.
func (t *tracer) redrive(ctx context.Context, letter *DeadLetter, msg *nats.Msg) trace.Span {
	parent := parseTraceParent(letter.raw.Get(HeaderDeadTrace))
	if !parent.IsValid() {
		parent = extract(letter.raw)
	}
	return t.move(ctx, "redrive", parent, msg,
		attrRedrives.Int(letter.Redrives+1), attrDestination.String(msg.Subject))
}

func (t *tracer) move(ctx context.Context, name string, parent trace.SpanContext, msg *nats.Msg, attributes ...attribute.KeyValue) trace.Span {
	if !t.on() {
		return nil
	}
	if parent.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
	}
	ctx, span := t.Start(ctx, name, trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(append(attributes, systemNATS, attrMessageID.String(msg.Header.Get(HeaderDeadID)))...))
	if at := traceParent(ctx); at != "" {
		msg.Header[HeaderDeadTrace] = []string{at}
	}
	return span
}
