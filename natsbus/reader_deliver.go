package natsbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/trace"

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

// deliver brings every message of a batch to its end: in the sink, or among the dead letters.
func (r *reader) deliver(ctx context.Context, b *batch) error {
	defer r.completed(b)
	r.delivering.Lock()
	defer r.delivering.Unlock()
	for i, dead := range b.dead {
		if dead == nil {
			continue
		}
		o := r.messageOrigin(b.msgs[i])
		if !r.cfg.DeadLetters { // the records before it are delivered
			err := r.deliverPart(ctx, b, 0, i)
			if err == nil {
				r.undecodable(o, dead.cause.Err)
				r.release(b.msgs[i:])
				err = &stopError{&DecodeError{Stream: o.Stream, Sequence: o.Sequence, Subject: o.Subject, Err: dead.cause.Err}}
			}
			return err
		}
		r.undecodable(o, dead.cause.Err)
	}
	return r.deliverPart(ctx, b, 0, len(b.msgs))
}

// undecodable reports a message that is no record.
func (r *reader) undecodable(o letter.Origin, err error) {
	r.count(func(s *ConsumerStats) { s.Undecodable++ })
	hook.Call(r.cfg.Hooks.Undecodable, UndecodableInfo{Stream: o.Stream, Sequence: o.Sequence, Subject: o.Subject, Err: err})
}

// deliverPart delivers the messages with the indexes from up to to: it writes the records in one Write, stores the dead
// letters among them, and then replies to all in order. Records that the sink names as refused become dead letters, and
// the others are written again; if it names none, the part is halved until the refused record is alone.
//
// The letters come after the records: one that is stored while the sink is away would be stored again, as if the message
// had never been re-driven, when its message is delivered to the next Run and the letter has been re-driven meanwhile, or
// the dedupe window has passed. While letters are not accepted, a dead message ends the part, so that no record is
// written behind a message that can become neither.
func (r *reader) deliverPart(ctx context.Context, b *batch, from, to int) error {
	for from < to {
		started := time.Now()
		if i := b.firstDead(from, to); i < to && r.lettersFail() {
			if err := r.deliverPart(ctx, b, from, i); err != nil {
				return err
			}
			if err := r.settle(ctx, b, i, i+1, started); err != nil {
				return err
			}
			from = i + 1
			continue
		}
		p := b.part(from, to)
		refused, err := r.write(ctx, b, p)
		switch {
		case err != nil:
			r.release(b.msgs[from:])
			return &stopError{err}
		case refused == nil:
			return r.settle(ctx, b, from, to, started)
		case len(refused.records) == 0 && len(p.recs) > 1:
			middle := p.indexes[len(p.recs)/2]
			if err := r.deliverPart(ctx, b, from, middle); err != nil {
				return err
			}
			from = middle
		default:
			refused.mark(b, p)
		}
	}
	return nil
}

// settleTimeout is how much longer than the Run a letter on its way, and the replies, may take. A message whose letter is
// stored and that is not terminated becomes a letter again.
const settleTimeout = time.Second

// settle stores the letters of the dead messages with the indexes from up to to, replies to all in order and reports the
// records, which are written. While a letter is not accepted, only those before it have their reply.
func (r *reader) settle(ctx context.Context, b *batch, from, to int, started time.Time) error {
	for from < to {
		settling, stop := outlive(ctx, settleTimeout)
		stored := r.storeLetters(settling, b, from, to)
		err := r.reply(settling, b, from, stored, started)
		stop()
		if err != nil || stored == to {
			return err
		}
		from = stored
		if err := r.storeLetter(ctx, b, from); err != nil {
			r.release(b.msgs[from:])
			return err
		}
	}
	return nil
}

