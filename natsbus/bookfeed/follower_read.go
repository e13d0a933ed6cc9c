package bookfeed

import (
	"context"
	"errors"
	"fmt"
	"strings"
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

// A reading is the position of a follower in the stream.
type reading struct {
	source string    // of the stream, as in Record.Origin; "" before the stream was found
	last   uint64    // stream sequence up to which the instrument's messages have been read; 0 if none
	joinAt uint64    // stream sequence of the snapshot to begin with; earlier ones are skipped
	from   time.Time // where to begin, by the clock of the server, while last is 0

	decoder natsbus.Decoder
}

const (
	feedBatch     = 500 // messages of a fetch
	feedFetch     = 10 * time.Second
	feedHeartbeat = time.Second // between two signs of life of the server during a fetch
	feedSilence   = 2 * feedHeartbeat
	feedIdle      = time.Minute // after which the server deletes a consumer without a request
)

// run reads until ctx ends, or a failure is permanent. A synced book ends with a Gap.
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
		case w.isPermanent(err):
			return errors.Join(w.reset(true, err), &natsbus.StreamError{Stream: w.feed.cfg.Stream, Op: "read", Err: err})
		}
		if w.reading.last != before {
			retry.Reset()
			failures = 0
		}
		failures++
		wait := retry.Next()
		hook.Call(w.feed.cfg.Hooks.ServerFailed, ServerFailedInfo{w.book.instrument, natsbus.ServerFailedInfo{Attempt: failures, Wait: wait, Err: err}})
		_ = backoff.Sleep(ctx, wait) // the loop checks ctx
	}
	return w.reset(true, context.Cause(ctx))
}

// isPermanent reports whether reading will never succeed. The absence of JetStream may pass: the server is starting, or
// electing a leader. A stream that existed before may be created again.
func (w *follower) isPermanent(err error) bool {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, nats.ErrConnectionClosed):
		return true
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return w.reading.source == ""
	}
	return errors.As(err, &api) && api.Code == 400 && api.ErrorCode != codeConsumersExceeded
}

// codeConsumersExceeded: the stream has as many consumers as the server allows, by default 1000. The server deletes those
// of feeds that died.
const codeConsumersExceeded jetstream.ErrorCode = 10026

// read makes a consumer that continues at the reading, and applies its messages to the book until something fails; it
// returns at once if the connection breaks.
func (w *follower) read(ctx context.Context) error {
	ctx, cancel := whileConnected(ctx, w.feed.js.Conn())
	defer cancel()
	consumer, err := w.open(ctx)
	if err != nil {
		return broken(ctx, err)
	}
	defer w.close(ctx, consumer)
	defer func() { w.reached(w.book.sequence, w.book.behind, false) }()
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

// broken returns the cause of the end of ctx in place of an error that the end has caused.
func broken(ctx context.Context, err error) error {
	var stop *stopError
	if ctx.Err() == nil || errors.As(err, &stop) {
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

// close deletes a consumer, if the server can be reached.
func (w *follower) close(ctx context.Context, consumer jetstream.Consumer) {
	if !w.feed.js.Conn().IsConnected() {
		return
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), feedHeartbeat)
	defer cancel()
	_ = w.feed.js.DeleteConsumer(late, w.feed.cfg.Stream, consumer.CachedInfo().Name) // otherwise the server does, after feedIdle
}

// fetchOnce requests messages once, and applies them as they arrive.
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
			if len(p.Messages()) == 0 { // otherwise the handler took so long
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
	if err = r.decoder.Decode(msg.Subject, msg.Data, &rec); err != nil {
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

// errMissed is the cause of a Gap where the stream has deleted messages that were not read.
var errMissed = errors.New("bookfeed: messages after the book's last one are not in the stream any more")

// open makes a consumer that continues at the reading. The server deletes it after feedIdle without a request.
func (w *follower) open(ctx context.Context) (jetstream.Consumer, error) {
	stream, err := w.feed.js.Stream(ctx, w.feed.cfg.Stream)
	if err != nil {
		return nil, err
	}
	info := stream.CachedInfo()
	switch missed, err := w.missed(ctx, stream, info); {
	case err != nil:
		return nil, err
	case missed:
		if err := w.join(ctx, stream, info); err != nil {
			return nil, err
		}
	}
	return stream.CreateConsumer(ctx, w.consumerConfig())
}

// consumerConfig filters by one wildcard subject, because the server is slow with a list of subjects.
func (w *follower) consumerConfig() jetstream.ConsumerConfig {
	config := jetstream.ConsumerConfig{
		Description:       pull.Description("reads an instrument for a feed of books"),
		Metadata:          pull.Metadata("book-feed"),
		FilterSubject:     filter(w.feed.cfg.Prefix, w.book.instrument),
		AckPolicy:         jetstream.AckNonePolicy,
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       w.reading.last + 1,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: feedIdle,
	}
	if w.reading.last == 0 {
		config.DeliverPolicy, config.OptStartSeq, config.OptStartTime = jetstream.DeliverByStartTimePolicy, 0, &w.reading.from
	}
	return config
}

// filter returns the pattern of an instrument's subjects of all kinds: the kind is the last token but one.
func filter(prefix string, instrument marketprism.Instrument) string {
	subject := natsbus.Subject(prefix, instrument, marketprism.KindUpdate)
	symbol := strings.LastIndexByte(subject, '.')
	kind := strings.LastIndexByte(subject[:symbol], '.')
	return subject[:kind+1] + "*" + subject[symbol:]
}

// missed reports whether the reading cannot continue: it has not begun, the stream is another one, or updates have been
// deleted that were not read.
func (w *follower) missed(ctx context.Context, stream jetstream.Stream, info *jetstream.StreamInfo) (bool, error) {
	r := &w.reading
	if r.source != pull.Source(info) {
		return true, nil
	}
	if r.last == 0 || info.State.FirstSeq <= r.last+1 {
		return false, nil
	}
	msg, err := stream.GetLastMsgForSubject(ctx, natsbus.Subject(w.feed.cfg.Prefix, w.book.instrument, marketprism.KindUpdate))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return true, nil
	}
	return err == nil && msg.Sequence > r.last, err
}

// join sets the reading to Lookback before the last snapshot. A synced book ends with a Gap.
func (w *follower) join(ctx context.Context, stream jetstream.Stream, info *jetstream.StreamInfo) error {
	r := &w.reading
	if err := w.reset(false, errMissed); err != nil {
		return &stopError{err}
	}
	lookback := max(w.feed.cfg.Lookback, 0)
	from, joinAt := info.TimeStamp.Add(-lookback), uint64(0)
	switch msg, err := stream.GetLastMsgForSubject(ctx, natsbus.Subject(w.feed.cfg.Prefix, w.book.instrument, marketprism.KindSnapshot)); {
	case err == nil:
		from, joinAt = msg.Time.Add(-lookback), msg.Sequence
	case !errors.Is(err, jetstream.ErrMsgNotFound): // without one, the book begins with the first to come
		return err
	}
	r.source, r.last, r.from, r.joinAt = pull.Source(info), 0, from, joinAt
	return nil
}
