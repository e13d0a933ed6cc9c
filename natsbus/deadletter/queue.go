package deadletter

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/internal/failure"
	"github.com/marketprism/marketprism/natsbus/internal/letter"
	"github.com/marketprism/marketprism/natsbus/internal/tracing"
)

// ErrNotFound is the error of Queue.Get for a sequence without a dead letter.
var ErrNotFound = errors.New("deadletter: no dead letter at that sequence")

// A Queue is a stream of dead letters. Reading changes nothing: a letter leaves the stream by Redrive, by Purge, or by
// the limits of the stream. All methods may be called concurrently.
type Queue struct {
	js     jetstream.JetStream
	stream string

	redriven, purged, failed atomic.Uint64
}

// New returns the Queue in a stream, such as natsbus.DeadLettersStream names.
func New(js jetstream.JetStream, stream string) *Queue {
	return &Queue{js: js, stream: stream}
}

// Counts counts the operations of one Queue since it was made.
type Counts struct {
	Redriven uint64 // letters re-driven
	Purged   uint64 // letters removed for good
	Failed   uint64 // attempts to re-drive or remove a letter that failed
}

// Counts returns the counters.
func (q *Queue) Counts() Counts {
	return Counts{Redriven: q.redriven.Load(), Purged: q.purged.Load(), Failed: q.failed.Load()}
}

// An Error is a failure to read, re-drive or remove a dead letter. A failure of the server may pass; calling again
// continues where the call ended.
type Error struct {
	Op       string // "read", "redrive" or "purge"
	Stream   string // of dead letters
	Sequence uint64 // of the letter, or of the first that was not read
	Err      error
}

