package natsbus

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/natsbus/internal/check"
)

// A ConsumerConfig names a stream and a place in it, and sets the bounds of a Consumer. Stream and
// Durable are required.
type ConsumerConfig struct {
	Stream  string
	Durable string // the name under which the server keeps how far the Consumer has come

	// Filter limits the Consumer to subjects that match it, one wildcard pattern. "" means all. The
	// server looks at every message all the same, so several Consumers with a filter each cost more
	// than one without.
	Filter string

	// Batch and BatchBytes bound what one Write of the sink gets. Two batches are in hand at most: one
	// with the sink, one being fetched meanwhile. 0 means 1000 records and 16 MiB.
	Batch      int
	BatchBytes int

	// FlushEvery is how long a batch that is not full waits for more. 0 means 250 ms.
	FlushEvery time.Duration

	// AckWait is after how long the server takes a Consumer that says nothing to be dead. A slow or
	// failing sink does not matter: the Consumer says every third of it that it is at work. 0 means
	// 60 s.
	AckWait time.Duration

	// MaxAckPending is how many messages the server lets be unacknowledged. 0 means twice Batch.
	MaxAckPending int

	// RetryMin and RetryMax bound the random delay before a batch that the sink refused is written
	// again, and before the server is asked again after a failure: its bound doubles from the first to
	// the second. 0 means 200 ms and 30 s.
	RetryMin, RetryMax time.Duration

	// DrainTimeout is how long Run goes on after its ctx ended, to get the batch in hand written and
	// acknowledged. 0 means 10 s, negative means not at all.
	DrainTimeout time.Duration

	// DeadLetters says what becomes of a message that cannot be decoded, or whose record the sink will
	// never take. False: for the first Run returns a *DecodeError, the second is written again as after
	// any failure; in both cases the message stays where it is. True: the message is moved to the
	// dead-letter stream with the cause in its headers (see DeadLettersStream), and Run goes on.
	DeadLetters bool

	// Classify tells what an error of the sink is about. nil means ClassifyError. It is asked only where
	// DeadLetters is set.
	Classify func(error) Failure

	// MaxAttempts is how many failures that Classify calls Unknown a batch may have before it is parted,
	// and a record before it becomes a dead letter. 0 means no limit.
	MaxAttempts int

	// Workers is how many Writes of the sink run at once, each with the records of other instruments;
	// those of one instrument stay in order. A batch is acknowledged when all its Writes have succeeded.
	// 0 means 1, which is right for a store: it wants all records of a stream in one Write.
	Workers int

	// Trace has the Writes that records are in which are followed recorded as spans, in the trace of the
	// first such record and with links to all; the context that the sink gets has the span. The zero
	// value is off. Ratio has no meaning here.
	Trace TraceConfig

	Hooks *Hooks // nil means none
}

func (cfg ConsumerConfig) withDefaults() (ConsumerConfig, error) {
	if err := check.Names("Stream", cfg.Stream, "Durable", cfg.Durable); err != nil {
		return cfg, fmt.Errorf("natsbus: %w", err)
	}
	if cfg.Batch < 0 || cfg.BatchBytes < 0 || cfg.MaxAckPending < 0 {
		return cfg, fmt.Errorf("natsbus: Batch %d, BatchBytes %d, MaxAckPending %d: what is in flight cannot be unbounded", cfg.Batch, cfg.BatchBytes, cfg.MaxAckPending)
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

// server returns the durable in the server's terms. MaxDeliver is unlimited, because the server
// passes over a message that has reached it and tells nobody but by an advisory. BackOff is not set, because it would
// take the place of AckWait.
func (cfg ConsumerConfig) server() jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       cfg.Durable,
		FilterSubject: cfg.Filter,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       cfg.AckWait,
		MaxDeliver:    -1,
		MaxAckPending: cfg.MaxAckPending,
	}
}
