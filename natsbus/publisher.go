package natsbus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/natsbus/internal/check"
	"github.com/marketprism/marketprism/natsbus/internal/failure"
	"github.com/marketprism/marketprism/natsbus/internal/tracing"
	"github.com/marketprism/marketprism/natsbus/signature"
	"github.com/marketprism/marketprism/sink"
)

// A Publisher is a sink that publishes records to JetStream, one message each, with Record.Key and a checksum of the content
// as its Nats-Msg-Id: a record that is published twice within a stream's dedupe window, by two collectors or by a
// repetition, is stored once. That of a Snapshot or Gap contains its ReceivedAt instead, since an equal one may rightly
// come again. A Publisher is safe for concurrent use.
type Publisher struct {
	JS jetstream.JetStream // of its connection, for a Consumer or a bookfeed.Feed; never changed

	cfg   PublisherConfig
	owned bool // the connection is Open's
	conn  *nats.Conn
	trace tracing.Tracer

	mu       sync.Mutex
	changed  sync.Cond // there is room, a Write is answered or has failed, or Close was called
	answers  *answers  // nil until the first Write
	last     uint64    // number of the last message
	inFlight map[uint64]sentMessage
	bytes    int // size of the messages in flight
	closed   bool
	compared time.Time      // when a record that the stream had already was last compared
	stats    PublisherStats // Stats adds up the counts of both streams
}

// A sentMessage is a message in flight: sent and not answered yet.
type sentMessage struct {
	write *write
	index int // of the record in the write
	size  int
	span  trace.Span // nil if the record is not traced
	at    time.Time
	to    *StreamPublishStats // the counts of its stream
}

// NewPublisher returns a Publisher on the connection of js, which the caller opens and closes. The streams must exist;
// see EnsureStreams. It fails if cfg is contradictory.
func NewPublisher(js jetstream.JetStream, cfg PublisherConfig) (*Publisher, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &Publisher{
		cfg:      cfg,
		JS:       js,
		conn:     js.Conn(),
		inFlight: make(map[uint64]sentMessage),
	}
	if p.trace, err = cfg.Trace.tracer(); err != nil {
		return nil, err
	}
	p.changed.L = &p.mu
	p.stats.Books.Stream, p.stats.Trades.Stream = BooksStream(cfg.Prefix), TradesStream(cfg.Prefix)
	return p, nil
}

func (p *Publisher) subject(r *marketprism.Record) string {
	return Subject(p.cfg.Prefix, r.Instrument, r.Kind())
}

// completed removes an answered message from those in flight; false if it was removed before. p.mu is held.
func (p *Publisher) completed(number uint64) (sentMessage, bool) {
	m, ok := p.inFlight[number]
	if !ok {
		return m, false
	}
	delete(p.inFlight, number)
	p.bytes -= m.size
	m.to.Pending--
	m.to.PendingBytes -= m.size
	m.write.inFlight--
	// A Write that waits for room is woken when there is a quarter of it, not for each message.
	roomy := len(p.inFlight) <= p.cfg.MaxPending*3/4 && p.bytes <= p.cfg.MaxPendingBytes*3/4
	if roomy || m.write.inFlight == 0 {
		p.changed.Broadcast()
	}
	return m, true
}

// add counts a message as in flight, and returns its number. p.mu is held.
func (p *Publisher) add(m sentMessage) uint64 {
	p.last++
	p.inFlight[p.last] = m
	p.bytes += m.size
	m.to.Sent++
	m.to.SentBytes += uint64(m.size)
	m.to.Pending++
	m.to.PendingBytes += m.size
	m.write.inFlight++
	return p.last
}

// hasRoom reports whether a message of that size may be sent. One that is larger than the whole bound may be when it is
// alone. p.mu is held.
func (p *Publisher) hasRoom(size int) bool {
	return len(p.inFlight) == 0 || len(p.inFlight) < p.cfg.MaxPending && p.bytes+size <= p.cfg.MaxPendingBytes
}

// countsOf returns the counts of the stream that a record goes to. p.mu is held.
func (p *Publisher) countsOf(r *marketprism.Record) *StreamPublishStats {
	if r.Trade != nil {
		return &p.stats.Trades
	}
	return &p.stats.Books
}

// A write is one call of Publisher.Write. The Publisher's mu guards the fields that acknowledgements change; a write
// that was given up may still be changed by late ones.
type write struct {
	p       *Publisher
	ctx     context.Context
	recs    []marketprism.Record
	bodies  [][]byte // the encoded records, nil for each that is not; nil if none is
	started time.Time

	sequences  []uint64 // of each record in its stream; 0 while it is not confirmed
	left       int      // records not confirmed
	inFlight   int      // messages in flight
	duplicates int
	duplicate  int  // one of them
	repeated   bool // there was more than one attempt
	failed     bool // in the current attempt
	failure    writeFailure
	refused    []sink.Refusal // in the current attempt: records that can never be published

	// The message being sent: the client copies it, so the next one is made in the same memory.
	msg    nats.Msg
	header nats.Header // of a message that is not traced
	id     [1]string
	sum    [1]string // the signature
	body   []byte
}

// A writeFailure is the first record of an attempt that was not confirmed, and why.
type writeFailure struct {
	index int
	err   error
}

// fail records a failure of the current attempt. p.mu is held.
func (w *write) fail(index int, err error) {
	if !w.failed || index < w.failure.index {
		w.failure = writeFailure{index, err}
	}
	if classified := failure.Classify(err); isRefusal(classified) {
		w.refused = append(w.refused, sink.Refusal{Index: index, Err: classified})
	}
	w.failed = true
	w.p.changed.Broadcast()
}

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

	// Signer signs each message, so that readers with a Verifier take no other's. nil means none.
	Signer *signature.Signer

	// CompareEvery is how often, at most, a record that the stream had already is compared with the message that the
	// stream has in its place: whoever may publish can publish anything under the id of a record that is still to come,
	// and the server then takes the record for a copy. It costs a request to the stream, STREAM.MSG.GET. 0 means 10 s,
	// negative means never. See Hooks.Suppressed.
	CompareEvery time.Duration

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
	defaults.Set(&cfg.CompareEvery, 10*time.Second)
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
	Compared   uint64 // records that the stream had already and that were compared with its message
	Suppressed uint64 // of those, the stream has another record in their place; see Hooks.Suppressed

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
	StreamFull   uint64 // a limit of the stream or the account was reached, or the server's disk is full
	Other        uint64 // the connection broke, or any other reason
}

func (f *PublishFailures) count(err error) {
	switch {
	case errors.Is(err, jetstream.ErrAsyncPublishTimeout):
		f.Timeout++
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
		f.NoResponders++
	default:
		switch err = failure.Classify(err); {
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
