package natsbus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
)

// deliver brings a batch to the sink and acknowledges it, in parts where there is a message in
// between that is no record.
func (r *reader) deliver(b *batch) error {
	defer r.letGo(b)
	r.turn.Lock()
	defer r.turn.Unlock()
	r.failedAt = time.Time{}
	at := 0
	for _, bad := range b.bad {
		if err := r.deliverPart(b, at, bad.index); err != nil {
			return err
		}
		if err := r.undecodable(b.msgs[bad.index], bad.err); err != nil {
			r.release(b.msgs[bad.index:])
			return err
		}
		at = bad.index + 1
	}
	return r.deliverPart(b, at, len(b.msgs))
}

// deliverPart brings the records between from and to to the sink. If it refuses one of them, the
// parts before it, the record itself and those after it are dealt with one after the other, each
// settled before the next: what the server has as acknowledged has no hole.
func (r *reader) deliverPart(b *batch, from, to int) error {
	if from == to {
		return nil
	}
	started := time.Now()
	msgs, recs := b.msgs[from:to], b.recs[from:to]
	refused, err := r.write(msgs, recs)
	switch {
	case err != nil:
		r.release(b.msgs[from:])
		return &stopError{err}
	case refused != nil && len(recs) == 1:
		if err := r.deadLetter(msgs[0], recs[0].Key(), refused.letter); err != nil {
			r.release(b.msgs[from:])
			return err
		}
		return nil
	case refused != nil:
		borders := refused.parts(recs)
		for i := range len(borders) - 1 {
			if err := r.deliverPart(b, from+borders[i], from+borders[i+1]); err != nil {
				return err
			}
		}
		return nil
	}
	if err := r.acknowledge(msgs); err != nil {
		return err
	}
	r.consumed(msgs, time.Since(started))
	return nil
}

// write hands records to the sink until it accepts them, or refuses one of them for ever. Its error is
// the end of the drain.
func (r *reader) write(msgs []pull.Delivery, recs []marketprism.Record) (*refusal, error) {
	retry := backoff.Backoff{Min: r.cfg.RetryMin, Max: r.cfg.RetryMax}
	unknown := 0
	for attempt := 1; ; attempt++ {
		err := r.handle(msgs, recs)
		if err == nil {
			r.setCircuit(CircuitClosed, nil)
			return nil, nil
		}
		defaults.Set(&r.failedAt, time.Now())
		if r.work.Err() != nil {
			return nil, fmt.Errorf("natsbus: %d records were not written before the end: %w", len(recs), errors.Join(context.Cause(r.work), err))
		}
		failure := r.cfg.Classify(err)
		if failure.Class == Unknown {
			unknown++
		}
		if reason := r.givenUp(failure.Class, unknown); reason != "" {
			r.setCircuit(CircuitClosed, nil)
			r.refused(msgs, failure.Key, attempt, err)
			return &refusal{key: failure.Key, letter: cause{
				reason: reason, stage: stageWrite, attempts: attempt, failedAt: r.failedAt, err: err,
			}}, nil
		}
		r.setCircuit(CircuitOpen, err)
		r.waitForSink(msgs, attempt, retry.Next(), err)
		r.setCircuit(CircuitProbing, err)
	}
}

// handle calls the sink once.
func (r *reader) handle(msgs []pull.Delivery, recs []marketprism.Record) error {
	ctx, span := r.traceHandle(msgs)
	started := time.Now()
	err := r.dst.Write(ctx, recs)
	endSpan(span, err)
	hook.Call(r.cfg.Hooks.Handled, HandleInfo{
		Stream: r.cfg.Stream, Durable: r.cfg.Durable, Records: len(recs), Took: time.Since(started), Err: err,
	})
	return err
}

// givenUp returns why a batch is not written again as it is; "" if it is.
func (r *reader) givenUp(class FailureClass, unknown int) DeadReason {
	switch {
	case !r.cfg.DeadLetters:
		return ""
	case class == Refusal:
		return DeadRefused
	case class == Unknown && r.cfg.MaxAttempts > 0 && unknown >= r.cfg.MaxAttempts:
		return DeadExhausted
	}
	return ""
}

