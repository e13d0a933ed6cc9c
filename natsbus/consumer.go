package natsbus

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/natsbus/internal/check"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
	"github.com/marketprism/marketprism/natsbus/internal/tracing"
	"github.com/marketprism/marketprism/natsbus/signature"
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
// With DeadLetters, messages that are no records, and records that dst refuses (see Classify), are moved to the
// dead-letter stream, and all others of the batch are written in one Write; refused records that dst does not name are
// found by splitting the batch. The letters are stored after that Write, and all messages acknowledged in order: none is
// before each one ahead of it is in the sink or a letter. While no letter is accepted, no further batch is written behind
// the message that waits for one. Run then also reads the queue of re-drives, in which deadletter.Queue.Redrive puts dead
// letters, with the Origin that they had.
//
// When ctx ends, the current batches of the stream and of the re-drives may still be written and acknowledged within
// DrainTimeout. Run returns nil if they were, else the error; what was not written is returned to the server and comes
// again. Other errors are a *ConsumerError, a *DecodeError and ErrRunning. The first wraps ErrIncompatible if there is a
// durable of that name of another form, such as a push consumer. A durable must have one Run at a time, over all
// processes: a second one makes the server deliver to both what neither has acknowledged.
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
	var (
		redrives   sync.WaitGroup
		redriveErr error
	)
	if c.cfg.DeadLetters {
		redrives.Go(func() { redriveErr = c.read(ctx, dst, true) })
	}
	err := c.read(ctx, dst, false)
	cancel(err)
	redrives.Wait()
	if err == nil {
		return redriveErr
	}
	return err // for which the re-drives have ended too
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
	indexes := make([][]int, n) // of the records in the Write
	errs := make([]error, n)
	seed := maphash.MakeSeed()
	return sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
		for i := range parts {
			parts[i], indexes[i], errs[i] = parts[i][:0], indexes[i][:0], nil
		}
		for i := range recs {
			k := maphash.Comparable(seed, recs[i].Instrument) % uint64(n)
			parts[k], indexes[k] = append(parts[k], recs[i]), append(indexes[k], i)
		}
		var wg sync.WaitGroup
		for i, part := range parts {
			if len(part) > 0 {
				wg.Go(func() { errs[i] = dst.Write(ctx, part) })
			}
		}
		wg.Wait()
		for i, part := range parts {
			if refused := sink.Refused(errs[i], len(part)); len(refused) > 0 {
				for j := range refused {
					refused[j].Index = indexes[i][refused[j].Index]
				}
				errs[i] = &workerError{err: errs[i], refused: &sink.RefusedError{Records: refused}}
			}
			clear(part)
		}
		return errors.Join(errs...)
	})
}

// A workerError is the error of one of the concurrent Writes. The records that it names are those of the whole Write; for
// any other type it is the sink's own.
type workerError struct {
	err     error // of the sink
	refused *sink.RefusedError
}

func (e *workerError) Error() string {
	return fmt.Sprintf("natsbus: one of several concurrent Writes: %v", e.err)
}

func (e *workerError) Unwrap() error        { return e.refused }
func (e *workerError) Is(target error) bool { return errors.Is(e.err, target) }

