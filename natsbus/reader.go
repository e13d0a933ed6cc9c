package natsbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/natsbus/internal/failure"
	"github.com/marketprism/marketprism/natsbus/internal/letter"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
	"github.com/marketprism/marketprism/natsbus/internal/tracing"
	"github.com/marketprism/marketprism/sink"
)

// A reader is one Run of a Consumer on its stream, or on the queue of re-drives. While one batch is with the sink, the
// next is fetched by a goroutine of its own; the fields that it uses change only while there is none.
type reader struct {
	*Consumer
	redrives                bool   // it reads the queue of re-drives
	stream, durable, filter string // as the server knows them
	conn                    *nats.Conn
	dst                     sink.Sink

	puller     *pull.Puller
	source     string // of the stream, for Record.Origin
	reconnects uint64 // of the connection, when the durable was last reset
	batches    [2]batch
	inFlight   inFlight

	retry    backoff.Backoff
	failures int // of the server, in a row
}

func newReader(c *Consumer, dst sink.Sink, redrives bool) *reader {
	r := &reader{
		Consumer: c, redrives: redrives, conn: c.js.Conn(), dst: dst,
		stream: c.cfg.Stream, durable: c.cfg.Durable, filter: c.cfg.Filter,
	}
	r.retry.Min, r.retry.Max = c.cfg.RetryMin, c.cfg.RetryMax
	return r
}

// A stopError ends Run with err; any other error is a failure of the server, which may pass.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }

// serverFailed reports a failure of the server, and returns the delay before the next attempt.
func (r *reader) serverFailed(err error) time.Duration {
	wait := r.retry.Next()
	r.failures++
	r.count(func(s *ConsumerStats) { s.ServerFailures++ })
	hook.Call(r.cfg.Hooks.ServerFailed, ServerFailedInfo{Attempt: r.failures, Wait: wait, Err: err})
	return wait
}

// reconnected reports whether the connection was lost since the durable was last reset.
func (r *reader) reconnected() bool { return r.conn.Stats().Reconnects != r.reconnects }

// messageOrigin returns where a message was stored first. That of a message in the queue of re-drives is in its
// headers, unless another program has published it there.
func (r *reader) messageOrigin(msg pull.Delivery) letter.Origin {
	if r.redrives {
		if o, ok := letter.ParseOrigin(msg.Header); ok && o.Stream == r.cfg.Stream {
			return o
		}
	}
	return letter.Origin{
		Stream: r.stream, Source: r.source, Consumer: r.cfg.Durable, Subject: msg.Subject,
		Sequence: msg.Meta.Sequence.Stream, StoredAt: msg.Meta.Timestamp,
	}
}

// recordOrigin returns the same for a record, without the cost of a letter.Origin where it is not needed.
func (r *reader) recordOrigin(msg pull.Delivery) marketprism.Origin {
	if r.redrives {
		o := r.messageOrigin(msg)
		return marketprism.Origin{Source: o.Source, Sequence: o.Sequence}
	}
	return marketprism.Origin{Source: r.source, Sequence: msg.Meta.Sequence.Stream}
}

// A batch is the result of one fetch. It is reused: its records are valid until the next reset.
type batch struct {
	msgs     []pull.Delivery
	recs     []marketprism.Record // of each message; empty for one that is no record
	bad      []badMessage         // those messages
	err      error                // that ended the fetch early
	failedAt time.Time            // of the first failed Write; zero if there was none
	decoder  Decoder
}

type badMessage struct {
	index int
	err   error
}

func (b *batch) reset() {
	clear(b.msgs) // frees the messages
	b.msgs, b.recs, b.bad, b.err, b.failedAt = b.msgs[:0], b.recs[:0], b.bad[:0], nil, time.Time{}
	b.decoder.Reset()
}

// add decodes a message.
func (b *batch) add(msg pull.Delivery, origin marketprism.Origin) {
	var rec marketprism.Record
	if err := b.decoder.Decode(msg.Subject, msg.Data, &rec); err != nil {
		b.bad = append(b.bad, badMessage{len(b.msgs), err})
	}
	rec.Origin = origin
	b.msgs = append(b.msgs, msg)
	b.recs = append(b.recs, rec)
}

// first and last return the lowest and the highest stream sequence of messages.
func first(msgs []pull.Delivery) uint64 { return msgs[0].Meta.Sequence.Stream }
func last(msgs []pull.Delivery) uint64  { return msgs[len(msgs)-1].Meta.Sequence.Stream }

// redelivered counts the messages that were not delivered for the first time.
func redelivered(msgs []pull.Delivery) (n int) {
	for _, msg := range msgs {
		if msg.Meta.NumDelivered > 1 {
			n++
		}
	}
	return n
}

// inFlight is the set of batches that wait for the sink, or are with it.
type inFlight struct {
	mu      sync.Mutex
	batches []*batch
}

// keepAlive sends the server a sign of life for each message at an interval, until stop is called. Each time, sent is
// called with the number of messages.
func (f *inFlight) keepAlive(conn *nats.Conn, interval time.Duration, sent func(n int)) (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				sent(f.inProgress(conn))
			case <-done:
				return
			}
		}
	}()
	return func() { close(done); <-stopped }
}

