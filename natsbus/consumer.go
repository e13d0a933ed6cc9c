package natsbus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/natsbus/internal/pull"
	"github.com/marketprism/marketprism/sink"
)

// A Consumer reads a stream through a durable and writes its records to a sink, in the order of the
// stream. A message is acknowledged after the sink has accepted it, and for no other reason.
type Consumer struct {
	cfg   ConsumerConfig
	js    jetstream.JetStream
	trace tracer

	// turn is held by the reader that delivers a batch or calls a hook: the sink gets one Write at a
	// time, from the stream or from its re-drive lane.
	turn sync.Mutex

	mu      sync.Mutex
	running bool
	stats   ConsumerStats
}

// NewConsumer returns a Consumer on the connection of js, which the caller opens and closes. It fails
// if cfg is contradictory; whether the stream is there shows in Run.
func NewConsumer(js jetstream.JetStream, cfg ConsumerConfig) (*Consumer, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	tracer, err := cfg.Trace.tracer()
	if err != nil {
		return nil, err
	}
	return &Consumer{cfg: cfg, js: js, trace: tracer}, nil
}

// Why Run returned, for errors.Is; the end of ctx and a *DecodeError are the other reasons.
var (
	// ErrRunning: Run is running already.
	ErrRunning = errors.New("natsbus: already running")
	// ErrOldServer: the server cannot reset a durable.
	ErrOldServer = errors.New("nats-server 2.14 or newer is needed")
)

// A ConsumerError tells which durable could not be made or read, and why waiting would not help.
type ConsumerError struct {
	Stream, Durable string
	Err             error
}

func (e *ConsumerError) Error() string {
	text := fmt.Sprintf("natsbus: consumer %s of stream %s: %v", e.Durable, e.Stream, e.Err)
	if errors.Is(e.Err, jetstream.ErrStreamNotFound) {
		text += "; EnsureStreams makes it"
	}
	return text
}

func (e *ConsumerError) Unwrap() error { return e.Err }

// A DecodeError tells which message stopped Run because it is no record. It has not been
// acknowledged: Run will meet it again. Err is a *CodecError.
type DecodeError struct {
	Stream   string
	Sequence uint64
	Subject  string
	Err      error
}

func (e *DecodeError) Error() string {
	return fmt.Sprintf("natsbus: message %d of stream %s on %s: %v", e.Sequence, e.Stream, e.Subject, e.Err)
}

func (e *DecodeError) Unwrap() error { return e.Err }

// Run reads the stream from the first message that the durable has not acknowledged, and writes to
// dst until ctx ends. Every record has its Origin set. Unless Workers says otherwise, dst gets one Write
// at a time, with records in the order of the stream; a record may come again, with the same Origin,
// after a failure.
//
// While dst fails, the batch is held and written again after a growing delay, without end: nothing
// is acknowledged, nothing skipped, and no more than the next batch fetched. While the server cannot be
// reached, Run waits for it.
//
// With DeadLetters, a record that dst will never take (see Classify) is found by parting its batch, and
// moved to the dead-letter stream; those before and after it are written and acknowledged in order. Run
// then also reads the re-drive lane, in which DeadLetters.Redrive puts dead letters to be tried again:
// they come with the Origin that they had.
//
// When ctx ends, what is in hand may still be written within DrainTimeout; then it is handed back to
// the server. Run returns the cause of ctx's end, a *ConsumerError, a *DecodeError, or ErrRunning.
// One durable is for one Run at a time, in all processes: a second one makes the server deliver to
// both what neither has acknowledged.
func (c *Consumer) Run(ctx context.Context, dst sink.Sink) error {
	c.mu.Lock()
	if c.running {
		c.mu.Unlock()
		return ErrRunning
	}
	c.running = true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.running = false
	}()

	ctx, cancel := context.WithCancelCause(ctx)
	if c.cfg.Workers > 1 {
		dst = spread(dst, c.cfg.Workers)
	}
	var lane sync.WaitGroup
	if c.cfg.DeadLetters {
		lane.Go(func() { _ = c.read(ctx, dst, true) }) // it ends for the reasons for which the stream does
	}
	err := c.read(ctx, dst, false)
	cancel(err)
	lane.Wait()
	return err
}

func (c *Consumer) read(ctx context.Context, dst sink.Sink, lane bool) error {
	work, stop := outlive(ctx, c.cfg.DrainTimeout)
	defer stop()
	r := &reader{Consumer: c, cfg: c.cfg, lane: lane, conn: c.js.Conn(), ctx: ctx, work: work, dst: dst}
	r.backoff.Min, r.backoff.Max = c.cfg.RetryMin, c.cfg.RetryMax
	return r.run()
}

// outlive returns a context that ends some time after ctx, or at the call of stop.
func outlive(ctx context.Context, after time.Duration) (work context.Context, stop func()) {
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	unwatch := context.AfterFunc(ctx, func() {
		if after > 0 {
			timer := time.NewTimer(after)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-work.Done():
			}
		}
		cancel(context.Cause(ctx))
	})
	return work, func() { unwatch(); cancel(nil) }
}

// isPermanent reports whether a request that failed with err will never succeed.
func isPermanent(err error) bool { return errors.Is(err, ErrOldServer) || pull.IsPermanent(err) }
