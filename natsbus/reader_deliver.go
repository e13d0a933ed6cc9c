package natsbus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/natsbus/internal/letter"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
	"github.com/marketprism/marketprism/natsbus/internal/tracing"
)

// deliver writes a batch to the sink and acknowledges it, in parts if there are messages in between that are no
// records.
func (r *reader) deliver(ctx context.Context, b *batch) error {
	defer r.completed(b)
	r.delivering.Lock()
	defer r.delivering.Unlock()
	from := 0
	for _, bad := range b.bad {
		if err := r.deliverPart(ctx, b, from, bad.index); err != nil {
			return err
		}
		if err := r.undecodable(ctx, b.msgs[bad.index], bad.err); err != nil {
			r.release(b.msgs[bad.index:])
			return err
		}
		from = bad.index + 1
	}
	return r.deliverPart(ctx, b, from, len(b.msgs))
}

// deliverPart delivers the records with the indexes from to up to to. If the sink refuses one of them, it delivers the
// records before it, the record itself and those after it one after the other, so that the server has the
// acknowledgements in order.
func (r *reader) deliverPart(ctx context.Context, b *batch, from, to int) error {
	if from == to {
		return nil
	}
	started := time.Now()
	msgs, recs := b.msgs[from:to], b.recs[from:to]
	refused, err := r.write(ctx, b, from, to)
	switch {
	case err != nil:
		r.release(b.msgs[from:])
		return &stopError{err}
	case refused != nil && len(recs) == 1:
		if err := r.storeDeadLetter(ctx, msgs[0], recs[0].Key(), refused.cause); err != nil {
			r.release(b.msgs[from:])
			return err
		}
		return nil
	case refused != nil:
		borders := refused.split(recs)
		for i := range len(borders) - 1 {
			if err := r.deliverPart(ctx, b, from+borders[i], from+borders[i+1]); err != nil {
				return err
			}
		}
		return nil
	}
	if err := r.acknowledge(ctx, msgs); err != nil {
		return err
	}
	r.consumed(msgs, time.Since(started))
	return nil
}

// A refusal is a Write after which a record becomes a dead letter.
type refusal struct {
	key   string // of the record, where the sink has named it
	cause letter.Cause
}

// split returns the borders at which to split a batch to find the refused record: around it if the sink has named it,
// otherwise in the middle.
func (f *refusal) split(recs []marketprism.Record) []int {
	for i := range recs {
		if f.key != "" && recs[i].Key() == f.key {
			return []int{0, i, i + 1, len(recs)}
		}
	}
	return []int{0, len(recs) / 2, len(recs)}
}

// write writes records to the sink until it accepts them, or refuses one of them. It returns an error if ctx ends
// before.
func (r *reader) write(ctx context.Context, b *batch, from, to int) (*refusal, error) {
	msgs, recs := b.msgs[from:to], b.recs[from:to]
	retry := backoff.Backoff{Min: r.cfg.RetryMin, Max: r.cfg.RetryMax}
	unknown := 0
	for attempt := 1; ; attempt++ {
		err := r.writeOnce(ctx, msgs, recs)
		if err == nil {
			r.setCircuit(CircuitClosed, nil)
			return nil, nil
		}
		defaults.Set(&b.failedAt, time.Now())
		if ctx.Err() != nil {
			return nil, fmt.Errorf("natsbus: %d records were not written before the end: %w", len(recs), errors.Join(context.Cause(ctx), err))
		}
		failure := r.cfg.Classify(err)
		if failure.Class == Unknown {
			unknown++
		}
		if reason := r.refusedAs(failure.Class, unknown); reason != "" {
			r.setCircuit(CircuitClosed, nil)
			r.count(func(s *ConsumerStats) { s.Refusals++ })
			hook.Call(r.cfg.Hooks.Refused, RefusedInfo{
				Stream: r.stream, Records: len(msgs), First: first(msgs), Last: last(msgs), Key: failure.Key, Attempt: attempt, Err: err,
			})
			return &refusal{key: failure.Key, cause: letter.Cause{
				Reason: string(reason), Stage: letter.StageWrite, Attempts: attempt, FailedAt: b.failedAt, Err: err,
			}}, nil
		}
		r.setCircuit(CircuitOpen, err)
		r.waitForSink(ctx, msgs, attempt, retry.Next(), err)
		r.setCircuit(CircuitProbing, err)
	}
}

func (r *reader) writeOnce(ctx context.Context, msgs []pull.Delivery, recs []marketprism.Record) error {
	ctx, span := r.trace.StartProcess(ctx, r.stream, r.durable, msgs)
	started := time.Now()
	err := r.dst.Write(ctx, recs)
	tracing.End(span, err)
	hook.Call(r.cfg.Hooks.Handled, HandleInfo{
		Stream: r.stream, Durable: r.durable, Records: len(recs), Took: time.Since(started), Err: err,
	})
	return err
}

// refusedAs returns the reason for which a failed Write counts as a refusal; "" if it will be repeated. unknown is the
// number of failures that may be either.
func (r *reader) refusedAs(class FailureClass, unknown int) DeadReason {
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

// undecodable handles a message that is no record.
func (r *reader) undecodable(ctx context.Context, msg pull.Delivery, err error) error {
	o := r.messageOrigin(msg)
	r.count(func(s *ConsumerStats) { s.Undecodable++ })
	hook.Call(r.cfg.Hooks.Undecodable, UndecodableInfo{Stream: o.Stream, Sequence: o.Sequence, Subject: o.Subject, Err: err})
	if !r.cfg.DeadLetters {
		return &stopError{&DecodeError{Stream: o.Stream, Sequence: o.Sequence, Subject: o.Subject, Err: err}}
	}
	return r.storeDeadLetter(ctx, msg, "", letter.Cause{
		Reason: string(DeadDecode), Stage: letter.StageDecode, Attempts: 1, FailedAt: time.Now(), Err: err,
	})
}
