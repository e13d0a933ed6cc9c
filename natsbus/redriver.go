package natsbus

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/hook"
)

// A Redriver puts dead letters back by itself, as its policies say, until each has been used or has been
// put back as often as its policy allows. Such a letter is in quarantine: it stays in the stream and is
// left alone, until somebody calls DeadLetters.Redrive with a higher MaxRedrives, or purges it.
//
// A letter leaves the stream when the bus has confirmed that the re-drive lane has it, and not before.
// Several may run at once, also in several processes.
type Redriver struct {
	dead   *DeadLetters
	cfg    RedriverConfig
	tracer tracer

	mu    sync.Mutex
	stats RedriverStats
	known map[uint64]bool // sequences of the letters in quarantine
}

// RedriverStats counts what a Redriver did since it was made.
type RedriverStats struct {
	Passes   uint64 // times that it read all letters
	Redriven uint64 // letters put back
	Failures uint64 // requests that the server did not answer; they are repeated

	// As the last pass found the letters that it has left where they are:
	Waiting    int // until their Delay has passed
	Quarantine int // put back as often as their policy allows
	Left       int // without a policy, too large to be put back, or not written by this package
}

// NewRedriver returns a Redriver of the letters in dead. It fails if cfg is contradictory; whether the
// stream is there shows in Run.
func NewRedriver(dead *DeadLetters, cfg RedriverConfig) (*Redriver, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	t, err := cfg.Trace.tracer()
	if err != nil {
		return nil, err
	}
	return &Redriver{dead: dead, cfg: cfg, tracer: t, known: make(map[uint64]bool)}, nil
}

// Stats returns the counters. It may be called from any goroutine.
func (r *Redriver) Stats() RedriverStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats
}

// Run looks through the letters again and again until ctx ends, whose cause it returns. It waits for a
// server that is away, and returns a *StreamError if the stream of dead letters is not there. It is for
// one goroutine.
func (r *Redriver) Run(ctx context.Context) error {
	retry := backoff.Backoff{Min: r.cfg.RetryMin, Max: r.cfg.RetryMax}
	for failures := 0; ctx.Err() == nil; {
		wait := r.cfg.Every
		switch err := r.pass(ctx); {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, jetstream.ErrStreamNotFound):
			return err
		case err != nil:
			failures++
			wait = retry.Next()
			r.count(func(s *RedriverStats) { s.Failures++ })
			hook.Call(r.cfg.Hooks.Failed, ServerFailedInfo{Attempt: failures, Wait: wait, Err: err})
		default:
			failures = 0
			retry.Reset()
		}
		_ = backoff.Sleep(ctx, wait) // the loop looks at ctx
	}
	return context.Cause(ctx)
}

func (r *Redriver) count(change func(*RedriverStats)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.stats)
}

// pass looks at every letter once.
func (r *Redriver) pass(ctx context.Context) error {
	var found RedriverStats
	quarantine := make(map[uint64]bool)
	for letter, err := range r.dead.List(ctx, r.cfg.Filter) {
		if err != nil {
			return err
		}
		policy, ok := r.cfg.Policies[letter.Reason]
		switch {
		case !ok || !letter.known(), letter.BodySize != len(letter.Body):
			found.Left++
		case letter.Redrives >= policy.MaxRedrives:
			found.Quarantine++
			quarantine[letter.Sequence] = true
			if !r.known[letter.Sequence] {
				hook.Call(r.cfg.Hooks.Quarantined, letter)
			}
		case time.Since(letter.FailedAt) < policy.wait(letter.Redrives):
			found.Waiting++
		default:
			if err := r.redrive(ctx, letter); errors.Is(err, ErrTooLarge) {
				found.Left++
			} else if err != nil {
				return err
			}
		}
	}
	r.known = quarantine
	r.count(func(s *RedriverStats) {
		s.Passes++
		s.Waiting, s.Quarantine, s.Left = found.Waiting, found.Quarantine, found.Left
	})
	return nil
}

func (r *Redriver) redrive(ctx context.Context, letter *DeadLetter) error {
	if err := r.dead.move(ctx, letter, &r.tracer); err != nil {
		return err
	}
	r.count(func(s *RedriverStats) { s.Redriven++ })
	hook.Call(r.cfg.Hooks.Redriven, letter)
	if r.cfg.Rate < 0 {
		return nil
	}
	return backoff.Sleep(ctx, time.Second/time.Duration(r.cfg.Rate))
}
