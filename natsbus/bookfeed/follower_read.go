package bookfeed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
	"github.com/marketprism/marketprism/orderbook"
)

// A stopError ends Run with err; any other error is a failure of the server, which may pass.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }

// A reading is how far a follower has come in the stream.
type reading struct {
	source string // of the stream, as in Record.Origin; "" before the first message can be asked for
	last   uint64 // stream sequence up to which the instrument's messages have been read; 0 if none
	joinAt uint64 // stream sequence of the snapshot to begin with: those before it are history
	from   time.Time

	decoder natsbus.Decoder
}

const (
	feedBatch     = 500 // messages of a fetch
	feedFetch     = 10 * time.Second
	feedHeartbeat = time.Second // by which the server shows during a fetch that it is there
	feedSilence   = 2 * feedHeartbeat
	feedIdle      = time.Minute // after which the server forgets a consumer that asks for nothing
)

// run reads until ctx ends or there is nothing to wait for. The book ends with a Gap.
func (w *follower) run(ctx context.Context) error {
	defer w.late.Stop()
	retry := backoff.Backoff{Min: w.feed.cfg.RetryMin, Max: w.feed.cfg.RetryMax}
	failures := 0
	for ctx.Err() == nil {
		before := w.reading.last
		err := w.read(ctx)
		var stop *stopError
		switch {
		case errors.As(err, &stop):
			return stop.err
		case ctx.Err() != nil:
			continue
		case w.final(err):
			return errors.Join(w.reset(true, err), &natsbus.StreamError{Stream: w.feed.cfg.Stream, Op: "read", Err: err})
		}
		if w.reading.last != before {
			retry.Reset()
			failures = 0
		}
		failures++
		wait := retry.Next()
		hook.Call(w.feed.cfg.Hooks.ServerFailed, ServerFailedInfo{w.book.instrument, natsbus.ServerFailedInfo{Attempt: failures, Wait: wait, Err: err}})
		_ = backoff.Sleep(ctx, wait) // ctx is looked at above
	}
	return w.reset(true, context.Cause(ctx))
}

// final tells whether asking the server again would not help. That JetStream does not answer may pass:
// the server is starting, or choosing a leader. A stream that was there may be made anew.
func (w *follower) final(err error) bool {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, nats.ErrConnectionClosed):
		return true
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return w.reading.source == ""
	}
	return errors.As(err, &api) && api.Code == 400 && api.ErrorCode != codeConsumersExceeded
}

// codeConsumersExceeded: the stream has as many consumers as the server allows, 1000 unless it is told
// otherwise. Those of feeds that died go by themselves.
const codeConsumersExceeded jetstream.ErrorCode = 10026

// away notes that nothing comes from the bus.
func (w *follower) away() { w.reached(w.book.sequence, w.book.behind, false) }

// read makes a consumer that begins where the reading stands, and brings its messages to the book until
// something fails, at once if it is the connection.
func (w *follower) read(ctx context.Context) error {
	ctx, cancel := whileConnected(ctx, w.feed.js.Conn())
	defer cancel()
	consumer, err := w.open(ctx)
	if err != nil {
		return broken(ctx, err)
	}
	defer w.close(ctx, consumer)
	defer w.away()
	puller, err := pull.New(w.feed.js, w.feed.cfg.Stream, consumer.CachedInfo().Name, feedBatch)
	if err != nil {
		return err
	}
	defer func() { _ = puller.Close() }()
	if consumer.CachedInfo().NumPending == 0 {
		w.reached(w.book.sequence, 0, true)
	}
	for {
		if err := w.fetchOnce(ctx, puller); err != nil || ctx.Err() != nil {
			return broken(ctx, err)
		}
	}
}

// broken returns why ctx has ended in the place of an error that came of that.
func broken(ctx context.Context, err error) error {
	var stop *stopError
	if ctx.Err() == nil || errors.As(err, &stop) {
		return err
	}
	return context.Cause(ctx)
}

// whileConnected returns a context that ends when the connection does, so that nobody waits for an
// answer that was lost with it.
func whileConnected(ctx context.Context, conn *nats.Conn) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	changes := conn.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	if !conn.IsConnected() {
		cancel(disconnected(conn))
	}
	go func() {
		defer conn.RemoveStatusListener(changes)
		select {
		case <-changes:
			cancel(disconnected(conn))
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

func disconnected(conn *nats.Conn) error {
	if conn.IsClosed() {
		return nats.ErrConnectionClosed
	}
	return nats.ErrDisconnected
}

// close has the server forget a consumer at once, where it can be reached.
func (w *follower) close(ctx context.Context, consumer jetstream.Consumer) {
	if !w.feed.js.Conn().IsConnected() {
		return
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), feedHeartbeat)
	defer cancel()
	_ = w.feed.js.DeleteConsumer(late, w.feed.cfg.Stream, consumer.CachedInfo().Name) // or it does so after feedIdle
}

func (w *follower) fetchOnce(ctx context.Context, p *pull.Puller) error {
	if err := p.Request(pull.Request{Batch: feedBatch, Expires: feedFetch, Heartbeat: feedHeartbeat}); err != nil {
		return err
	}
	silence := time.NewTimer(feedSilence)
	defer silence.Stop()
	for p.Due() > 0 {
		select {
		case msg := <-p.Messages():
			silence.Reset(feedSilence)
			if err := w.receive(p, msg); err != nil {
				return err
			}
		case <-w.late.C:
			if err := w.jump(); err != nil {
				return &stopError{err}
			}
		case <-silence.C:
			if len(p.Messages()) == 0 { // otherwise it was the handler that took so long
				return fmt.Errorf("%w: %w", natsbus.ErrUnavailable, pull.ErrSilent)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// receive applies a message to the book, unless it is a report about the request. An error of the handler comes as
// a *stopError.
func (w *follower) receive(p *pull.Puller, msg *nats.Msg) error {
	d, ok, err := p.Receive(msg)
	if err != nil || !ok {
		return err
	}
	r := &w.reading
	r.last = d.Meta.Sequence.Stream

	var rec marketprism.Record
	r.decoder.Reset()
	if err = r.decoder.Decode(msg.Data, &rec); err != nil {
		hook.Call(w.feed.cfg.Hooks.Undecodable, natsbus.UndecodableInfo{Stream: w.feed.cfg.Stream, Sequence: r.last, Subject: msg.Subject, Err: err})
		rec = marketprism.Record{ReceivedAt: time.Now().UTC(), Gap: &orderbook.Gap{
			After: w.book.joiner.Book().LastID(), Reason: orderbook.GapInvalid, Err: err,
		}}
	}
	rec.Origin = marketprism.Origin{Source: r.source, Sequence: r.last}
	if err = w.apply(&rec); err != nil {
		return &stopError{err}
	}
	w.reached(r.last, d.Meta.NumPending, w.book.live || d.Meta.NumPending == 0)
	return nil
}
