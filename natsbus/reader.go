package natsbus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
	"github.com/marketprism/marketprism/sink"
)

// A reader is one Run of a Consumer. While one batch is with the sink, the next is being fetched, on
// a goroutine of its own; the fields that it uses are changed only while there is none.
type reader struct {
	*Consumer
	cfg  ConsumerConfig // of this reader: the re-drive lane is another stream
	lane bool           // it reads the re-drive lane
	conn *nats.Conn
	dst  sink.Sink

	ctx  context.Context // nothing new is fetched after its end
	work context.Context // nothing is written or acknowledged after its end

	failedAt time.Time // first failure of the batch in hand; zero if it has not failed

	puller  *pull.Puller
	source  string
	lost    uint64 // connections that had been lost when the server was last asked to deliver anew
	batches [2]batch
	held    holder

	backoff  backoff.Backoff
	failures int // of the server, in a row
}

// A stopError ends Run with err; any other is a failure of the server, which may pass.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }

func (r *reader) run() error {
	defer r.held.keepAlive(r.conn, r.cfg.AckWait/3, func(n int) {
		r.count(func(s *ConsumerStats) { s.Replies.InProgress += uint64(n) })
	})()
	defer func() { r.puller.Close() }()
	var why error
	for r.ctx.Err() == nil {
		r.turn.Lock()
		err := r.align(why)
		r.turn.Unlock()
		if err == nil {
			err = r.stream()
		}
		var stop *stopError
		switch {
		case errors.As(err, &stop):
			return stop.err
		case r.ctx.Err() != nil:
		case isPermanent(err) && !r.lane: // the end of the stream proper ends both
			return &ConsumerError{Stream: r.cfg.Stream, Durable: r.cfg.Durable, Err: err}
		default:
			why = err
			r.turn.Lock()
			wait := r.failed(err)
			r.turn.Unlock()
			_ = backoff.Sleep(r.ctx, wait) // ctx is looked at above
		}
	}
	return context.Cause(r.ctx)
}

// failed tells of a failure of the server, and returns how long to wait.
func (r *reader) failed(err error) time.Duration {
	wait := r.backoff.Next()
	r.failures++
	r.count(func(s *ConsumerStats) { s.ServerFailures++ })
	hook.Call(r.cfg.Hooks.ServerFailed, ServerFailedInfo{Attempt: r.failures, Wait: wait, Err: err})
	return wait
}

// align makes the durable and has the server deliver from its first unacknowledged message on.
//
// Messages that were delivered to a Run that died, or over a connection that broke, would otherwise
// come again only after AckWait, behind all that was delivered since.
func (r *reader) align(why error) error {
	if old(r.conn.ConnectedServerVersion()) {
		return fmt.Errorf("%w: this one is %s", ErrOldServer, r.conn.ConnectedServerVersion())
	}
	if r.lane {
		if err := r.findLane(); err != nil {
			return err
		}
	}
	lost := r.conn.Stats().Reconnects
	stream, err := r.js.Stream(r.ctx, r.cfg.Stream)
	if err != nil {
		return err
	}
	if _, err = stream.CreateOrUpdateConsumer(r.ctx, r.cfg.server()); err != nil {
		return err
	}
	r.puller.Close() // what the server still has for it is of the time before
	if r.puller, err = pull.New(r.js, r.cfg.Stream, r.cfg.Durable, r.cfg.Batch); err != nil {
		return err
	}
	reset, err := stream.ResetConsumer(r.ctx, r.cfg.Durable)
	if err != nil {
		// Not %w: the library takes silence to mean that there is no JetStream, which would be final.
		return fmt.Errorf("%w: reset of the durable: %v", ErrUnavailable, err)
	}
	r.source, r.lost = pull.Source(stream.CachedInfo()), lost
	r.count(func(s *ConsumerStats) { s.Realigned++ })
	hook.Call(r.cfg.Hooks.Realigned, RealignInfo{From: reset.ResetSeq, Source: r.source, Err: why})
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
		if !r.lane {
			r.count(func(s *ConsumerStats) { s.LastTurn = time.Now().UTC() })
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
		r.turn.Lock()
		r.release(b.msgs)
		r.turn.Unlock()
	}
	r.letGo(b)
}

// errReconnected is why they are asked for anew after the connection was lost: what the server has sent
// over the old one, or has forgotten to be acknowledged, would come again only after AckWait.
var errReconnected = errors.New("natsbus: the connection was lost and made again")

// fetch fills b, which stays empty if there was nothing for FlushEvery. If it ends with an error, b
// has what came before, which is in order.
func (r *reader) fetch(b *batch) {
	b.reset()
	b.err = r.puller.Request(pull.Request{
		Batch:    r.cfg.Batch,
		MaxBytes: max(r.cfg.BatchBytes, int(r.conn.MaxPayload())+1<<16), // a message above the bound would never come
		Expires:  r.cfg.FlushEvery,
	})
	timer := time.NewTimer(r.cfg.FlushEvery + pull.Patience)
	defer timer.Stop()
	for b.err == nil && r.puller.Due() > 0 {
		select {
		case msg := <-r.puller.Messages():
			b.err = r.receive(b, msg)
		case <-timer.C:
			b.err = fmt.Errorf("%w: %w", ErrUnavailable, pull.ErrSilent)
		}
	}
	if b.err == nil && r.reconnected() {
		b.err = errReconnected
	}
}

// receive adds the message to the batch, unless it is a report about the request.
func (r *reader) receive(b *batch, msg *nats.Msg) error {
	d, ok, err := r.puller.Receive(msg)
	if err != nil || !ok {
		return err
	}
	r.delivered(&d.Meta)
	b.add(d, r.origin(d))
	return nil
}

// reconnected tells whether the connection was lost since the server was last asked to deliver anew.
func (r *reader) reconnected() bool { return r.conn.Stats().Reconnects != r.lost }

// delivered tells of a message that has come.
func (r *reader) delivered(meta *jetstream.MsgMetadata) {
	if r.cfg.Hooks.Delivered == nil {
		return
	}
	r.cfg.Hooks.Delivered(DeliveryInfo{
		Stream: r.cfg.Stream, Durable: r.cfg.Durable, Sequence: meta.Sequence.Stream, Deliveries: meta.NumDelivered,
		Pending: meta.NumPending, StoredAt: meta.Timestamp, Lag: time.Since(meta.Timestamp),
	})
}