// reply acknowledges the messages with the indexes from up to to, or terminates them, and reports the records.
func (r *reader) reply(ctx context.Context, b *batch, from, to int, started time.Time) error {
	if from == to {
		return nil
	}
	if err := r.acknowledge(ctx, b, from, to); err != nil {
		return err
	}
	if msgs := pick(b.msgs, b.alive(from, to), from, to); len(msgs) > 0 {
		r.consumed(msgs, time.Since(started))
	}
	return nil
}

// A refusal is a Write after which records become dead letters.
type refusal struct {
	records []sink.Refusal // those that the sink has named
	cause   letter.Cause
}

// mark makes the refused records dead letters, or the only record of the part.
func (f *refusal) mark(b *batch, p part) {
	if len(f.records) == 0 {
		f.records = []sink.Refusal{{Err: f.cause.Err}}
	}
	for _, record := range f.records {
		cause := f.cause
		cause.Err = record.Err
		b.dead[p.indexes[record.Index]] = &deadMessage{key: p.recs[record.Index].Key(), cause: cause}
	}
}

// write writes the records of a part to the sink until it accepts them, or refuses some of them. It returns an error if
// ctx ends before.
func (r *reader) write(ctx context.Context, b *batch, p part) (*refusal, error) {
	if len(p.recs) == 0 {
		return nil, nil
	}
	retry := backoff.Backoff{Min: r.cfg.RetryMin, Max: r.cfg.RetryMax}
	unknown := 0
	for attempt := 1; ; attempt++ {
		err := r.writeOnce(ctx, p.msgs, p.recs)
		if err == nil {
			r.setCircuit(CircuitClosed, nil)
			return nil, nil
		}
		defaults.Set(&b.failedAt, time.Now())
		if ctx.Err() != nil {
			return nil, fmt.Errorf("natsbus: %d records were not written before the end: %w", len(p.recs), errors.Join(context.Cause(ctx), err))
		}
		found := r.cfg.Classify(err)
		if found.Class == Unknown {
			unknown++
		}
		if reason := r.refusedAs(found.Class, unknown); reason != "" {
			r.setCircuit(CircuitClosed, nil)
			refused := &refusal{records: found.within(len(p.recs)), cause: letter.Cause{
				Reason: string(reason), Stage: letter.StageWrite, Attempts: attempt, FailedAt: b.failedAt, Err: err,
			}}
			r.reportRefused(p, refused)
			return refused, nil
		}
		r.setCircuit(CircuitOpen, err)
		r.waitForSink(ctx, p.msgs, attempt, retry.Next(), err)
		r.setCircuit(CircuitProbing, err)
	}
}

