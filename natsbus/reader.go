package natsbus

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/natsbus/internal/letter"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
	"github.com/marketprism/marketprism/sink"
)

// A reader is one Run of a Consumer on its stream, or on the queue of re-drives. While one batch is with the sink, the
// next is fetched by a goroutine of its own; the fields that it uses change only while there is none.
type reader struct {
	*Consumer
	redrives                bool   // it reads the queue of re-drives
	stream, durable, filter string // as the server knows them
	conn                    *nats.Conn
	async                   jetstream.JetStream // for dead letters
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
// headers, unless another program has published it there: that counts as one of the stream, for whose letters there is a
// subject.
func (r *reader) messageOrigin(msg pull.Delivery) letter.Origin {
	if r.redrives {
		if o, ok := letter.ParseOrigin(msg.Header); ok && o.Stream == r.cfg.Stream {
			return o
		}
	}
	return letter.Origin{
		Stream: r.cfg.Stream, Source: r.source, Consumer: r.cfg.Durable, Subject: msg.Subject,
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
	dead     []*deadMessage       // of each message; nil for a record that the sink must write
	err      error                // that ended the fetch early
	failedAt time.Time            // of the first failed Write; zero if there was none
	decoder  Decoder
}

// A deadMessage is why a message becomes a dead letter.
type deadMessage struct {
	key    string // of its record; "" if it is none
	cause  letter.Cause
	stored bool // the letter is stored
}

func (b *batch) reset() {
	clear(b.msgs) // frees the messages
	clear(b.dead)
	b.msgs, b.recs, b.dead, b.err, b.failedAt = b.msgs[:0], b.recs[:0], b.dead[:0], nil, time.Time{}
	b.decoder.Reset()
}

// add decodes a message, unless it is refused.
func (b *batch) add(msg pull.Delivery, origin marketprism.Origin, maxAhead time.Duration, refused error) {
	var (
		rec  marketprism.Record
		dead *deadMessage
	)
	err := refused
	if err == nil {
		err = b.decoder.Decode(msg.Subject, msg.Data, &rec)
	}
	if err == nil && maxAhead >= 0 {
		err = checkAhead(&rec, msg.Meta.Timestamp, maxAhead)
	}
	if err != nil {
		dead = &deadMessage{cause: letter.Cause{
			Reason: string(DeadDecode), Stage: letter.StageDecode, Attempts: 1, FailedAt: time.Now(), Err: err,
		}}
	}
	rec.Origin = origin
	b.msgs, b.recs, b.dead = append(b.msgs, msg), append(b.recs, rec), append(b.dead, dead)
}

// checkAhead returns an error for a record of a time that is more than most after the one when the server stored its message.
func checkAhead(rec *marketprism.Record, stored time.Time, most time.Duration) error {
	at := rec.EventTime
	if rec.ReceivedAt.After(at) {
		at = rec.ReceivedAt
	}
	if by := at.Sub(stored); by > most {
		return &CodecError{Op: opDecode, Kind: "ahead", Err: fmt.Errorf("its time, %s, is %v after the one when it was stored", at.UTC().Format(time.RFC3339), by)}
	}
	return nil
}

// A part is the records of some neighbouring messages of a batch.
type part struct {
	msgs    []pull.Delivery
	recs    []marketprism.Record
	indexes []int // in the batch
}

// alive returns the indexes from up to to of the messages that are not dead.
func (b *batch) alive(from, to int) []int {
	indexes := make([]int, 0, to-from)
	for i := from; i < to; i++ {
		if b.dead[i] == nil {
			indexes = append(indexes, i)
		}
	}
	return indexes
}

// part returns the records among the messages with the indexes from up to to.
func (b *batch) part(from, to int) part {
	indexes := b.alive(from, to)
	return part{msgs: pick(b.msgs, indexes, from, to), recs: pick(b.recs, indexes, from, to), indexes: indexes}
}

// pick returns the items with the indexes, which are between from and to.
func pick[T any](items []T, indexes []int, from, to int) []T {
	if len(indexes) == to-from {
		return items[from:to]
	}
	picked := make([]T, len(indexes))
	for n, i := range indexes {
		picked[n] = items[i]
	}
	return picked
}

// firstDead returns the first dead message among those with the indexes from up to to; to if there is none.
func (b *batch) firstDead(from, to int) int {
	for i := from; i < to; i++ {
		if b.dead[i] != nil {
			return i
		}
	}
	return to
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

// ackText acknowledges a message when it is published on the message's reply subject, and termText ends one whose dead
// letter is stored. The methods of jetstream.Msg do the same, but only once, and a reply that got lost must be repeated.
const (
	ackText  = "+ACK"
	termText = "+TERM " + letter.TerminatedPrefix // and the reason
)

const (
	maxAckAttempts        = 3
	ackTimeout            = 5 * time.Second
	reconnectedAckTimeout = time.Second
	releaseDelay          = time.Second
)

// acknowledge acknowledges the messages with the indexes from up to to, and terminates those whose dead letter is
// stored. It returns when the server has confirmed the last one: it handles those of one connection in order, so it has
// handled the others before.
func (r *reader) acknowledge(ctx context.Context, b *batch, from, to int) error {
	replies := b.replies(from, to)
	for attempt := 1; ; attempt++ {
		timeout, last := ackTimeout, maxAckAttempts
		if r.reconnected() {
			// A server that crashed may have forgotten the deliveries, and does not answer for those.
			timeout, last = reconnectedAckTimeout, attempt
		}
		if replies.terms > 0 {
			last = attempt // the letters are recognized if their messages come again
		}
		err := r.sendReplies(ctx, replies, timeout)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil, isPermanent(err):
			return err
		case attempt >= last && r.conn.IsConnected():
			// The durable may have been made again, without the deliveries.
			return fmt.Errorf("%w: %d acknowledgements: %w", ErrUnavailable, to-from, err)
		}
		_ = backoff.Sleep(ctx, r.serverFailed(err)) // ctx is checked after the next attempt
	}
}

// replies are the answers to neighbouring messages of a batch.
type replies struct {
	msgs        []pull.Delivery
	texts       []string
	acks, terms int
}

func (b *batch) replies(from, to int) replies {
	all := replies{msgs: b.msgs[from:to], texts: make([]string, to-from)}
	for n, dead := range b.dead[from:to] {
		if all.texts[n] = ackText; dead == nil {
			all.acks++
		} else {
			all.texts[n] = termText + dead.cause.Reason
			all.terms++
		}
	}
	return all
}

func (r *reader) sendReplies(ctx context.Context, all replies, timeout time.Duration) error {
	reconnects := r.conn.Stats().Reconnects
	end := len(all.msgs) - 1
	for i, msg := range all.msgs[:end] {
		if err := r.conn.Publish(msg.Reply, []byte(all.texts[i])); err != nil {
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
	if _, err := r.conn.RequestWithContext(ctx, all.msgs[end].Reply, []byte(all.texts[end])); err != nil {
		return err
	}
	r.count(func(s *ConsumerStats) {
		s.Replies.Ack += uint64(all.acks)
		s.Replies.Term += uint64(all.terms)
	})
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

// unlocked calls f while the other reader may deliver: f waits for the stream of dead letters, and calls neither the sink
// nor a hook.
func (r *reader) unlocked(f func()) {
	r.delivering.Unlock()
	defer r.delivering.Lock()
	f()
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
	r.unlocked(func() { _ = backoff.Sleep(ctx, wait) }) // ctx is checked after the next attempt
}