func (e *Error) Error() string {
	return fmt.Sprintf("deadletter: %s dead letter %d of stream %s: %v", e.Op, e.Sequence, e.Stream, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

func (q *Queue) fail(op string, sequence uint64, err error) error {
	return &Error{Op: op, Stream: q.stream, Sequence: sequence, Err: err}
}

// lookUp returns the stream. Its error is a *natsbus.StreamError.
func (q *Queue) lookUp(ctx context.Context) (jetstream.Stream, error) {
	stream, err := q.js.Stream(ctx, q.stream)
	if err != nil {
		return nil, &natsbus.StreamError{Stream: q.stream, Op: "look up", Err: err}
	}
	return stream, nil
}

// List yields the letters that match and are in the stream at the call, oldest first; those that are removed
// meanwhile are skipped. If it fails, the last yield has the error, an *Error or a *natsbus.StreamError. It sends the
// server one request for each letter.
func (q *Queue) List(ctx context.Context, filter Filter) iter.Seq2[*Letter, error] {
	return func(yield func(*Letter, error) bool) {
		stream, err := q.lookUp(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		pattern, last := filter.pattern(), stream.CachedInfo().State.LastSeq
		for next := uint64(1); next <= last; next++ {
			msg, err := letter.Get(ctx, q.js, stream, next, pattern)
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return
			}
			if err != nil {
				yield(nil, q.fail("read", next, err))
				return
			}
			if next = msg.Sequence; next > last {
				return
			}
			if l := parse(msg); filter.match(l) && !yield(l, nil) {
				return
			}
		}
	}
}

// Get returns the letter at a sequence. Its error wraps ErrNotFound if there is none.
func (q *Queue) Get(ctx context.Context, sequence uint64) (*Letter, error) {
	stream, err := q.lookUp(ctx)
	if err != nil {
		return nil, err
	}
	msg, err := letter.Get(ctx, q.js, stream, sequence, "")
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		err = fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	if err != nil {
		return nil, q.fail("read", sequence, err)
	}
	return parse(msg), nil
}

// Purge removes the letters that match for good, and returns how many it has removed.
func (q *Queue) Purge(ctx context.Context, filter Filter) (int, error) {
	purged := 0
	for l, err := range q.List(ctx, filter) {
		if err != nil {
			return purged, err
		}
		if err := q.remove(ctx, "purge", l); err != nil {
			q.failed.Add(1)
			return purged, err
		}
		purged++
		q.purged.Add(1)
	}
	return purged, nil
}

// remove deletes a letter from the stream. A letter that is not there any more is no error.
func (q *Queue) remove(ctx context.Context, op string, l *Letter) error {
	stream, err := q.js.Stream(ctx, q.stream)
	if err == nil {
		err = stream.DeleteMsg(ctx, l.Sequence)
	}
	if err != nil && !isGone(err) {
		return q.fail(op, l.Sequence, err)
	}
	return nil
}

// isGone reports whether a message could not be deleted because it is not there. The client library gives only the text
// of the server's error: "no message found" (10057), and in a cluster "sequence 7 not found" (10043; nats-server,
// errors.json).
func isGone(err error) bool {
	return errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) &&
		(strings.Contains(err.Error(), "no message found") || strings.Contains(err.Error(), "err_code=10043"))
}

// Stats counts the dead letters in a stream.
type Stats struct {
	Letters int
	Bytes   int // of their bodies

	ByReason  map[natsbus.DeadReason]int
	BySubject map[string]int // of the originals

	Oldest, Newest time.Time // FailedAt; zero if there are none
}

// Stats reads all letters and counts them.
func (q *Queue) Stats(ctx context.Context) (Stats, error) {
	stats := Stats{ByReason: make(map[natsbus.DeadReason]int), BySubject: make(map[string]int)}
	for l, err := range q.List(ctx, Filter{}) {
		if err != nil {
			return stats, err
		}
		stats.Letters++
		stats.Bytes += len(l.Body)
		stats.ByReason[l.Reason]++
		stats.BySubject[l.Subject]++
		if stats.Oldest.IsZero() || l.FailedAt.Before(stats.Oldest) {
			stats.Oldest = l.FailedAt
		}
		if l.FailedAt.After(stats.Newest) {
			stats.Newest = l.FailedAt
		}
	}
	return stats, nil
}

// A RedriveConfig bounds one Redrive. The zero value is ready to use.
type RedriveConfig struct {
	DryRun bool // nothing is moved; the report says what would be
	Rate   int  // letters a second; 0 means 100, negative means no limit
	Max    int  // letters re-driven at most; 0 means no limit

	// MaxRedrives is how often a letter may be re-driven in all. A letter at this bound stays in the stream, so
	// that no message circulates without end. 0 means 3, negative means no limit.
	MaxRedrives int

	// Trace records a span for each re-driven letter, in the trace in which it became a letter. The zero value is
	// off. Ratio has no meaning here.
	Trace natsbus.TraceConfig

	// Moved is called with each letter that was re-driven, or would be, on the goroutine of Redrive. It may be nil.
	Moved func(*Letter)
}

// A RedriveReport counts the letters that a Redrive selected.
type RedriveReport struct {
	Redriven  int // re-driven, or would be
	Exhausted int // left because they have reached MaxRedrives
	Foreign   int // left because they do not say where they came from: another program wrote them
	TooLarge  int // left because their body did not fit, see Letter.BodySize, or they do not fit the stream of re-drives
	Gone      int // left because the message was gone before it became a letter, see Letter.BodySize
	Stranded  int // left because no stream takes re-drives of their durable; the error of Redrive names the first
}

// Redrive moves the letters that filter selects back to the durable that could not use them, oldest first, and removes
// each from the stream when the server has confirmed its re-drive. The durable's Consumer reads re-drives beside its
// stream, with the Origin that the records had. One that fails again becomes a dead letter again, with one more in
// Redrives.
//
// A Redrive that is interrupted may leave a letter in the stream that it has re-driven. Repeated within the dedupe
// window of the stream of re-drives, it stores no second copy.
//
// The error is an *Error, a *natsbus.StreamError or the end of ctx; the report is valid all the same. An *Error that
// wraps natsbus.ErrNoStream says that letters were left because no stream takes their re-drives, see
// RedriveReport.Stranded; all others were re-driven.
func (q *Queue) Redrive(ctx context.Context, filter Filter, cfg RedriveConfig) (RedriveReport, error) {
	var report RedriveReport
	if cfg.Max < 0 {
		return report, fmt.Errorf("deadletter: Max %d is negative", cfg.Max)
	}
	defaults.Set(&cfg.Rate, 100)
	defaults.Set(&cfg.MaxRedrives, 3)
	tracer, err := tracing.New(cfg.Trace.Provider, cfg.Trace.Ratio)
	if err != nil {
		return report, fmt.Errorf("deadletter: %w", err)
	}
	var stranded error
	missing := make(strandedAt)
	for l, err := range q.List(ctx, filter) {
		switch {
		case err != nil:
			return report, err
		case !l.complete():
			report.Foreign++
			continue
		case l.gone():
			report.Gone++
			continue
		case l.bodiless():
			report.TooLarge++
			continue
		case cfg.MaxRedrives > 0 && l.Redrives >= cfg.MaxRedrives:
			report.Exhausted++
			continue
		case cfg.Max > 0 && report.Redriven >= cfg.Max:
			return report, stranded
		}
		if !cfg.DryRun {
			if cfg.Rate > 0 && report.Redriven > 0 {
				if err := backoff.Sleep(ctx, time.Second/time.Duration(cfg.Rate)); err != nil {
					return report, context.Cause(ctx)
				}
			}
			switch err := q.move(ctx, l, &tracer, missing); {
			case errors.Is(err, natsbus.ErrTooLarge):
				report.TooLarge++
				continue
			case errors.Is(err, natsbus.ErrNoStream):
				report.Stranded++
				defaults.Set(&stranded, err)
				continue
			case err != nil:
				return report, err
			}
		}
		report.Redriven++
		if cfg.Moved != nil {
			cfg.Moved(l)
		}
	}
	return report, stranded
}

// strandedAt has the durables without a stream for their re-drives, with the error of the first attempt: while another
// program listens on the subject, each attempt would cost moveTimeout.
type strandedAt map[durableName]error

type durableName struct{ stream, consumer string }

const moveTimeout = 5 * time.Second

// move publishes the re-drive of a letter, removes the letter and counts it.
func (q *Queue) move(ctx context.Context, l *Letter, t *tracing.Tracer, missing strandedAt) error {
	durable := durableName{l.Stream, l.Consumer}
	err := missing[durable]
	if err == nil {
		err = q.publishRedrive(ctx, l, t)
	}
	if errors.Is(err, natsbus.ErrNoStream) {
		missing[durable] = err
	}
	if err != nil {
		err = q.fail("redrive", l.Sequence, err)
	} else {
		err = q.remove(ctx, "redrive", l)
	}
	if err != nil {
		q.failed.Add(1)
		return err
	}
	q.redriven.Add(1)
	return nil
}

// publishRedrive publishes the re-drive of a letter, and returns its failure classified.
func (q *Queue) publishRedrive(ctx context.Context, l *Letter, t *tracing.Tracer) error {
	msg := l.redrive()
	span := t.StartRedrive(ctx, l.header, l.Redrives+1, msg)
	publishing, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	_, err := q.js.PublishMsg(publishing, msg)
	tracing.End(span, err)
	if err != nil {
		return failure.Explain(ctx, q.js, msg.Subject, err)
	}
	return nil
}