func (r *reader) refused(msgs []pull.Delivery, key string, attempt int, err error) {
	r.count(func(s *ConsumerStats) { s.Refusals++ })
	hook.Call(r.cfg.Hooks.Refused, RefusedInfo{
		Stream: r.cfg.Stream, Records: len(msgs), First: first(msgs), Last: last(msgs), Key: key, Attempt: attempt, Err: err,
	})
}

func (r *reader) waitForSink(msgs []pull.Delivery, attempt int, wait time.Duration, err error) {
	r.count(func(s *ConsumerStats) { s.SinkFailures++ })
	hook.Call(r.cfg.Hooks.SinkFailed, SinkFailedInfo{
		Stream: r.cfg.Stream, Records: len(msgs), First: first(msgs), Last: last(msgs), Attempt: attempt, Wait: wait, Err: err,
	})
	_ = backoff.Sleep(r.work, wait) // the next attempt notices the end of work
}

// undecodable deals with a message that is no record.
func (r *reader) undecodable(msg pull.Delivery, err error) error {
	at := r.place(msg)
	r.count(func(s *ConsumerStats) { s.Undecodable++ })
	hook.Call(r.cfg.Hooks.Undecodable, UndecodableInfo{Stream: at.stream, Sequence: at.sequence, Subject: at.subject, Err: err})
	if !r.cfg.DeadLetters {
		return &stopError{&DecodeError{Stream: at.stream, Sequence: at.sequence, Subject: at.subject, Err: err}}
	}
	return r.deadLetter(msg, "", cause{reason: DeadDecode, stage: stageDecode, attempts: 1, failedAt: time.Now(), err: err})
}

// deadLetter moves a message to the dead letters. While that fails the message is held, as it is
// while the sink fails.
func (r *reader) deadLetter(msg pull.Delivery, key string, why cause) error {
	at := r.place(msg)
	why.deliveries = msg.Meta.NumDelivered
	letter := newLetter(at, msg.Header, msg.Data, why)
	span := r.trace.die(r.work, msg.Header, letter)
	err := r.buryOrHold(at, letter, msg)
	endSpan(span, err)
	var unsettled *unsettledError
	if err != nil && !errors.As(err, &unsettled) {
		return err
	}
	r.count(func(s *ConsumerStats) {
		if err == nil {
			s.Replies.Term++
		}
		s.DeadLettered++
		if s.DeadReasons == nil {
			s.DeadReasons = make(map[DeadReason]uint64)
		}
		s.DeadReasons[why.reason]++
	})
	hook.Call(r.cfg.Hooks.DeadLettered, DeadLetterInfo{
		Stream: at.stream, Sequence: at.sequence, Subject: at.subject, Key: key,
		Reason: why.reason, Redrives: at.redrives, Bodiless: bodiless(letter), Err: why.err,
	})
	return err
}

// buryOrHold tries until the letter is stored, or there is no hope. Its error is an *unsettledError if
// the letter is stored, but the message will come again.
func (r *reader) buryOrHold(at place, letter *nats.Msg, msg pull.Delivery) error {
	retry := backoff.Backoff{Min: r.cfg.RetryMin, Max: r.cfg.RetryMax}
	for attempt := 1; ; attempt++ {
		err := r.bury(letter, msg)
		if err == nil {
			return nil
		}
		if r.work.Err() != nil {
			return &stopError{fmt.Errorf("natsbus: message %d of stream %s: %w", at.sequence, at.stream, errors.Join(context.Cause(r.work), err))}
		}
		var unsettled *unsettledError
		if isPermanent(err) || errors.As(err, &unsettled) {
			return err
		}
		r.waitForSink([]pull.Delivery{msg}, attempt, retry.Next(), fmt.Errorf("natsbus: %w", err))
	}
}
