package natsbus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/natsbus/internal/letter"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
	"github.com/marketprism/marketprism/natsbus/internal/tracing"
)

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

// waitForSink reports a failure of the sink, or of the dead-letter stream, and waits.
func (r *reader) waitForSink(ctx context.Context, msgs []pull.Delivery, attempt int, wait time.Duration, err error) {
	r.count(func(s *ConsumerStats) { s.SinkFailures++ })
	hook.Call(r.cfg.Hooks.SinkFailed, SinkFailedInfo{
		Stream: r.stream, Records: len(msgs), First: first(msgs), Last: last(msgs), Attempt: attempt, Wait: wait, Err: err,
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
		r.waitForSink(ctx, []pull.Delivery{msg}, attempt, retry.Next(), fmt.Errorf("natsbus: %w", err))
	}
}

// storeAndTerminate publishes the letter and, only when a stream has confirmed it, terminates the message. A repetition
// publishes the same Nats-Msg-Id.
func (r *reader) storeAndTerminate(ctx context.Context, dead *nats.Msg, msg pull.Delivery) error {
	storing, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	if _, err := letter.Store(storing, r.js, dead); err != nil {
		return fmt.Errorf("dead letter to %s: %w", dead.Subject, err)
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
