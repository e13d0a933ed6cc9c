package deadletter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/internal/failure"
	"github.com/marketprism/marketprism/natsbus/internal/tracing"
)

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
}

// Redrive moves the letters that filter selects back to the durable that could not use them, oldest first, and removes
// each from the stream when the server has confirmed its re-drive. The durable's Consumer reads re-drives beside its
// stream, with the Origin that the records had. One that fails again becomes a dead letter again, with one more in
// Redrives.
//
// A Redrive that is interrupted may leave a letter in the stream that it has re-driven. Repeated within the dedupe
// window of the stream of re-drives, it stores no second copy.
//
// The error is an *Error, a *natsbus.StreamError or the end of ctx; the report is valid all the same.
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
	for l, err := range q.List(ctx, filter) {
		switch {
		case err != nil:
			return report, err
		case !l.complete():
			report.Foreign++
			continue
		case l.bodiless():
			report.TooLarge++
			continue
		case cfg.MaxRedrives > 0 && l.Redrives >= cfg.MaxRedrives:
			report.Exhausted++
			continue
		case cfg.Max > 0 && report.Redriven >= cfg.Max:
			return report, nil
		}
		if !cfg.DryRun {
			if cfg.Rate > 0 && report.Redriven > 0 {
				if err := backoff.Sleep(ctx, time.Second/time.Duration(cfg.Rate)); err != nil {
					return report, context.Cause(ctx)
				}
			}
			if err := q.move(ctx, l, &tracer); errors.Is(err, natsbus.ErrTooLarge) {
				report.TooLarge++
				continue
			} else if err != nil {
				return report, err
			}
		}
		report.Redriven++
		if cfg.Moved != nil {
			cfg.Moved(l)
		}
	}
	return report, nil
}

const moveTimeout = 10 * time.Second

// move publishes the re-drive of a letter, removes the letter and counts it.
func (q *Queue) move(ctx context.Context, l *Letter, t *tracing.Tracer) error {
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	msg := l.redrive()
	span := t.StartRedrive(ctx, l.header, l.Redrives+1, msg)
	_, err := q.js.PublishMsg(ctx, msg)
	tracing.End(span, err)
	switch {
	case err == nil:
		err = q.remove(ctx, "redrive", l)
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		err = q.fail("redrive", l.Sequence, fmt.Errorf("%w: %w", natsbus.ErrNoStream, err))
	default:
		err = q.fail("redrive", l.Sequence, failure.Classify(err))
	}
	if err != nil {
		q.failed.Add(1)
		return err
	}
	q.redriven.Add(1)
	return nil
}
