package bookfeed

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/internal/failure"
)

// maxListed is the number of instruments that a consumer lists in its filter. With more, it has the whole stream: for a
// filter, be it one wildcard, the server looks for all subjects that match before each message that it reads far from the
// end of the stream (firstMatching in its filestore.go, https://github.com/nats-io/nats-server/issues/7852), which takes
// 20 to 600 µs with 1300 instruments; without one, 3 µs.
const maxListed = 32

// A reader reads the messages of all books with one consumer, and gives them to the workers of their books.
type reader struct {
	feed    *Feed
	name    string // of the consumer, the same in every attempt, so that a new one replaces what is left of the last
	whole   bool   // it reads the whole stream
	books   []*follower
	targets map[string]target // by subject

	source   string    // of the stream, as in Record.Origin; "" before the stream was found
	last     uint64    // stream sequence up to which the messages of all books have been read; 0 if none were
	received uint64    // messages
	live     bool      // the bus has been read to its end
	asked    time.Time // when the server was asked last whether it is
	deleted  deletions
}

// A target is what a subject is about.
type target struct {
	book *follower
	kind marketprism.Kind
}

func newReader(f *Feed, books []*follower) *reader {
	r := &reader{feed: f, name: "bookfeed-" + f.id, whole: len(books) > maxListed, books: books, targets: make(map[string]target)}
	for _, w := range books {
		for _, kind := range bookKinds() {
			r.targets[natsbus.Subject(f.cfg.Prefix, w.book.instrument, kind)] = target{w, kind}
		}
	}
	return r
}

// run reads until ctx ends, or a failure is permanent. Every synced book ends with a Gap.
func (r *reader) run(ctx context.Context) error {
	r.setWait(marketprism.Wait{For: marketprism.WaitConnection})
	defer r.setWait(marketprism.Wait{For: marketprism.WaitRun})
	err := r.readAgain(ctx)
	cause := err
	if err != nil {
		err = &natsbus.StreamError{Stream: r.feed.cfg.Stream, Op: "read", Err: err}
	} else {
		cause = context.Cause(ctx)
	}
	r.onBooks(func(w *follower) { w.worker.failed(w.reset(true, cause)) }).Wait()
	return err
}

// readAgain reads until ctx ends, or returns a failure that is permanent.
func (r *reader) readAgain(ctx context.Context) error {
	retry := backoff.Backoff{Min: r.feed.cfg.RetryMin, Max: r.feed.cfg.RetryMax}
	failures := 0
	for ctx.Err() == nil {
		before := r.received
		err := r.read(ctx)
		switch {
		case ctx.Err() != nil:
			continue
		case r.isPermanent(err):
			return err
		}
		if r.received != before {
			retry.Reset()
			failures = 0
		}
		failures++
		wait := retry.Next()
		r.setWait(marketprism.Wait{For: marketprism.WaitConnection, Err: err, Attempt: failures, Next: time.Now().Add(wait)})
		hook.Call(r.feed.cfg.Hooks.ServerFailed, natsbus.ServerFailedInfo{Attempt: failures, Wait: wait, Err: err})
		_ = backoff.Sleep(ctx, wait) // the loop checks ctx
	}
	return nil
}

// setWait notes what all books wait for.
func (r *reader) setWait(w marketprism.Wait) {
	for _, f := range r.books {
		f.book.SetWait(w)
	}
}

// isPermanent reports whether reading will never succeed. The absence of JetStream may pass: the server is starting, or
// electing a leader. A stream that existed before may be created again. The stream may have as many consumers as the server
// allows, by default 1000, or still the one of the last attempt; the server deletes those of feeds that died.
func (r *reader) isPermanent(err error) bool {
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return r.source == ""
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount),
		errors.Is(err, jetstream.ErrConsumerExists):
		return false
	}
	return failure.IsPermanent(err)
}

// read makes a consumer that continues the reading, and gives its messages to the workers until something fails; it
// returns at once if the connection breaks. When it returns, the workers have done everything.
func (r *reader) read(ctx context.Context) error {
	ctx, cancel := whileConnected(ctx, r.feed.js.Conn())
	defer cancel()
	r.live = false
	stream, consumer, err := r.open(ctx)
	if err == nil {
		r.setWait(marketprism.Wait{For: marketprism.WaitRecords})
		defer r.remove(ctx, r.name)
		if consumer.NumPending == 0 {
			r.goLive()
		}
		err = r.fetch(ctx, r.name, r.receive, func() {
			r.checkEnd(ctx)
			r.checkDeletions(ctx, stream)
		})
	}
	r.onBooks(func(w *follower) { w.reached(w.book.sequence, w.book.behind, false) }).Wait()
	return broken(ctx, err)
}

// broken returns the cause of the end of ctx in place of an error that the end has caused.
func broken(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return context.Cause(ctx)
}

// whileConnected returns a context that ends with the connection, so that no call waits for an answer that was lost with
// it.
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
