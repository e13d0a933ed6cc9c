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
	"github.com/marketprism/marketprism/natsbus/internal/letter"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
	"github.com/marketprism/marketprism/natsbus/signature"
)

// run reads until ctx ends. After that it fetches nothing; after the end of work it writes and acknowledges nothing.
func (r *reader) run(ctx, work context.Context) error {
	var err error
	if r.async, err = jetstream.New(r.conn, jetstream.WithPublishAsyncTimeout(ackTimeout)); err != nil {
		return fmt.Errorf("natsbus: %w", err)
	}
	defer r.async.CleanupPublisher()
	defer r.inFlight.keepAlive(r.conn, r.cfg.AckWait/3, func(n int) {
		r.count(func(s *ConsumerStats) { s.Replies.InProgress += uint64(n) })
	})()
	defer func() { _ = r.puller.Close() }()
	var cause error
	for ctx.Err() == nil {
		err := r.resetDurable(ctx, cause)
		if err == nil {
			err = r.deliverLoop(ctx, work)
		}
		var stop *stopError
		switch {
		case errors.As(err, &stop):
			return stop.err
		case ctx.Err() != nil:
		case isPermanent(err) && !r.redrives: // the reader of the stream ends both
			return &ConsumerError{Stream: r.stream, Durable: r.durable, Err: err}
		default:
			cause = err
			r.delivering.Lock()
			wait := r.serverFailed(err)
			r.delivering.Unlock()
			_ = backoff.Sleep(ctx, wait) // the loop checks ctx
		}
	}
	return nil
}

// resetDurable makes the durable and resets it to its first unacknowledged message. cause is the error before, nil at
// the start of Run.
//
// Without the reset, messages that were delivered to a Run that died, or over a connection that broke, would come again
// only after AckWait, behind all that was delivered since.
func (r *reader) resetDurable(ctx context.Context, cause error) error {
	if version := r.conn.ConnectedServerVersion(); isOldServer(version) {
		return fmt.Errorf("%w: this one is %s", ErrOldServer, version)
	}
	if r.redrives {
		if err := r.findRedrives(ctx); err != nil {
			return err
		}
	}
	reconnects := r.conn.Stats().Reconnects
	stream, err := r.js.Stream(ctx, r.stream)
	if err != nil {
		return err
	}
	if _, err = pull.EnsureDurable(ctx, r.js, r.stream, r.cfg.server(r.durable, r.filter, r.redrives)); err != nil {
		return err
	}
	_ = r.puller.Close() // the server may still have deliveries for it, of the time before
	if r.puller, err = pull.New(r.js, r.stream, r.durable, r.cfg.Batch); err != nil {
		return err
	}
	reset, err := stream.ResetConsumer(ctx, r.durable)
	if err != nil {
		// Not %w: the library reads silence as the absence of JetStream, which would be permanent.
		return fmt.Errorf("%w: reset of the durable: %v", ErrUnavailable, err)
	}
	r.source, r.reconnects = pull.Source(stream.CachedInfo()), reconnects
	r.count(func(s *ConsumerStats) { s.DurableResets++ })
	r.delivering.Lock()
	defer r.delivering.Unlock()
	hook.Call(r.cfg.Hooks.DurableReset, DurableResetInfo{From: reset.ResetSeq, Source: r.source, Err: cause})
	return nil
}

// isOldServer reports whether a server of that version cannot reset a durable.
func isOldServer(version string) bool {
	var major, minor int
	n, _ := fmt.Sscanf(version, "%d.%d", &major, &minor)
	return n == 2 && (major < 2 || major == 2 && minor < 14)
}

// findRedrives sets the stream, durable and filter of the queue of re-drives. The durable's name contains '=', which no
// other stream or durable of this package has.
func (r *reader) findRedrives(ctx context.Context) error {
	r.filter = letter.RedriveSubject(r.cfg.Stream, r.cfg.Durable, ">")
	name, err := r.js.StreamNameBySubject(ctx, r.filter)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("natsbus: no queue of re-drives %s: %w; EnsureStreams makes it", r.filter, err)
	}
	if err != nil {
		return err
	}
	r.stream, r.durable = name, r.cfg.Stream+"="+r.cfg.Durable
	return nil
}

