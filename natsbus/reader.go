package natsbus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/sink"
)

// A reader is one Run of a Consumer. While one batch is with the sink, the next is being fetched, on
// a goroutine of its own; the fields that it uses are changed only while there is none.
type reader struct {
	*Consumer
	conn *nats.Conn
	dst  sink.Sink

	ctx  context.Context // nothing new is fetched after its end
	work context.Context // nothing is written or acknowledged after its end

	durable jetstream.Consumer
	source  string
	next    uint64 // consumer sequence of the next delivery
	batches [2]batch
	held    holder

	backoff  backoff.Backoff
	failures int // of the server, in a row
}

// A stopError ends Run with err; any other is a failure of the server, which may pass.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }

func (r *reader) run() error {
	defer r.held.keepAlive(r.cfg.AckWait / 3)()
	var why error
	for r.ctx.Err() == nil {
		err := r.align(why)
		if err == nil {
			err = r.stream()
		}
		var stop *stopError
		switch {
		case errors.As(err, &stop):
			return stop.err
		case r.ctx.Err() != nil:
		case hopeless(err):
			return &ConsumerError{Stream: r.cfg.Stream, Durable: r.cfg.Durable, Err: err}
		default:
			why = err
			r.pause(r.ctx, err)
		}
	}
	return context.Cause(r.ctx)
}

// pause waits after a failure of the server, at most until ctx ends.
func (r *reader) pause(ctx context.Context, err error) {
	wait := r.backoff.Next()
	r.failures++
	r.count(func(s *ConsumerStats) { s.ServerFailures++ })
	call(r.cfg.Hooks.ServerFailed, ServerFailedInfo{Attempt: r.failures, Wait: wait, Err: err})
	_ = backoff.Sleep(ctx, wait) // the caller looks at ctx
}

// align makes the durable and has the server deliver from its first unacknowledged message on.
//
// Messages that were delivered to a Run that died, or over a connection that broke, would otherwise
// come again only after AckWait, behind all that was delivered since.
func (r *reader) align(why error) error {
	if old(r.conn.ConnectedServerVersion()) {
		return fmt.Errorf("%w: this one is %s", ErrOldServer, r.conn.ConnectedServerVersion())
	}
	stream, err := r.js.Stream(r.ctx, r.cfg.Stream)
	if err != nil {
		return err
	}
	durable, err := stream.CreateOrUpdateConsumer(r.ctx, r.cfg.server())
	if err != nil {
		return err
	}
	reset, err := stream.ResetConsumer(r.ctx, r.cfg.Durable)
	if err != nil {
		// Not %w: the library takes silence to mean that there is no JetStream, which would be final.
		return fmt.Errorf("%w: reset of the durable: %v", ErrUnavailable, err)
	}
	r.durable, r.source, r.next = durable, source(stream.CachedInfo()), 1
	r.count(func(s *ConsumerStats) { s.Realigned++ })
	call(r.cfg.Hooks.Realigned, RealignInfo{From: reset.ResetSeq, Source: r.source, Err: why})
	return nil
}

// old tells whether a server of that version cannot reset a durable.
func old(version string) bool {
	var major, minor int
	n, _ := fmt.Sscanf(version, "%d.%d", &major, &minor)
	return n == 2 && (major < 2 || major == 2 && minor < 14)
}

// stream brings batch after batch to the sink, until something fails or ctx ends.
func (r *reader) stream() error {
	fetching := r.startFetch(&r.batches[0])
	for turn := 1; ; turn++ {
		b := <-fetching
		more := b.err == nil && r.ctx.Err() == nil
		if more {
			r.backoff.Reset()
			r.failures = 0
			fetching = r.startFetch(&r.batches[turn%2])
		}
		err := r.deliver(b)
		if err != nil && more {
			r.drop(<-fetching, err)
		}
		if err != nil || !more {
			return errors.Join(err, b.err)
		}
	}
}

func (r *reader) startFetch(b *batch) <-chan *batch {
	done := make(chan *batch, 1)
	go func() {
		r.fetch(b)
		r.hold(b)
		done <- b
	}()
	return done
}

// drop lets go of a batch that was fetched while the one before it failed.
func (r *reader) drop(b *batch, err error) {
	var stop *stopError
	if errors.As(err, &stop) {
		r.release(b.msgs)
	}
	r.letGo(b)
}

// errHole is why messages are asked for anew when the server has delivered one that did not come.
var errHole = errors.New("natsbus: a delivery is missing")

// fetch fills b, which stays empty if there was nothing for FlushEvery. If it ends with an error, b
// has what came before, which is in order.
func (r *reader) fetch(b *batch) {
	b.reset()
	// A message above the bound would never come.
	maxBytes := max(r.cfg.BatchBytes, int(r.conn.MaxPayload())+1<<16)
	fetched, err := r.durable.Fetch(r.cfg.Batch, jetstream.FetchMaxWait(r.cfg.FlushEvery), jetstream.FetchMaxBytes(maxBytes))
	if err != nil {
		b.err = err
		return
	}
	for msg := range fetched.Messages() { // to its end: what comes after it is left would be lost until AckWait
		if b.err != nil {
			continue
		}
		meta, err := msg.Metadata()
		switch {
		case err != nil:
			b.err = err
		case meta.Sequence.Consumer != r.next:
			b.err = fmt.Errorf("%w: %d of the consumer wanted, %d came", errHole, r.next, meta.Sequence.Consumer)
		default:
			r.next++
			b.add(delivery{msg, meta}, r.source)
		}
	}
	if b.err == nil {
		b.err = fetched.Error()
	}
}

// deliver brings a batch to the sink and acknowledges it, in parts where there is a message in
// between that is no record.
func (r *reader) deliver(b *batch) error {
	defer r.letGo(b)
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

func (r *reader) deliverPart(b *batch, from, to int) error {
	if from == to {
		return nil
	}
	started := time.Now()
	msgs := b.msgs[from:to]
	if err := r.write(msgs, b.recs[from:to]); err != nil {
		r.release(b.msgs[from:])
		return &stopError{err}
	}
	if err := r.acknowledge(msgs); err != nil {
		return err
	}
	r.consumed(msgs, time.Since(started))
	return nil
}

// write hands records to the sink until it accepts them. Its error is the end of the drain.
func (r *reader) write(msgs []delivery, recs []marketprism.Record) error {
	retry := backoff.Backoff{Min: r.cfg.RetryMin, Max: r.cfg.RetryMax}
	for attempt := 1; ; attempt++ {
		err := r.dst.Write(r.work, recs)
		if err == nil {
			return nil
		}
		if r.work.Err() != nil {
			return fmt.Errorf("natsbus: %d records were not written before the end: %w", len(recs), errors.Join(context.Cause(r.work), err))
		}
		wait := retry.Next()
		r.count(func(s *ConsumerStats) { s.SinkFailures++ })
		call(r.cfg.Hooks.SinkFailed, SinkFailedInfo{
			Records: len(recs), First: first(msgs), Last: last(msgs), Attempt: attempt, Wait: wait, Err: err,
		})
		_ = backoff.Sleep(r.work, wait) // dst.Write notices the end of work
	}
}
