package deadletter

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
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/internal/check"
	"github.com/marketprism/marketprism/natsbus/internal/failure"
	"github.com/marketprism/marketprism/natsbus/internal/letter"
	"github.com/marketprism/marketprism/natsbus/internal/pull"
)

// The reasons of an AdvisoryWatch.
const (
	MaxDeliveries natsbus.DeadReason = "max_deliveries" // the server will not deliver the message any more
	Terminated    natsbus.DeadReason = "terminated"     // a program has ended its delivery
)

// AdvisoriesStream returns the default name of the stream of advisories: MD_ADVISORY for the prefix "md".
func AdvisoriesStream(prefix string) string { return check.StreamName(prefix, "_ADVISORY") }

// An AdvisoryConfig says where an AdvisoryWatch reads. The zero value is ready to use.
type AdvisoryConfig struct {
	Stream  string // of advisories; "" means that of natsbus.DefaultPrefix
	Durable string // under which the server keeps the position of the watch; "" means dead-letters

	// RetryMin and RetryMax bound the random delay after a failure of the server. 0 means 200 ms and 30 s.
	RetryMin, RetryMax time.Duration

	Hooks *Hooks // DeadLettered, Undecodable and ServerFailed are called; nil means none
}

// An AdvisoryWatch makes dead letters of messages that the server will not deliver any more, so that none vanishes:
// those that reached the MaxDeliver of a durable, whose program may have died each time, and those that a program has
// terminated without a dead letter of its own.
//
// The durables of Consumers have no MaxDeliver, so their messages never reach it; the watch is for durables that other
// programs have on the streams of market data. A message that both the program and the watch make a dead letter of is
// stored once. A re-drive of it waits for a Consumer whose durable has that name.
type AdvisoryWatch struct {
	js  jetstream.JetStream
	cfg AdvisoryConfig

	missedTo uint64 // stream sequence up to which missed advisories were counted

	mu    sync.Mutex
	stats AdvisoryStats
}

// AdvisoryStats counts the advisories of an AdvisoryWatch since it was made.
type AdvisoryStats struct {
	Advisories     uint64 // read and acknowledged
	Settled        uint64 // of those, the message was a dead letter already
	DeadLettered   uint64 // of those, the message has become one
	Malformed      uint64 // of those, the advisory could not be read
	Missed         uint64 // dropped by their stream, by its limits, before they were read; those before the last failure or Run
	ServerFailures uint64 // requests that failed and were repeated
}

