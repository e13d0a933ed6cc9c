package natsbus

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus/internal/tracing"
	"github.com/marketprism/marketprism/sink"
)

// A Consumer reads a stream through a durable and writes its records to a sink, in the order of the stream. It
// acknowledges a message only after the sink has accepted its record.
type Consumer struct {
	cfg   ConsumerConfig
	js    jetstream.JetStream
	trace tracing.Tracer

	// delivering is held by the reader that delivers a batch or calls a hook: the sink gets one Write at a time,
	// from the stream or from the queue of re-drives.
	delivering sync.Mutex

	mu      sync.Mutex
	running bool
	stats   ConsumerStats
}

// NewConsumer returns a Consumer on the connection of js, which the caller opens and closes. It fails if cfg is
// contradictory; a missing stream shows in Run.
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

// Run reads the stream from the first message that the durable has not acknowledged, and writes to dst. It blocks
// until ctx ends. Every record has its Origin set. dst gets one Write at a time, with records in the order of the
// stream, unless ConsumerConfig.Workers is more than 1; a record may come again, with the same Origin, after a failure.
//
// While dst fails, the current batch is written again after a growing delay, without limit: nothing is acknowledged or
// skipped, and no more than the next batch is fetched. While the server is away, Run waits for it.
//
// With DeadLetters, a record that dst refuses (see Classify) is found by splitting its batch, and moved to the
// dead-letter stream; those before and after it are written and acknowledged in order. Run then also reads the queue
// of re-drives, in which deadletter.Queue.Redrive puts dead letters, with the Origin that they had.
//
// When ctx ends, the current batch may still be written and acknowledged within DrainTimeout. Run returns nil if it
// was, else the error; what was not written is returned to the server and comes again. Other errors are a
// *ConsumerError, a *DecodeError and ErrRunning. A durable must have one Run at a time, over all processes: a second
// one makes the server deliver to both what neither has acknowledged.
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
	var redrives sync.WaitGroup
	if c.cfg.DeadLetters {
		redrives.Go(func() { _ = c.read(ctx, dst, true) }) // it ends for the same reasons as the stream
	}
	err := c.read(ctx, dst, false)
	cancel(err)
	redrives.Wait()
	return err
}

// read reads the stream, or the queue of re-drives, until ctx ends.
func (c *Consumer) read(ctx context.Context, dst sink.Sink, redrives bool) error {
	work, stop := outlive(ctx, c.cfg.DrainTimeout)
	defer stop()
	r := newReader(c, dst, redrives)
	return r.run(ctx, work)
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

// spread returns a sink that divides each Write by instrument into up to n concurrent Writes of dst. All kinds of an
// instrument stay together, because a snapshot and the updates after it have an order. A Write returns when all have
// returned, and must not be called concurrently.
func spread(dst sink.Sink, n int) sink.Sink {
	parts := make([][]marketprism.Record, n)
	errs := make([]error, n)
	seed := maphash.MakeSeed()
	return sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
		for i := range parts {
			parts[i], errs[i] = parts[i][:0], nil
		}
		for i := range recs {
			k := maphash.Comparable(seed, recs[i].Instrument) % uint64(n)
			parts[k] = append(parts[k], recs[i])
		}
		var wg sync.WaitGroup
		for i, part := range parts {
			if len(part) > 0 {
				wg.Go(func() { errs[i] = dst.Write(ctx, part) })
			}
		}
		wg.Wait()
		for _, part := range parts {
			clear(part)
		}
		return errors.Join(errs...)
	})
}

// Lag asks the server how far the durable is behind. The error is a *ConsumerError, which wraps
// jetstream.ErrConsumerNotFound as long as Run has not made the durable.
func (c *Consumer) Lag(ctx context.Context) (ConsumerLag, error) {
	durable, err := c.js.Consumer(ctx, c.cfg.Stream, c.cfg.Durable)
	if err != nil {
		return ConsumerLag{}, &ConsumerError{Stream: c.cfg.Stream, Durable: c.cfg.Durable, Err: err}
	}
	info := durable.CachedInfo() // of this request
	return ConsumerLag{Pending: info.NumPending, AckPending: info.NumAckPending, At: time.Now().UTC()}, nil
}

// ConsumerLag is how far a durable is behind.
type ConsumerLag struct {
	Pending    uint64 // messages that were not delivered yet
	AckPending int    // delivered and not acknowledged
	At         time.Time
}

// A ConsumerError is a failure of a durable that waiting does not cure.
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

// A DecodeError is the message that stopped Run because it is no record. It has not been acknowledged: the next Run
// will read it again. Err is a *CodecError.
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