func (r *reader) reportRefused(p part, f *refusal) {
	r.count(func(s *ConsumerStats) { s.Refusals++ })
	info := RefusedInfo{
		Stream: r.stream, Records: len(p.msgs), First: first(p.msgs), Last: last(p.msgs),
		Named: len(f.records), Attempt: f.cause.Attempts, Err: f.cause.Err,
	}
	if len(f.records) > 0 {
		info.Key = p.recs[f.records[0].Index].Key()
	}
	hook.Call(r.cfg.Hooks.Refused, info)
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

// lettersFail reports whether the last letter was not accepted.
func (r *reader) lettersFail() (fail bool) {
	r.count(func(s *ConsumerStats) { fail = !s.DeadLettersFailSince.IsZero() })
	return fail
}

// lettersAtOnce bounds the letters that are published before the answer to the first.
const lettersAtOnce = 256

// storeLetters stores the letters of the dead messages among those with the indexes from up to to, in order. It tries
// each once, and returns the index of the first that is not stored; to if all are.
func (r *reader) storeLetters(ctx context.Context, b *batch, from, to int) (blocked int) {
	var dead []int
	for i := from; i < to; i++ {
		if b.dead[i] != nil && !b.dead[i].stored {
			dead = append(dead, i)
		}
	}
	for some := range slices.Chunk(dead, lettersAtOnce) {
		blocked = to
		moves := make([]move, len(some))
		letters := make([]*nats.Msg, len(some))
		for n, i := range some {
			moves[n] = r.beginMove(ctx, b, i)
			letters[n] = moves[n].letter
		}
		var results []letter.Result
		r.unlocked(func() {
			storing, cancel := context.WithTimeout(ctx, 2*ackTimeout)
			defer cancel()
			results = letter.StoreAll(storing, r.js, r.async, letters)
		})
		for n, i := range some {
			if r.endMove(b, moves[n], results[n]); results[n].Err != nil {
				blocked = min(blocked, i)
			}
		}
		if blocked < to {
			return blocked
		}
	}
	return to
}

// storeLetter stores one letter, and repeats that as long as it fails.
func (r *reader) storeLetter(ctx context.Context, b *batch, i int) error {
	m := r.beginMove(ctx, b, i)
	err := r.moveToDeadLetters(ctx, m)
	r.endMove(b, m, letter.Result{Err: err})
	return err
}

// A move is a message on its way to the dead letters.
type move struct {
	index  int // in the batch
	origin letter.Origin
	letter *nats.Msg
	span   trace.Span // nil if it is not traced
}

func (r *reader) beginMove(ctx context.Context, b *batch, i int) move {
	msg, cause := b.msgs[i], b.dead[i].cause
	cause.Deliveries = msg.Meta.NumDelivered
	m := move{index: i, origin: r.messageOrigin(msg)}
	m.letter = letter.New(m.origin, msg.Header, msg.Data, cause)
	m.span = r.trace.StartDeadLetter(ctx, msg.Header, m.letter)
	return m
}

// endMove notes that a letter is stored, unless that failed, and reports one that is new.
func (r *reader) endMove(b *batch, m move, result letter.Result) {
	tracing.End(m.span, result.Err)
	if result.Err != nil {
		return
	}
	dead := b.dead[m.index]
	dead.stored = true
	r.count(func(s *ConsumerStats) { s.DeadLettersFailSince = time.Time{} })
	if result.There {
		return
	}
	reason := DeadReason(dead.cause.Reason)
	r.count(func(s *ConsumerStats) {
		s.DeadLettered++
		if s.DeadReasons == nil {
			s.DeadReasons = make(map[DeadReason]uint64)
		}
		s.DeadReasons[reason]++
	})
	hook.Call(r.cfg.Hooks.DeadLettered, DeadLetterInfo{
		Stream: m.origin.Stream, Sequence: m.origin.Sequence, Subject: m.origin.Subject, Key: dead.key,
		Reason: reason, Redrives: m.origin.Redrives, Bodiless: letter.Bodiless(m.letter), Err: dead.cause.Err,
	})
}

func (r *reader) moveToDeadLetters(ctx context.Context, m move) error {
	retry := backoff.Backoff{Min: r.cfg.RetryMin, Max: r.cfg.RetryMax}
	for attempt := 1; ; attempt++ {
		err := r.publishLetter(ctx, m.letter)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return &stopError{fmt.Errorf("natsbus: message %d of stream %s: %w", m.origin.Sequence, m.origin.Stream, errors.Join(context.Cause(ctx), err))}
		case isPermanent(err):
			return err
		}
		r.waitForDeadLetters(ctx, m.origin, attempt, retry.Next(), fmt.Errorf("natsbus: %w", err))
	}
}

// publishLetter publishes a letter once, and returns its failure classified.
func (r *reader) publishLetter(ctx context.Context, l *nats.Msg) (err error) {
	r.unlocked(func() {
		settling, stop := outlive(ctx, settleTimeout)
		defer stop()
		storing, cancel := context.WithTimeout(settling, ackTimeout)
		defer cancel()
		if _, err = letter.Store(storing, r.js, l); err != nil {
			err = fmt.Errorf("dead letter to %s: %w", l.Subject, failure.Explain(ctx, r.js, l.Subject, err))
		}
	})
	return err
}