// NewAdvisoryWatch returns a watch on the connection of js, which the caller opens and closes.
func NewAdvisoryWatch(js jetstream.JetStream, cfg AdvisoryConfig) (*AdvisoryWatch, error) {
	defaults.Set(&cfg.Stream, AdvisoriesStream(""))
	defaults.Set(&cfg.Durable, "dead-letters")
	if cfg.Hooks == nil {
		cfg.Hooks = &Hooks{}
	}
	err := check.Names("Stream", cfg.Stream, "Durable", cfg.Durable)
	if err == nil {
		err = check.Retry(&cfg.RetryMin, &cfg.RetryMax, 200*time.Millisecond, 30*time.Second)
	}
	if err != nil {
		return nil, fmt.Errorf("deadletter: %w", err)
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

// Run reads advisories. It blocks until ctx ends, and then returns nil; an advisory that was not acknowledged comes
// again. It returns a *natsbus.ConsumerError if the requests to the server will never succeed. Several may run at once,
// also in several processes.
func (w *AdvisoryWatch) Run(ctx context.Context) error {
	retry := backoff.Backoff{Min: w.cfg.RetryMin, Max: w.cfg.RetryMax}
	for failures := 1; ctx.Err() == nil; failures++ {
		err := w.read(ctx, func() { retry.Reset(); failures = 0 })
		if ctx.Err() != nil {
			break
		}
		if failure.IsPermanent(err) {
			return &natsbus.ConsumerError{Stream: w.cfg.Stream, Durable: w.cfg.Durable, Err: err}
		}
		wait := retry.Next()
		w.count(func(s *AdvisoryStats) { s.ServerFailures++ })
		hook.Call(w.cfg.Hooks.ServerFailed, natsbus.ServerFailedInfo{Attempt: failures, Wait: wait, Err: err})
		_ = backoff.Sleep(ctx, wait) // the loop checks ctx
	}
	return nil
}

const requestTimeout = 5 * time.Second

// read handles one advisory after the other until a request fails or ctx ends, and calls progress after each.
func (w *AdvisoryWatch) read(ctx context.Context, progress func()) error {
	durable, err := pull.EnsureDurable(ctx, w.js, w.cfg.Stream, jetstream.ConsumerConfig{
		Durable: w.cfg.Durable, Description: pull.Description("makes dead letters of the messages that the server gives up"),
		Metadata: pull.Metadata("advisory-watch"), AckPolicy: jetstream.AckExplicitPolicy, AckWait: 3 * requestTimeout, MaxDeliver: -1,
	})
	if err != nil {
		return err
	}
	if err := w.countMissed(ctx, durable.CachedInfo()); err != nil {
		return err
	}
	for ctx.Err() == nil {
		fetched, err := durable.Fetch(1, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return err
		}
		for msg := range fetched.Messages() {
			if err := w.handle(ctx, msg); err != nil {
				_ = msg.NakWithDelay(w.cfg.RetryMin) // otherwise it comes again after AckWait
				return err
			}
			progress()
		}
		if err := fetched.Error(); err != nil {
			return err
		}
	}
	return nil
}

// countMissed counts and reports the advisories that have left their stream since the durable read the last one: those
// after that one and before the first in the stream.
func (w *AdvisoryWatch) countMissed(ctx context.Context, durable *jetstream.ConsumerInfo) error {
	stream, err := w.js.Stream(ctx, w.cfg.Stream)
	if err != nil {
		return err
	}
	gone := max(stream.CachedInfo().State.FirstSeq, 1) - 1
	if gone < w.missedTo { // it was created again
		w.missedTo = 0
	}
	read := max(durable.Delivered.Stream, w.missedTo)
	if gone <= read {
		return nil
	}
	w.missedTo = gone
	w.count(func(s *AdvisoryStats) { s.Missed += gone - read })
	hook.Call(w.cfg.Hooks.Undecodable, natsbus.UndecodableInfo{
		Stream: w.cfg.Stream, Sequence: gone, Err: fmt.Errorf("deadletter: advisories %d to %d were dropped before they were read", read+1, gone),
	})
	return nil
}

// An advisory is the part that both kinds of advisory have in common.
type advisory struct {
	Stream     string    `json:"stream"`
	Consumer   string    `json:"consumer"`
	StreamSeq  uint64    `json:"stream_seq"`
	Deliveries uint64    `json:"deliveries"`
	Reason     string    `json:"reason"` // of a termination
	Time       time.Time `json:"timestamp"`
}

// handle acknowledges an advisory after the stream of dead letters has confirmed the letter.
func (w *AdvisoryWatch) handle(ctx context.Context, msg jetstream.Msg) error {
	var a advisory
	err := json.Unmarshal(msg.Data(), &a)
	exhausted := strings.Contains(msg.Subject(), ".MAX_DELIVERIES.")
	switch {
	case err != nil || a.Stream == "" || a.Consumer == "" || a.StreamSeq == 0:
		w.count(func(s *AdvisoryStats) { s.Malformed++ })
		hook.Call(w.cfg.Hooks.Undecodable, natsbus.UndecodableInfo{
			Stream: w.cfg.Stream, Subject: msg.Subject(), Err: fmt.Errorf("deadletter: advisory %.200q: a key is missing", msg.Data()),
		})
	case !exhausted && strings.HasPrefix(a.Reason, letter.TerminatedPrefix):
		w.count(func(s *AdvisoryStats) { s.Settled++ })
	default:
		if err := w.storeDeadLetter(ctx, a, exhausted); err != nil {
			return err
		}
	}
	acknowledging, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if err := msg.DoubleAck(acknowledging); err != nil {
		return err
	}
	w.count(func(s *AdvisoryStats) { s.Advisories++ })
	return nil
}

// storeDeadLetter publishes the dead letter, under the id that the program would have used.
func (w *AdvisoryWatch) storeDeadLetter(ctx context.Context, a advisory, exhausted bool) error {
	reason, err := Terminated, fmt.Errorf("it was terminated: %q", a.Reason)
	if exhausted {
		reason, err = MaxDeliveries, fmt.Errorf("it was delivered %d times and not acknowledged", a.Deliveries)
	}
	storing, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	origin, original, findErr := w.find(storing, a)
	if errors.Is(findErr, jetstream.ErrMsgNotFound) || errors.Is(findErr, jetstream.ErrStreamNotFound) {
		err = fmt.Errorf("%w; the message itself is gone", err)
	} else if findErr != nil {
		return findErr
	}
	gone := findErr != nil
	msg := letter.New(origin, original.Header, original.Data, letter.Cause{
		Reason: string(reason), Stage: letter.StageDeliver, Attempts: int(a.Deliveries), Deliveries: a.Deliveries, FailedAt: time.Now(), Err: err,
	})
	if gone {
		letter.SetBodySize(msg, letter.BodyGone)
	}
	ack, storeErr := letter.Store(storing, w.js, msg)
	if storeErr != nil {
		return failure.Explain(ctx, w.js, msg.Subject, storeErr)
	}
	if ack.Duplicate {
		w.count(func(s *AdvisoryStats) { s.Settled++ })
		return nil
	}
	w.count(func(s *AdvisoryStats) { s.DeadLettered++ })
	hook.Call(w.cfg.Hooks.DeadLettered, natsbus.DeadLetterInfo{
		Stream: origin.Stream, Sequence: origin.Sequence, Subject: origin.Subject, Reason: reason, Bodiless: letter.Bodiless(msg), Err: err,
	})
	return nil
}

// find returns the message of an advisory, with its origin. The origin is complete but for the subject if the message
// is gone.
func (w *AdvisoryWatch) find(ctx context.Context, a advisory) (letter.Origin, *jetstream.RawStreamMsg, error) {
	origin := letter.Origin{Stream: a.Stream, Consumer: a.Consumer, Sequence: a.StreamSeq, Subject: "gone"}
	stream, err := w.js.Stream(ctx, a.Stream)
	if err != nil {
		return origin, &jetstream.RawStreamMsg{}, err
	}
	if info := stream.CachedInfo(); !a.Time.IsZero() && a.Time.Before(info.Created) {
		// The stream was deleted and created again. Its message at that sequence is another one, now or later.
		origin.Source = a.Stream + "@gone"
		return origin, &jetstream.RawStreamMsg{}, jetstream.ErrMsgNotFound
	}
	origin.Source = pull.Source(stream.CachedInfo())
	msg, err := letter.Get(ctx, w.js, stream, a.StreamSeq, "")
	if err != nil {
		return origin, &jetstream.RawStreamMsg{}, err
	}
	origin.Subject, origin.StoredAt = msg.Subject, msg.Time
	msg.Header = maps.Clone(msg.Header) // without those that GetMsg adds
	for _, name := range []string{jetstream.StreamHeader, jetstream.SequenceHeader, jetstream.TimeStampHeaer, jetstream.SubjectHeader} {
		delete(msg.Header, name)
	}
	return origin, msg, nil
}
