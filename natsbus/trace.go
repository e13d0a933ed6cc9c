package natsbus

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

// A TraceConfig has some records followed from publisher to store. The zero value is off, which costs
// nothing.
//
// A record that is followed has the headers traceparent and tracestate of W3C Trace Context
// (https://www.w3.org/TR/trace-context/), which it keeps as a dead letter and when it is re-driven; all
// others have none, since a header costs 70 bytes in the stream and a sixth of CPU time.
type TraceConfig struct {
	// Provider makes the spans; nil means off. With a provider that records nothing the traces of others
	// are continued.
	Provider trace.TracerProvider

	// Ratio of the records with which a Publisher begins a trace, where the context of Write has none:
	// 0 to 1, such as 0.0001. 0 means none but Gap records, which are always followed. The choice is made
	// by Record.Key, so that all collectors follow the same records. Where the context has a trace, its
	// sampled flag decides.
	Ratio float64
}

// Header names of W3C Trace Context.
const (
	headerTraceParent = "traceparent"
	headerTraceState  = "tracestate"
)

// tracerName is the instrumentation scope of the spans.
const tracerName = "github.com/marketprism/marketprism/natsbus"

// A tracer makes the spans of a TraceConfig. The zero tracer is off.
type tracer struct {
	trace.Tracer        // nil means off
	below        uint64 // hashes of keys below it begin a trace
	all          bool
}

func (cfg TraceConfig) tracer() (tracer, error) {
	if !(cfg.Ratio >= 0 && cfg.Ratio <= 1) {
		return tracer{}, fmt.Errorf("natsbus: TraceConfig.Ratio %v: want 0 to 1", cfg.Ratio)
	}
	if cfg.Provider == nil {
		return tracer{}, nil
	}
	t := tracer{Tracer: cfg.Provider.Tracer(tracerName), all: cfg.Ratio == 1}
	if !t.all {
		t.below = uint64(cfg.Ratio * math.MaxUint64)
	}
	return t, nil
}

func (t *tracer) on() bool { return t.Tracer != nil }

// follows tells whether a record of that Key is traced.
func (t *tracer) follows(ctx context.Context, r *marketprism.Record, key string) bool {
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

// headerCarrier reads and writes trace context in headers. Those of NATS are case-sensitive, and
// propagation.HeaderCarrier would write Traceparent, which other programs do not find.
type headerCarrier nats.Header

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

var _ propagation.TextMapCarrier = headerCarrier{}

// inject writes the trace of ctx into headers.
func inject(ctx context.Context, header nats.Header) {
	propagation.TraceContext{}.Inject(ctx, headerCarrier(header))
}

// extract returns the trace that headers name; not valid if they name none.
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

// parseTraceParent is the reverse.
func parseTraceParent(value string) trace.SpanContext {
	return extract(nats.Header{headerTraceParent: {value}})
}