func (f *inFlight) inProgress(conn *nats.Conn) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.batches {
		for i := range b.msgs {
			if b.msgs[i].InProgress(conn) == nil { // without a connection the message may be delivered again
				n++
			}
		}
	}
	return n
}

// started adds a fetched batch to those in flight.
func (r *reader) started(b *batch) {
	r.inFlight.mu.Lock()
	defer r.inFlight.mu.Unlock()
	r.inFlight.batches = append(r.inFlight.batches, b)
	r.count(func(s *ConsumerStats) {
		s.InFlight += len(b.msgs)
		s.Deliveries += uint64(len(b.msgs))
		s.Redeliveries += uint64(redelivered(b.msgs))
		if n := len(b.msgs); n > 0 && !r.redrives {
			s.Behind = b.msgs[n-1].Meta.NumPending
		}
	})
}

// completed removes a batch from those in flight, after which it may be reused.
func (r *reader) completed(b *batch) {
	r.inFlight.mu.Lock()
	defer r.inFlight.mu.Unlock()
	r.inFlight.batches = slices.DeleteFunc(r.inFlight.batches, func(other *batch) bool { return other == b })
	r.count(func(s *ConsumerStats) { s.InFlight -= len(b.msgs) })
}

// ackText acknowledges a message when it is published on the message's reply subject. The methods of jetstream.Msg do
// the same, but only once, and an acknowledgement that got lost must be repeated.
const ackText = "+ACK"

const (
	maxAckAttempts        = 3
	ackTimeout            = 5 * time.Second
	reconnectedAckTimeout = time.Second
	releaseDelay          = time.Second
)

// acknowledge acknowledges messages, and returns when the server has confirmed the last one: it handles those of one
// connection in order, so it has handled the others before.
func (r *reader) acknowledge(ctx context.Context, msgs []pull.Delivery) error {
	for attempt := 1; ; attempt++ {
		timeout, last := ackTimeout, maxAckAttempts
		if r.reconnected() {
			// A server that crashed may have forgotten the deliveries, and does not answer for those.
			timeout, last = reconnectedAckTimeout, attempt
		}
		err := r.sendAcks(ctx, msgs, timeout)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil, isPermanent(err):
			return err
		case attempt >= last && r.conn.IsConnected():
			// The durable may have been made again, without the deliveries.
			return fmt.Errorf("%w: %d acknowledgements: %w", ErrUnavailable, len(msgs), err)
		}
		_ = backoff.Sleep(ctx, r.serverFailed(err)) // ctx is checked after the next attempt
	}
}