// deliverLoop delivers batch after batch, until something fails or ctx ends.
func (r *reader) deliverLoop(ctx, work context.Context) error {
	fetching := r.startFetch(ctx, &r.batches[0])
	for n := 1; ; n++ {
		b := <-fetching
		more := b.err == nil && ctx.Err() == nil
		if more {
			r.retry.Reset()
			r.failures = 0
			fetching = r.startFetch(ctx, &r.batches[n%2])
		}
		err := r.deliver(work, b)
		if err != nil && more {
			r.discard(<-fetching, err)
		}
		var stop *stopError
		switch {
		case err != nil && ctx.Err() != nil && !errors.As(err, &stop):
			return &stopError{err} // the end of Run was not orderly
		case err != nil || !more:
			return errors.Join(err, b.err)
		}
		if !r.redrives {
			r.count(func(s *ConsumerStats) { s.LastProgress = time.Now().UTC() })
		}
	}
}

// discard drops a batch that was fetched while the one before it failed with err.
func (r *reader) discard(b *batch, err error) {
	var stop *stopError
	if errors.As(err, &stop) {
		r.delivering.Lock()
		r.release(b.msgs)
		r.delivering.Unlock()
	}
	r.completed(b)
}

// errReconnected ends a fetch after the connection was lost: what the server has sent over the old one, and the
// acknowledgements that it has forgotten, would come again only after AckWait.
var errReconnected = errors.New("natsbus: the connection was lost and made again")

func (r *reader) startFetch(ctx context.Context, b *batch) <-chan *batch {
	done := make(chan *batch, 1)
	go func() {
		r.fetch(ctx, b)
		r.started(b)
		done <- b
	}()
	return done
}

// fetch fills b until the batch is complete, FlushEvery has passed or ctx has ended. If it ends with an error, b has the
// messages before it, in order.
func (r *reader) fetch(ctx context.Context, b *batch) {
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
			for range len(r.puller.Messages()) { // those that wait already cost no select each
				if b.err != nil || r.puller.Due() == 0 {
					break
				}
				b.err = r.receive(b, <-r.puller.Messages())
			}
		case <-timer.C:
			b.err = fmt.Errorf("%w: %w", ErrUnavailable, pull.ErrSilent)
		case <-ctx.Done():
			b.err = context.Cause(ctx)
		}
	}
	if b.err == nil && r.reconnected() {
		b.err = errReconnected
	}
}

// receive adds a message to the batch, unless it is a report about the request.
func (r *reader) receive(b *batch, msg *nats.Msg) error {
	d, ok, err := r.puller.Receive(msg)
	if err != nil || !ok {
		return err
	}
	if r.cfg.Hooks.Delivered != nil {
		r.cfg.Hooks.Delivered(DeliveryInfo{
			Stream: r.stream, Durable: r.durable, Sequence: d.Meta.Sequence.Stream, Deliveries: d.Meta.NumDelivered,
			Pending: d.Meta.NumPending, StoredAt: d.Meta.Timestamp, Lag: time.Since(d.Meta.Timestamp),
		})
	}
	b.add(d, r.recordOrigin(d), r.cfg.MaxAhead, r.verify(d))
	return nil
}

// verify returns why the Verifier refuses a message; nil if it does not, or there is none. A re-drive has the signature of
// its original.
func (r *reader) verify(d pull.Delivery) error {
	if r.cfg.Verifier == nil {
		return nil
	}
	subject, header := d.Subject, d.Header
	if r.redrives {
		subject, header = r.messageOrigin(d).Subject, letter.OriginalHeader(header)
	}
	if err := r.cfg.Verifier.Verify(subject, header.Get(jetstream.MsgIDHeader), d.Data, header.Get(signature.Header)); err != nil {
		return &CodecError{Op: opDecode, Kind: "signature", Err: err}
	}
	return nil
}
