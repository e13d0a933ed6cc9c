package natsbus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/defaults"
)

// A RedriveConfig bounds one Redrive. The zero value is ready to use.
type RedriveConfig struct {
	DryRun bool // nothing is moved; the report says what would be
	Rate   int  // letters a second; 0 means 100, negative means no limit
	Max    int  // letters put back at most; 0 means no limit

	// MaxRedrives is how often a letter may be put back in all. One that has been as often stays where
	// it is, so that no message circles for ever. 0 means 3, negative means no limit.
	MaxRedrives int

	// Trace has every letter that is put back recorded as a span, in the trace in which it became a
	// letter. The zero value is off. Ratio has no meaning here.
	Trace TraceConfig

	// Moved is called with each letter that was put back, or would be, on the goroutine of Redrive. nil
	// means that nobody is told.
	Moved func(*DeadLetter)
}

// A RedriveReport counts what a Redrive did with the letters selected.
type RedriveReport struct {
	Redriven  int // put back, or would be
	Exhausted int // left, because MaxRedrives was reached
	Foreign   int // left, because they do not say where they came from: not written by this package
	TooLarge  int // left, because they have no room for their body, see DeadLetter.BodySize, or the lane has none for them
}

// Redrive puts the letters that filter selects back for the durable that could not use them, oldest
// first, and takes each out of the stream when the bus has confirmed that it has it. Its Consumer reads
// them from a lane of their own, beside its stream, with the Origin that they had; what fails again
// becomes a dead letter again, with one more in Redrives.
//
// A Redrive that was cut off may have put back a letter that is in the stream still. Repeated within
// the dedupe window of the re-drive stream, it drops the second copy.
//
// The error is a *DeadLetterError, a *StreamError or the end of ctx; the report is right all the same.
func (d *DeadLetters) Redrive(ctx context.Context, filter DeadLetterFilter, cfg RedriveConfig) (RedriveReport, error) {
	var report RedriveReport
	if cfg.Max < 0 {
		return report, fmt.Errorf("natsbus: Max %d is negative", cfg.Max)
	}
	defaults.Set(&cfg.Rate, 100)
	defaults.Set(&cfg.MaxRedrives, 3)
	tracer, err := cfg.Trace.tracer()
	if err != nil {
		return report, err
	}
	for letter, err := range d.List(ctx, filter) {
		switch {
		case err != nil:
			return report, err
		case !letter.known():
			report.Foreign++
			continue
		case letter.BodySize != len(letter.Body):
			report.TooLarge++
			continue
		case cfg.MaxRedrives > 0 && letter.Redrives >= cfg.MaxRedrives:
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
			if err := d.move(ctx, letter, &tracer); errors.Is(err, ErrTooLarge) {
				report.TooLarge++
				continue
			} else if err != nil {
				return report, err
			}
		}
		report.Redriven++
		if cfg.Moved != nil {
			cfg.Moved(letter)
		}
	}
	return report, nil
}

// move puts a letter back and counts it.
func (d *DeadLetters) move(ctx context.Context, letter *DeadLetter, t *tracer) error {
	if err := d.putBack(ctx, letter, t); err != nil {
		d.failures.Add(1)
		return err
	}
	d.redriven.Add(1)
	return nil
}

// known tells whether a letter says where it came from.
func (l *DeadLetter) known() bool {
	_, ok := parsePlace(l.raw)
	return ok
}

// putBack publishes a letter in the lane and then removes it.
func (d *DeadLetters) putBack(ctx context.Context, letter *DeadLetter, t *tracer) error {
	ctx, cancel := context.WithTimeout(ctx, redriveTimeout)
	defer cancel()
	msg := letter.redrive()
	span := t.redrive(ctx, letter, msg)
	_, err := d.js.PublishMsg(ctx, msg)
	endSpan(span, err)
	if err != nil {
		if errors.Is(err, jetstream.ErrNoStreamResponse) {
			err = fmt.Errorf("%w: %w", ErrNoStream, err)
		} else {
			err = classify(err)
		}
		return d.failed("redrive", letter.Sequence, err)
	}
	return d.remove(ctx, "redrive", letter)
}

const redriveTimeout = 10 * time.Second

// redrive returns the message that goes into the lane: the letter with its headers, which say where
// it stood first, under an id that is the same however often this is tried.
func (l *DeadLetter) redrive() *nats.Msg {
	header := make(nats.Header, len(l.raw)+2)
	for name, values := range l.raw {
		if !hasPrefixFold(name, "Nats-") {
			header[name] = values
		}
	}
	header[jetstream.MsgIDHeader] = []string{deadMsgID("redrive", l.Source, l.raw.Get(HeaderDeadID))}
	header[HeaderDeadRedrives] = []string{strconv.Itoa(l.Redrives + 1)}
	return &nats.Msg{Subject: redriveSubject(l.Stream, l.Consumer, l.Subject), Header: header, Data: l.Body}
}
