package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/natsbus/internal/check"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
)

// advisorySubjects are those on which the server tells that it will not deliver a message of a stream
// any more: a durable has reached its MaxDeliver, or a program has ended the delivery.
func advisorySubjects(stream string) []string {
	return []string{
		"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES." + stream + ".*",
		"$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED." + stream + ".*",
	}
}

// An AdvisoryConfig says where an AdvisoryWatch reads. The zero value is ready to use.
type AdvisoryConfig struct {
	Stream  string // of advisories; "" means that of DefaultPrefix
	Durable string // under which the server keeps how far the watch has come; "" means dead-letters

	// RetryMin and RetryMax bound the random delay after a failure of the server. 0 means 200 ms and
	// 30 s.
	RetryMin, RetryMax time.Duration

	Hooks *Hooks // DeadLettered, Undecodable and ServerFailed are called; nil means none
}

// An AdvisoryWatch makes dead letters of messages that the server will not deliver any more, so that
// none vanishes: those that reached the MaxDeliver of a durable, whose program may have died each time,
// and those that a program has terminated without a dead letter of its own.
//
// The durables of Consumers have no MaxDeliver, so nothing of theirs is exhausted; the watch is for
// durables that other programs have on the streams of market data. A message that both the program and
// the watch make a dead letter of is stored once. Put back, it waits for a Consumer whose durable has
// that name.
type AdvisoryWatch struct {
	js  jetstream.JetStream
	cfg AdvisoryConfig

	mu    sync.Mutex
	stats AdvisoryStats
}

// AdvisoryStats counts what an AdvisoryWatch did since it was made.
type AdvisoryStats struct {
	Advisories     uint64 // read, of which
	Settled        uint64 // the message was a dead letter already
	DeadLettered   uint64 // it has become one
	Malformed      uint64 // the advisory says nothing that can be read
	ServerFailures uint64 // requests that failed and were repeated
}

// NewAdvisoryWatch returns a watch on the connection of js, which the caller opens and closes.
func NewAdvisoryWatch(js jetstream.JetStream, cfg AdvisoryConfig) (*AdvisoryWatch, error) {
	defaults.Set(&cfg.Stream, AdvisoriesStream(""))
	defaults.Set(&cfg.Durable, "dead-letters")
	if err := check.Names("Stream", cfg.Stream, "Durable", cfg.Durable); err != nil {
		return nil, fmt.Errorf("natsbus: %w", err)
	}
	if cfg.Hooks == nil {
		cfg.Hooks = &Hooks{}
	}
	if err := check.Retry(&cfg.RetryMin, &cfg.RetryMax, 200*time.Millisecond, 30*time.Second); err != nil {
		return nil, fmt.Errorf("natsbus: %w", err)
	}
	return &AdvisoryWatch{js: js, cfg: cfg}, nil
}

// Stats returns the counters. It may be called from any goroutine.
func (w *AdvisoryWatch) Stats() AdvisoryStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stats
}

func (w *AdvisoryWatch) count(change func(*AdvisoryStats)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.stats)
}

// Run reads advisories until ctx ends, whose cause it returns, or until asking the server again would
// not help: then the error is a *ConsumerError. Several may run at once, also in several processes.
func (w *AdvisoryWatch) Run(ctx context.Context) error {
	retry := backoff.Backoff{Min: w.cfg.RetryMin, Max: w.cfg.RetryMax}
	for failures := 1; ctx.Err() == nil; failures++ {
		err := w.read(ctx, func() { retry.Reset(); failures = 0 })
		if ctx.Err() != nil {
			break
		}
		if isPermanent(err) {
			return &ConsumerError{Stream: w.cfg.Stream, Durable: w.cfg.Durable, Err: err}
		}
		wait := retry.Next()
		w.count(func(s *AdvisoryStats) { s.ServerFailures++ })
		hook.Call(w.cfg.Hooks.ServerFailed, ServerFailedInfo{Attempt: failures, Wait: wait, Err: err})
		_ = backoff.Sleep(ctx, wait) // the loop looks at ctx
	}
	return context.Cause(ctx)
}

