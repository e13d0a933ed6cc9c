// Package tracing records OpenTelemetry spans of messages, and carries traces in their headers.
package tracing

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/marketprism/marketprism"
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
