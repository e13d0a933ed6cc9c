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

// A reader is one Run of a Consumer. One goroutine owns it.
type reader struct {
	*Consumer
	conn *nats.Conn
	dst  sink.Sink

	ctx  context.Context // nothing new is fetched after its end
	work context.Context // nothing is written or acknowledged after its end

	durable  jetstream.Consumer
	source   string
	next     uint64 // consumer sequence of the next delivery
	backoff  backoff.Backoff
	failures int // of the server, in a row

	misaligned bool  // the server has to deliver anew before the next fetch
	why        error // nil at the start

	decoder Decoder
	recs    []marketprism.Record
}

func (r *reader) run() error {
	r.misaligned = true
	for r.ctx.Err() == nil {
		err := r.step()
		var stop *stopError
		switch {
		case err == nil:
			r.backoff.Reset()
			r.failures = 0
		case errors.As(err, &stop):
			return stop.err
		case r.ctx.Err() != nil:
		case hopeless(err):
			return &ConsumerError{Stream: r.cfg.Stream, Durable: r.cfg.Durable, Err: err}
		default:
			r.misaligned, r.why = true, err
			r.pause(r.ctx, err)
		}
	}
	return context.Cause(r.ctx)
}

// A stopError ends Run with err; any other is a failure of the server, which may pass.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }

// step fetches one batch and brings it to the sink.
func (r *reader) step() error {
	if r.misaligned {
		if err := r.align(); err != nil {
			return err
		}
		r.misaligned, r.why = false, nil
	}
	batch, err := r.fetch()
	if len(batch) > 0 {
		if failed := r.deliver(batch); failed != nil {
			return failed
		}
	}
	return err
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
func (r *reader) align() error {
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
	call(r.cfg.Hooks.Realigned, RealignInfo{From: reset.ResetSeq, Source: r.source, Err: r.why})
	return nil
}

// old tells whether a server of that version cannot reset a durable.
func old(version string) bool {
	var major, minor int
	n, _ := fmt.Sscanf(version, "%d.%d", &major, &minor)
	return n == 2 && (major < 2 || major == 2 && minor < 14)
}

// A delivery is a message in hand.
type delivery struct {
	jetstream.Msg
	meta *jetstream.MsgMetadata
}

// errHole is why messages are asked for anew when the server has delivered one that did not come.
var errHole = errors.New("natsbus: a delivery is missing")

// fetch returns the next batch, which is empty if there was nothing for FlushEvery. With an error it
// returns what came before it, which is in order.
func (r *reader) fetch() ([]delivery, error) {
	// A message above the bound would never come.
	maxBytes := max(r.cfg.BatchBytes, int(r.conn.MaxPayload())+1<<16)
	fetched, err := r.durable.Fetch(r.cfg.Batch, jetstream.FetchMaxWait(r.cfg.FlushEvery), jetstream.FetchMaxBytes(maxBytes))
	if err != nil {
		return nil, err
	}
	var batch []delivery
	for msg := range fetched.Messages() { // to its end: what it takes after it is dropped is lost until AckWait
		if err != nil {
			continue
		}
		var meta *jetstream.MsgMetadata
		if meta, err = msg.Metadata(); err != nil {
			continue
		}
		if meta.Sequence.Consumer != r.next {
			err = fmt.Errorf("%w: %d of the consumer wanted, %d came", errHole, r.next, meta.Sequence.Consumer)
			continue
		}
		r.next++
		batch = append(batch, delivery{msg, meta})
	}
	if err == nil {
		err = fetched.Error()
	}
	if len(batch) > 0 {
		r.count(func(s *ConsumerStats) { s.Behind = batch[len(batch)-1].meta.NumPending })
	}
	return batch, err
}

// deliver brings a batch to the sink and acknowledges it.
func (r *reader) deliver(batch []delivery) error {
	r.inHand(len(batch))
	defer r.inHand(0)
	defer r.keepAlive(batch)()
	for len(batch) > 0 {
		started := time.Now()
		n, bad := r.decode(batch)
		if n > 0 {
			if err := r.write(batch[:n]); err != nil {
				r.release(batch)
				return &stopError{err}
			}
			if err := r.acknowledge(batch[:n]); err != nil {
				return err
			}
			r.consumed(batch[:n], time.Since(started))
			batch = batch[n:]
		}
		if bad != nil {
			if err := r.undecodable(batch[0], bad); err != nil {
				r.release(batch)
				return err
			}
			batch = batch[1:]
		}
	}
	return nil
}

func (r *reader) inHand(n int) { r.count(func(s *ConsumerStats) { s.InHand = n }) }

// decode fills r.recs from the batch, up to the first message that is no record, whose error it
// returns.
func (r *reader) decode(batch []delivery) (n int, bad error) {
	r.decoder.Reset()
	r.recs = r.recs[:0]
	for _, msg := range batch {
		var rec marketprism.Record
		if err := r.decoder.Decode(msg.Data(), &rec); err != nil {
			return len(r.recs), err
		}
		rec.Origin = marketprism.Origin{Source: r.source, Sequence: msg.meta.Sequence.Stream}
		r.recs = append(r.recs, rec)
	}
	return len(r.recs), nil
}

// write hands r.recs to the sink until it accepts them. Its error is the end of the drain.
func (r *reader) write(batch []delivery) error {
	retry := backoff.Backoff{Min: r.cfg.RetryMin, Max: r.cfg.RetryMax}
	for attempt := 1; ; attempt++ {
		err := r.dst.Write(r.work, r.recs)
		if err == nil {
			return nil
		}
		if r.work.Err() != nil {
			return fmt.Errorf("natsbus: %d records were not written before the end: %w", len(r.recs), errors.Join(context.Cause(r.work), err))
		}
		wait := retry.Next()
		r.count(func(s *ConsumerStats) { s.SinkFailures++ })
		call(r.cfg.Hooks.SinkFailed, SinkFailedInfo{
			Records: len(r.recs), First: first(batch), Last: last(batch), Attempt: attempt, Wait: wait, Err: err,
		})
		_ = backoff.Sleep(r.work, wait) // dst.Write notices the end of work
	}
}