// read deals with one advisory after the other until something fails. What was not acknowledged comes
// again.
func (w *AdvisoryWatch) read(ctx context.Context, works func()) error {
	durable, err := w.js.CreateOrUpdateConsumer(ctx, w.cfg.Stream, jetstream.ConsumerConfig{
		Durable: w.cfg.Durable, AckPolicy: jetstream.AckExplicitPolicy, AckWait: 2 * ackTimeout, MaxDeliver: -1,
	})
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		fetched, err := durable.Fetch(1, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return err
		}
		for msg := range fetched.Messages() {
			if err := w.handle(ctx, msg); err != nil {
				_ = msg.NakWithDelay(w.cfg.RetryMin) // else it comes again after AckWait
				return err
			}
			works()
		}
		if err := fetched.Error(); err != nil {
			return err
		}
	}
	return nil
}

// An advisory is what both kinds have in common.
type advisory struct {
	Stream     string `json:"stream"`
	Consumer   string `json:"consumer"`
	StreamSeq  uint64 `json:"stream_seq"`
	Deliveries uint64 `json:"deliveries"`
	Reason     string `json:"reason"` // of a termination
}

// handle acknowledges an advisory after the stream of dead letters has confirmed the letter.
func (w *AdvisoryWatch) handle(ctx context.Context, msg jetstream.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	var told advisory
	err := json.Unmarshal(msg.Data(), &told)
	exhausted := strings.Contains(msg.Subject(), ".MAX_DELIVERIES.")
	switch {
	case err != nil || told.Stream == "" || told.Consumer == "" || told.StreamSeq == 0:
		w.count(func(s *AdvisoryStats) { s.Malformed++ })
		hook.Call(w.cfg.Hooks.Undecodable, UndecodableInfo{
			Stream: w.cfg.Stream, Subject: msg.Subject(), Err: fmt.Errorf("natsbus: advisory %.200q: %w", msg.Data(), ErrMissing),
		})
	case !exhausted && strings.HasPrefix(told.Reason, terminatedByUs):
		w.count(func(s *AdvisoryStats) { s.Settled++ })
	default:
		if err := w.bury(ctx, told, exhausted); err != nil {
			return err
		}
	}
	if err := msg.DoubleAck(ctx); err != nil {
		return err
	}
	w.count(func(s *AdvisoryStats) { s.Advisories++ })
	return nil
}

// bury publishes the dead letter, under the id that the program would have used.
func (w *AdvisoryWatch) bury(ctx context.Context, told advisory, exhausted bool) error {
	why := cause{stage: stageDeliver, attempts: int(told.Deliveries), deliveries: told.Deliveries, failedAt: time.Now()}
	if exhausted {
		why.reason, why.err = DeadMaxDeliveries, fmt.Errorf("it was delivered %d times and not acknowledged", told.Deliveries)
	} else {
		why.reason, why.err = DeadTerminated, fmt.Errorf("it was terminated: %q", told.Reason)
	}
	at, msg, err := w.find(ctx, told)
	if errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		why.err = fmt.Errorf("%w; the message itself is gone", why.err)
	} else if err != nil {
		return err
	}
	letter := newLetter(at, msg.Header, msg.Data, why)
	ack, err := storeLetter(ctx, w.js, letter)
	if err != nil {
		return err
	}
	if ack.Duplicate {
		w.count(func(s *AdvisoryStats) { s.Settled++ })
		return nil
	}
	w.count(func(s *AdvisoryStats) { s.DeadLettered++ })
	hook.Call(w.cfg.Hooks.DeadLettered, DeadLetterInfo{
		Stream: at.stream, Sequence: at.sequence, Subject: at.subject, Reason: why.reason, Bodiless: bodiless(letter), Err: why.err,
	})
	return nil
}

// find returns the message that an advisory is about. If it is gone, the place is known all the same.
func (w *AdvisoryWatch) find(ctx context.Context, told advisory) (place, *jetstream.RawStreamMsg, error) {
	at := place{stream: told.Stream, consumer: told.Consumer, sequence: told.StreamSeq, subject: "gone"}
	stream, err := w.js.Stream(ctx, told.Stream)
	if err != nil {
		return at, &jetstream.RawStreamMsg{}, err
	}
	at.source = pull.Source(stream.CachedInfo())
	msg, err := stream.GetMsg(ctx, told.StreamSeq)
	if err != nil {
		return at, &jetstream.RawStreamMsg{}, err
	}
	at.subject, at.storedAt = msg.Subject, msg.Time
	// A message read in this way has headers of the server's that its publisher did not set.
	msg.Header = maps.Clone(msg.Header)
	for _, name := range []string{jetstream.StreamHeader, jetstream.SequenceHeader, jetstream.TimeStampHeaer, jetstream.SubjectHeader} {
		delete(msg.Header, name)
	}
	return at, msg, nil
}