func (r *reader) sendAcks(ctx context.Context, msgs []pull.Delivery, timeout time.Duration) error {
	reconnects := r.conn.Stats().Reconnects
	end := len(msgs) - 1
	for _, msg := range msgs[:end] {
		if err := r.conn.Publish(msg.Reply, []byte(ackText)); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	// The answer to a request over a connection that breaks never comes.
	broken := r.conn.StatusChanged(nats.RECONNECTING)
	defer r.conn.RemoveStatusListener(broken)
	go func() {
		if _, ok := <-broken; ok {
			cancel()
		}
	}()
	if _, err := r.conn.RequestWithContext(ctx, msgs[end].Reply, []byte(ackText)); err != nil {
		return err
	}
	r.count(func(s *ConsumerStats) { s.Replies.Ack += uint64(len(msgs)) })
	if r.conn.Stats().Reconnects != reconnects {
		return nats.ErrDisconnected // acknowledgements over the old connection may be lost
	}
	return nil
}

// consumed reports messages that were acknowledged.
func (r *reader) consumed(msgs []pull.Delivery, elapsed time.Duration) {
	redelivered := redelivered(msgs)
	r.count(func(s *ConsumerStats) {
		s.Batches++
		s.Records += uint64(len(msgs))
		s.Redelivered += uint64(redelivered)
		if r.redrives {
			s.Redriven += uint64(len(msgs))
		} else {
			s.Sequence = last(msgs)
		}
	})
	hook.Call(r.cfg.Hooks.Consumed, ConsumeInfo{
		Stream: r.stream, Records: len(msgs), First: first(msgs), Last: last(msgs), Redelivered: redelivered,
		Behind: msgs[len(msgs)-1].Meta.NumPending, Elapsed: elapsed,
	})
}

// release returns messages to the server, so that another Run has them sooner than after AckWait. Its failure does no
// harm: the messages come again all the same.
func (r *reader) release(msgs []pull.Delivery) {
	if len(msgs) == 0 {
		return
	}
	naks := 0
	for naks < len(msgs) && msgs[naks].Nak(r.conn, releaseDelay) == nil {
		naks++
	}
	ctx, cancel := context.WithTimeout(context.Background(), releaseDelay) // the Run's own may have ended
	defer cancel()
	_ = r.conn.FlushWithContext(ctx)
	r.count(func(s *ConsumerStats) {
		s.Released += uint64(len(msgs))
		s.Replies.Nak += uint64(naks)
	})
	hook.Call(r.cfg.Hooks.Released, ReleaseInfo{Stream: r.stream, Records: len(msgs), First: first(msgs), Last: last(msgs)})
}

// waitForSink reports a failure of the sink, and waits.
func (r *reader) waitForSink(ctx context.Context, msgs []pull.Delivery, attempt int, wait time.Duration, err error) {
	r.count(func(s *ConsumerStats) { s.SinkFailures++ })
	hook.Call(r.cfg.Hooks.SinkFailed, SinkFailedInfo{
		Stream: r.stream, Records: len(msgs), First: first(msgs), Last: last(msgs), Attempt: attempt, Wait: wait, Err: err,
	})
	_ = backoff.Sleep(ctx, wait) // ctx is checked after the next attempt
}

// waitForDeadLetters reports that a message could not be moved to the dead letters, and waits.
func (r *reader) waitForDeadLetters(ctx context.Context, o letter.Origin, attempt int, wait time.Duration, err error) {
	r.count(func(s *ConsumerStats) {
		s.DeadLetterFailures++
		defaults.Set(&s.DeadLettersFailSince, time.Now())
	})
	hook.Call(r.cfg.Hooks.DeadLetterFailed, RetryInfo{
		Subject: o.Subject, Stream: o.Stream, Sequence: o.Sequence, Attempt: attempt, Wait: wait, Err: err,
	})
	_ = backoff.Sleep(ctx, wait) // ctx is checked after the next attempt
}

// storeDeadLetter moves a message to the dead letters. It repeats that as long as it fails, as a Write of the sink. Its
// error is an *unterminatedError if the letter is stored, but the message will be delivered again.
func (r *reader) storeDeadLetter(ctx context.Context, msg pull.Delivery, key string, cause letter.Cause) error {
	o := r.messageOrigin(msg)
	cause.Deliveries = msg.Meta.NumDelivered
	dead := letter.New(o, msg.Header, msg.Data, cause)
	span := r.trace.StartDeadLetter(ctx, msg.Header, dead)
	err := r.moveToDeadLetters(ctx, o, dead, msg)
	tracing.End(span, err)
	var unterminated *unterminatedError
	if err != nil && !errors.As(err, &unterminated) {
		return err
	}
	reason := DeadReason(cause.Reason)
	r.count(func(s *ConsumerStats) {
		if err == nil {
			s.Replies.Term++
		}
		s.DeadLettered++
		s.DeadLettersFailSince = time.Time{}
		if s.DeadReasons == nil {
			s.DeadReasons = make(map[DeadReason]uint64)
		}
		s.DeadReasons[reason]++
	})
	hook.Call(r.cfg.Hooks.DeadLettered, DeadLetterInfo{
		Stream: o.Stream, Sequence: o.Sequence, Subject: o.Subject, Key: key,
		Reason: reason, Redrives: o.Redrives, Bodiless: letter.Bodiless(dead), Err: cause.Err,
	})
	return err
}

func (r *reader) moveToDeadLetters(ctx context.Context, o letter.Origin, dead *nats.Msg, msg pull.Delivery) error {
	retry := backoff.Backoff{Min: r.cfg.RetryMin, Max: r.cfg.RetryMax}
	for attempt := 1; ; attempt++ {
		err := r.storeAndTerminate(ctx, dead, msg)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return &stopError{fmt.Errorf("natsbus: message %d of stream %s: %w", o.Sequence, o.Stream, errors.Join(context.Cause(ctx), err))}
		}
		var unterminated *unterminatedError
		if isPermanent(err) || errors.As(err, &unterminated) {
			return err
		}
		r.waitForDeadLetters(ctx, o, attempt, retry.Next(), fmt.Errorf("natsbus: %w", err))
	}
}

// storeAndTerminate publishes the letter and, only when a stream has confirmed it, terminates the message. A repetition
// publishes the same Nats-Msg-Id.
func (r *reader) storeAndTerminate(ctx context.Context, dead *nats.Msg, msg pull.Delivery) error {
	storing, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	if _, err := letter.Store(storing, r.js, dead); err != nil {
		return fmt.Errorf("dead letter to %s: %w", dead.Subject, failure.Explain(ctx, r.js, dead.Subject, err))
	}
	terminating, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	reason := letter.TerminatedPrefix + dead.Header.Get(letter.HeaderReason)
	if _, err := r.conn.RequestWithContext(terminating, msg.Reply, []byte("+TERM "+reason)); err != nil {
		return &unterminatedError{err}
	}
	return nil
}

// An unterminatedError is the failure to terminate a message whose dead letter is stored. A server that has forgotten
// the delivery never confirms its end, so the durable must be reset.
type unterminatedError struct{ err error }

func (e *unterminatedError) Error() string {
	return fmt.Sprintf("%v: end of a delivery whose dead letter is stored: %v", ErrUnavailable, e.err)
}

func (e *unterminatedError) Unwrap() []error { return []error{ErrUnavailable, e.err} }
