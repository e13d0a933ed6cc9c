package natsbus

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"

	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/natsbus/internal/check"
	"github.com/marketprism/marketprism/natsbus/internal/tracing"
)

// A PublisherConfig sets the bounds of a Publisher. The zero value is ready to use.
type PublisherConfig struct {
	Prefix string // first tokens of every subject; "" means DefaultPrefix

	// MaxPending and MaxPendingBytes bound the messages in flight, over all Writes together. 0 means 2048 messages
	// and 64 MiB. Fewer than 256 messages cost throughput, more than 4096 gain none.
	MaxPending      int
	MaxPendingBytes int

	// AckTimeout is how long a message may stay unconfirmed before it is sent again. 0 means 5 s.
	AckTimeout time.Duration

	// RetryMin and RetryMax bound the random delay before a failed Write continues: its bound doubles from the
	// first to the second, and starts again after a success. 0 means 100 ms and 2 s.
	RetryMin, RetryMax time.Duration

	// MaxAttempts is how often a Write tries before it returns the error. 0 means until ctx ends.
	MaxAttempts int

	Trace TraceConfig // which records are traced; the zero value means none

	Hooks *Hooks // nil means none
}

func (cfg PublisherConfig) withDefaults() (PublisherConfig, error) {
	defaults.Set(&cfg.Prefix, DefaultPrefix)
	if err := check.Prefix(cfg.Prefix); err != nil {
		return cfg, fmt.Errorf("%w: %w", ErrSubject, err)
	}
	defaults.Set(&cfg.MaxPending, 2048)
	defaults.Set(&cfg.MaxPendingBytes, 64<<20)
	if cfg.MaxPending < 0 || cfg.MaxPendingBytes < 0 {
		return cfg, fmt.Errorf("natsbus: MaxPending %d, MaxPendingBytes %d: want bounds of what is in flight", cfg.MaxPending, cfg.MaxPendingBytes)
	}
	defaults.Set(&cfg.AckTimeout, 5*time.Second)
	if cfg.AckTimeout < 0 {
		return cfg, fmt.Errorf("natsbus: AckTimeout %v: want a positive time", cfg.AckTimeout)
	}
	if cfg.MaxAttempts < 0 {
		return cfg, fmt.Errorf("natsbus: MaxAttempts %d is negative", cfg.MaxAttempts)
	}
	if cfg.Hooks == nil {
		cfg.Hooks = &Hooks{}
	}
	if err := check.Retry(&cfg.RetryMin, &cfg.RetryMax, 100*time.Millisecond, 2*time.Second); err != nil {
		return cfg, fmt.Errorf("natsbus: %w", err)
	}
	return cfg, nil
}

// A TraceConfig says which records are traced from publisher to store. The zero value is off, which costs nothing.
//
// A traced record has the headers traceparent and tracestate of W3C Trace Context
// (https://www.w3.org/TR/trace-context/), which it keeps as a dead letter and when it is re-driven; all others have
// none, since a header costs 70 bytes in the stream and a sixth of CPU time.
type TraceConfig struct {
	// Provider makes the spans; nil means off. With a provider that records nothing, existing traces are continued.
	Provider trace.TracerProvider

	// Ratio of the records with which a Publisher begins a trace, where the context of Write has none: 0 to 1, such
	// as 0.0001. 0 means Gap records only, which are always traced. The choice depends on Record.Key, so that all
	// collectors trace the same records. Where the context has a trace, its sampled flag decides.
	Ratio float64
}

func (cfg TraceConfig) tracer() (tracing.Tracer, error) {
	t, err := tracing.New(cfg.Provider, cfg.Ratio)
	if err != nil {
		return t, fmt.Errorf("natsbus: %w", err)
	}
	return t, nil
}

// PublisherStats counts the work of a Publisher since it was made.
type PublisherStats struct {
	PublishCounts // of both streams together

	Failed     uint64 // Writes that returned an error
	OutOfOrder uint64 // records stored behind a later one of their instrument; see Hooks.OutOfOrder

	Books, Trades StreamPublishStats // the same by stream
}

// StreamPublishStats are the counts of one stream.
type StreamPublishStats struct {
	// Stream is the one that confirmed a record last; before the first, the name that BooksStream or TradesStream
	// gives.
	Stream string
	PublishCounts
}

// PublishCounts count messages.
type PublishCounts struct {
	Sent       uint64 // messages sent, repetitions included
	SentBytes  uint64 // their size, with subject and headers
	Acked      uint64 // messages that a stream has confirmed
	Duplicates uint64 // of those, the stream had them already
	Retries    uint64 // times that a Write had to wait and start again from its first failure

	Failures PublishFailures

	Pending, PendingBytes int // messages in flight at present
}

// PublishFailures count messages that were not confirmed, by reason. A Write sends them again, so a record may be
// counted several times.
type PublishFailures struct {
	Timeout      uint64 // no answer within AckTimeout
	NoResponders uint64 // no stream took the subject, or none had a leader
	TooLarge     uint64 // above the limit of the server or the stream
	StreamFull   uint64 // a limit of the stream was reached, or the server's disk is full
	Other        uint64 // the connection broke, or any other reason
}

// Total returns the sum over all reasons.
func (f PublishFailures) Total() uint64 {
	return f.Timeout + f.NoResponders + f.TooLarge + f.StreamFull + f.Other
}

func (f *PublishFailures) count(err error) {
	switch {
	case errors.Is(err, jetstream.ErrAsyncPublishTimeout):
		f.Timeout++
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
		f.NoResponders++
	default:
		switch err = classify(err); {
		case errors.Is(err, ErrTooLarge):
			f.TooLarge++
		case errors.Is(err, ErrStreamFull):
			f.StreamFull++
		default:
			f.Other++
		}
	}
}

func (c *PublishCounts) add(d PublishCounts) {
	c.Sent += d.Sent
	c.SentBytes += d.SentBytes
	c.Acked += d.Acked
	c.Duplicates += d.Duplicates
	c.Retries += d.Retries
	c.Failures.Timeout += d.Failures.Timeout
	c.Failures.NoResponders += d.Failures.NoResponders
	c.Failures.TooLarge += d.Failures.TooLarge
	c.Failures.StreamFull += d.Failures.StreamFull
	c.Failures.Other += d.Failures.Other
	c.Pending += d.Pending
	c.PendingBytes += d.PendingBytes
}

// Stats returns the counters.
func (p *Publisher) Stats() PublisherStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	stats := p.stats
	stats.add(stats.Books.PublishCounts)
	stats.add(stats.Trades.PublishCounts)
	return stats
}
