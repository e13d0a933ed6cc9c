package natsbus

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/natsbus/internal/check"
	"github.com/marketprism/marketprism/sink"
)

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
func (cfg ConsumerConfig) server(durable, filter string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       durable,
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
	// Refusal: the sink will never accept one of the records. The Consumer finds it, and only it becomes a dead
	// letter.
	Refusal
	// Unknown: it may be either. It is an Outage until ConsumerConfig.MaxAttempts is reached, and a Refusal from
	// then on.
	Unknown
)

// A Failure is a classified error of a sink. The zero Failure is an Outage.
type Failure struct {
	Class FailureClass

	// Key is marketprism.Record.Key of the record concerned, where the sink names it: the Consumer then writes that
	// record alone at once, and need not halve the batch to find it.
	Key string
}

// ClassifyError is the default of ConsumerConfig.Classify: an error for which sink.Permanent is true is a Refusal,
// every other one an Outage. The Key of a Refusal is the result of the method RecordKey() string, where the error or
// one that it wraps has it.
func ClassifyError(err error) Failure {
	if !sink.Permanent(err) {
		return Failure{}
	}
	failure := Failure{Class: Refusal}
	var named interface{ RecordKey() string }
	if errors.As(err, &named) {
		failure.Key = named.RecordKey()
	}
	return failure
}