func (e *workerError) As(target any) bool {
	_, names := target.(**sink.RefusedError)
	return !names && errors.As(e.err, target)
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
	switch {
	case errors.Is(e.Err, jetstream.ErrStreamNotFound):
		text += "; EnsureStreams makes it"
	case errors.Is(e.Err, ErrIncompatible):
		text += "; use another name, or delete that durable if nothing needs it (nats consumer rm)"
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

// A ConsumerConfig names a stream and a durable on it, and sets the bounds of a Consumer. Stream and Durable are
// required.
type ConsumerConfig struct {
	Stream  string
	Durable string // the name under which the server keeps the position of the Consumer

	// Filter limits the Consumer to subjects that match it, one wildcard pattern. "" means all. The server scans
	// all messages in either case, so several Consumers with a filter each cost more than one without.
	Filter string

	// Batch and BatchBytes bound one Write of the sink. At most two batches are in flight: one with the sink, and
	// the next one being fetched. 0 means 1000 records and 16 MiB.
	Batch      int
	BatchBytes int

	// FlushEvery is how long a batch that is not full waits for more. 0 means 250 ms.
	FlushEvery time.Duration

	// AckWait is how long the server waits for a sign of life before it delivers a message again. A slow or failing
	// sink does not matter: the Consumer sends a sign every third of it. 0 means 60 s.
	AckWait time.Duration

	// MaxAckPending bounds the unacknowledged messages that the server allows. 0 means twice Batch.
	MaxAckPending int

	// RetryMin and RetryMax bound the random delay before a batch is written again, and before a request to the
	// server is repeated: its bound doubles from the first to the second. 0 means 200 ms and 30 s.
	RetryMin, RetryMax time.Duration

	// DrainTimeout is how long Run may continue after ctx has ended, to write and acknowledge the current batch. 0
	// means 10 s, negative means not at all.
	DrainTimeout time.Duration

	// DeadLetters moves a message that cannot be decoded, or whose record the sink refuses, to the dead-letter
	// stream, with the cause in its headers (see DeadLettersStream), and continues. Without it, Run returns a
	// *DecodeError for the former, and writes the latter again as after any failure; the message stays in the
	// durable.
	DeadLetters bool

	// Classify returns the meaning of an error of the sink. nil means ClassifyError. It is called only where
	// DeadLetters is set.
	Classify func(error) Failure

	// MaxAttempts bounds the failures that Classify calls Unknown: of a batch before it is split, and of a record
	// before it becomes a dead letter. 0 means no limit.
	MaxAttempts int

	// Workers is the number of concurrent Writes of the sink, each with the records of other instruments; those of
	// one instrument stay in order. A batch is acknowledged when all its Writes have succeeded. 0 means 1, which is
	// right for a store: it wants all records of a stream in one Write.
	Workers int

	// MaxAhead is by how much a record's EventTime or ReceivedAt may be later than the time at which the server stored its
	// message. One of a later time is no record, as one that cannot be decoded: it would be an archive's newest for as long.
	// 0 means 24 h, more than a clock is wrong by that has been set to a local time; negative means any time. Old times are
	// not refused, since replays, backfills and queues on disk bring them.
	MaxAhead time.Duration

	// Verifier refuses messages that none of its keys has signed: they are no records, as those that cannot be decoded. It
	// refuses re-drives of letters that were too large for their headers. nil means that every message will do.
	Verifier *signature.Verifier

	// Trace records a span for each Write that contains a sampled record, in the trace of the first such record and
	// with links to all; the context of the Write has the span. The zero value is off. Ratio has no meaning here.
	Trace TraceConfig

	Hooks *Hooks // nil means none
}

func (cfg ConsumerConfig) withDefaults() (ConsumerConfig, error) {
	if err := check.Names("Stream", cfg.Stream, "Durable", cfg.Durable); err != nil {
		return cfg, fmt.Errorf("natsbus: %w", err)
	}
	if cfg.Batch < 0 || cfg.BatchBytes < 0 || cfg.MaxAckPending < 0 {
		return cfg, fmt.Errorf("natsbus: Batch %d, BatchBytes %d, MaxAckPending %d: want bounds of what is in flight", cfg.Batch, cfg.BatchBytes, cfg.MaxAckPending)
	}
	if cfg.FlushEvery < 0 || cfg.AckWait < 0 {
		return cfg, fmt.Errorf("natsbus: FlushEvery %v, AckWait %v: want a positive time", cfg.FlushEvery, cfg.AckWait)
	}
	defaults.Set(&cfg.Batch, 1000)
	defaults.Set(&cfg.BatchBytes, 16<<20)
	defaults.Set(&cfg.FlushEvery, 250*time.Millisecond)
	defaults.Set(&cfg.AckWait, time.Minute)
	defaults.Set(&cfg.MaxAckPending, 2*cfg.Batch)
	defaults.Set(&cfg.DrainTimeout, 10*time.Second)
	defaults.Set(&cfg.MaxAhead, 24*time.Hour)
	if cfg.MaxAckPending < cfg.Batch {
		return cfg, fmt.Errorf("natsbus: MaxAckPending %d is less than Batch %d", cfg.MaxAckPending, cfg.Batch)
	}
	if cfg.MaxAttempts < 0 || cfg.Workers < 0 {
		return cfg, fmt.Errorf("natsbus: MaxAttempts %d, Workers %d: want 0 or more", cfg.MaxAttempts, cfg.Workers)
	}
	defaults.Set(&cfg.Workers, 1)
	if cfg.Classify == nil {
		cfg.Classify = ClassifyError
	}
	if cfg.Hooks == nil {
		cfg.Hooks = &Hooks{}
	}
	if err := check.Retry(&cfg.RetryMin, &cfg.RetryMax, 200*time.Millisecond, 30*time.Second); err != nil {
		return cfg, fmt.Errorf("natsbus: %w", err)
	}
	return cfg, nil
}

// server returns a durable in the server's terms. MaxDeliver is unlimited, because the server skips a message that has
// reached it and reports that only by an advisory. BackOff is not set, because it would replace AckWait.
func (cfg ConsumerConfig) server(durable, filter string, redrives bool) jetstream.ConsumerConfig {
	about, role := "writes the records of "+cfg.Stream+" to a sink, and acknowledges what the sink has accepted", "consumer"
	if redrives {
		about, role = "reads the re-drives of the durable "+cfg.Durable+" of "+cfg.Stream, "redrives"
	}
	return jetstream.ConsumerConfig{
		Durable:       durable,
		Description:   pull.Description(about),
		Metadata:      pull.Metadata(role),
		FilterSubject: filter,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       cfg.AckWait,
		MaxDeliver:    -1,
		MaxAckPending: cfg.MaxAckPending,
	}
}

// A FailureClass is the meaning of an error of a sink, which decides what happens to the records.
type FailureClass uint8

// The classes of failure.
const (
	// Outage: the sink accepts nothing at present. The batch is written again, without limit; the records are not
	// to blame.
	Outage FailureClass = iota
	// Refusal: the sink will never accept some of the records. The Consumer finds them, and only they become dead
	// letters.
	Refusal
	// Unknown: it may be either. It is an Outage until ConsumerConfig.MaxAttempts is reached, and a Refusal from
	// then on.
	Unknown
)

// A Failure is a classified error of a sink. The zero Failure is an Outage.
type Failure struct {
	Class FailureClass

	// Refused are the records concerned, where the sink names them: the Consumer then writes the others again
	// together, and need not halve the batch to find them.
	Refused []sink.Refusal
}

// within returns the refused records that are among n.
func (f Failure) within(n int) []sink.Refusal {
	return sink.Refused(&sink.RefusedError{Records: f.Refused}, n)
}

// ClassifyError is the default of ConsumerConfig.Classify: an error for which sink.Permanent is true is a Refusal,
// every other one an Outage. The refused records are those of sink.Refused.
func ClassifyError(err error) Failure {
	if !sink.Permanent(err) {
		return Failure{}
	}
	return Failure{Class: Refusal, Refused: sink.Refused(err, math.MaxInt)}
}
