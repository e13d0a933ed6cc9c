package natsbus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/hook"
)

// A Publisher is a sink that publishes records to JetStream, one message each, with Record.Key as
// its Nats-Msg-Id: what two collectors, or one that repeats itself, publish within a stream's dedupe
// window is stored once. The id of a Snapshot or Gap also has its ReceivedAt, since the same one may
// rightly come again. It is safe for concurrent use.
type Publisher struct {
	cfg   PublisherConfig
	js    jetstream.JetStream // the caller's, for questions about streams
	async jetstream.JetStream // the Publisher's own, for its acknowledgements
	conn  *nats.Conn
	opts  []jetstream.PublishOpt
	trace tracer

	mu      sync.Mutex
	changed sync.Cond // acknowledgements have made room, or settled or failed a Write
	flights map[*nats.Msg]flight
	pending int // messages in flight
	bytes   int // their size
	closed  bool
	stats   PublisherStats // the counts of both streams together are summed up by Stats
}

// A flight is a message that has been sent and not been answered yet.
type flight struct {
	write *write
	index int // of the record in the write
	size  int
	span  trace.Span          // nil if the record is not followed
	sent  time.Time           // zero where nobody wants to know
	to    *StreamPublishStats // the counts of its stream
}

// NewPublisher returns a Publisher on the connection of js, which the caller opens and closes. The
// streams must be there; see EnsureStreams. It fails if cfg is contradictory.
func NewPublisher(js jetstream.JetStream, cfg PublisherConfig) (*Publisher, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &Publisher{
		cfg:     cfg,
		js:      js,
		conn:    js.Conn(),
		flights: make(map[*nats.Msg]flight),
		// The library would repeat a message by itself, behind those that followed it.
		opts: []jetstream.PublishOpt{jetstream.WithRetryAttempts(0)},
	}
	if p.trace, err = cfg.Trace.tracer(); err != nil {
		return nil, err
	}
	p.changed.L = &p.mu
	p.stats.Books.Stream, p.stats.Trades.Stream = BooksStream(cfg.Prefix), TradesStream(cfg.Prefix)
	p.async, err = jetstream.New(p.conn,
		jetstream.WithPublishAsyncMaxPending(cfg.MaxPending),
		jetstream.WithPublishAsyncTimeout(cfg.AckTimeout),
		jetstream.WithPublishAsyncAckHandler(p.acked),
		jetstream.WithPublishAsyncErrHandler(p.refused))
	if err != nil {
		return nil, fmt.Errorf("natsbus: %w", err)
	}
	return p, nil
}

// Close ends the subscription for acknowledgements. Writes that are running, and later ones, fail
// with ErrClosed. It leaves the connection open.
func (p *Publisher) Close() {
	p.mu.Lock()
	p.closed = true
	p.changed.Broadcast()
	p.mu.Unlock()
	p.async.CleanupPublisher()
}

// Write publishes recs and returns nil when a stream has confirmed every one of them. Records of one
// instrument are stored in the order of recs: after a failure nothing more is sent until all that is
// in flight has been answered, and then everything from the first failure on is sent again, in
// order. What of it was stored all the same is dropped by the stream as a duplicate.
//
// A server that is full or cannot be reached is waited for, until ctx ends or MaxAttempts is reached.
// The error is a *PublishError. Some of recs may have been stored then; writing all of them again is
// safe within the dedupe window of the stream.
func (p *Publisher) Write(ctx context.Context, recs []marketprism.Record) error {
	if len(recs) == 0 {
		return nil
	}
	w := p.newWrite(ctx, recs)
	defer w.stop()
	retry := backoff.Backoff{Min: p.cfg.RetryMin, Max: p.cfg.RetryMax}
	for attempt := 1; ; attempt++ {
		if w.pass() {
			retry.Reset()
		}
		if w.unconfirmed() == 0 {
			p.finish(w)
			return nil
		}
		failed := p.explain(w)
		if ctx.Err() != nil || permanent(failed.err) || attempt == p.cfg.MaxAttempts {
			return p.giveUp(w, failed, attempt)
		}
		wait := retry.Next()
		p.retrying(&recs[failed.index], failed.err, attempt, wait)
		if backoff.Sleep(ctx, wait) != nil {
			return p.giveUp(w, failed, attempt)
		}
	}
}

// explain returns the failure of a pass with an error that says what it means.
func (p *Publisher) explain(w *write) failure {
	f := w.cause()
	subject := p.subject(&w.recs[f.index])
	switch {
	case errors.Is(f.err, jetstream.ErrNoStreamResponse) && p.noStream(w.ctx, subject):
		f.err = fmt.Errorf("%w: %w", ErrNoStream, f.err)
	case errors.Is(f.err, jetstream.ErrAsyncPublishTimeout) && denied(p.conn.LastError(), subject):
		f.err = fmt.Errorf("%w: %w: %w", ErrDenied, p.conn.LastError(), f.err)
	default:
		f.err = classify(f.err)
	}
	return f
}

// denied tells whether the last error of the connection is that it may not publish on subject, which
// the server names in quotes.
func denied(last error, subject string) bool {
	return errors.Is(last, nats.ErrPermissionViolation) && strings.Contains(last.Error(), strconv.Quote(subject))
}

// noStream asks whether no stream takes subject, after nobody answered on it: a server that is
// starting, or choosing a leader, does not answer either.
func (p *Publisher) noStream(ctx context.Context, subject string) bool {
	_, err := p.js.StreamNameBySubject(ctx, subject)
	return errors.Is(err, jetstream.ErrStreamNotFound)
}

func (p *Publisher) retrying(r *marketprism.Record, err error, attempt int, wait time.Duration) {
	p.mu.Lock()
	p.of(r).Retries++
	p.mu.Unlock()
	hook.Call(p.cfg.Hooks.Retrying, RetryInfo{Subject: p.subject(r), Key: r.Key(), Attempt: attempt, Wait: wait, Err: err})
}

func (p *Publisher) subject(r *marketprism.Record) string {
	return Subject(p.cfg.Prefix, r.Instrument, r.Kind())
}

func (p *Publisher) giveUp(w *write, f failure, attempts int) error {
	p.mu.Lock()
	p.stats.Failed++
	p.mu.Unlock()
	r := &w.recs[f.index]
	return &PublishError{Subject: p.subject(r), Key: r.Key(), Attempts: attempts, Err: f.err, Ended: context.Cause(w.ctx)}
}

// finish reports a Write that succeeded.
func (p *Publisher) finish(w *write) {
	if n, first := w.overtaken(); n > 0 {
		p.mu.Lock()
		p.stats.Overtaken += uint64(n)
		p.mu.Unlock()
		r := &w.recs[first]
		hook.Call(p.cfg.Hooks.Overtaken, OvertakenInfo{Subject: p.subject(r), Key: r.Key(), Sequence: w.sequences[first], Records: n})
	}
	hook.Call(p.cfg.Hooks.Published, PublishInfo{Records: len(w.recs), Duplicates: w.duplicates, Elapsed: w.elapsed()})
}

// acked is called on the goroutine that receives acknowledgements.
func (p *Publisher) acked(_ jetstream.JetStream, msg *nats.Msg, ack *jetstream.PubAck) {
	published(p.spanOf(msg), ack)
	if f, ok := p.confirm(msg, ack); ok && !f.sent.IsZero() {
		hook.Call(p.cfg.Hooks.Acked, AckInfo{
			Stream: ack.Stream, Sequence: ack.Sequence, Duplicate: ack.Duplicate, Took: time.Since(f.sent),
		})
	}
}

func (p *Publisher) confirm(msg *nats.Msg, ack *jetstream.PubAck) (flight, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.land(msg)
	if !ok {
		return f, false
	}
	f.to.Stream = ack.Stream
	f.to.Acked++
	if ack.Duplicate {
		f.to.Duplicates++
		f.write.duplicates++
	}
	f.write.sequences[f.index] = ack.Sequence
	f.write.left--
	return f, true
}

// refused is called on the goroutine that receives acknowledgements, on a timer's, or on the one
// that watches the connection.
func (p *Publisher) refused(_ jetstream.JetStream, msg *nats.Msg, err error) {
	endSpan(p.spanOf(msg), err)
	p.mu.Lock()
	defer p.mu.Unlock()
	if f, ok := p.land(msg); ok {
		f.to.Failures.count(err)
		f.write.fail(f.index, err)
	}
}

// spanOf returns the span of a message in flight, which is to end before its Write returns; nil if it is
// not followed.
func (p *Publisher) spanOf(msg *nats.Msg) trace.Span {
	if !p.trace.on() {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.flights[msg].span
}

// land takes a message that was answered out of the books; false if it is not in them any more.
// p.mu is held.
func (p *Publisher) land(msg *nats.Msg) (flight, bool) {
	f, ok := p.flights[msg]
	if !ok {
		return f, false
	}
	delete(p.flights, msg)
	p.pending--
	p.bytes -= f.size
	f.to.Pending--
	f.to.PendingBytes -= f.size
	f.write.pending--
	// A Write that waits for room is woken when there is plenty, not once for each message.
	roomy := p.pending <= p.cfg.MaxPending*3/4 && p.bytes <= p.cfg.MaxPendingBytes*3/4
	if roomy || f.write.pending == 0 {
		p.changed.Broadcast()
	}
	return f, true
}

// room tells whether a message of that size may be sent. One that is larger than the whole bound may
// be when it is alone. p.mu is held.
func (p *Publisher) room(size int) bool {
	return p.pending == 0 || p.pending < p.cfg.MaxPending && p.bytes+size <= p.cfg.MaxPendingBytes
}
