package deadletter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/internal/check"
	"github.com/marketprism/marketprism/natsbus/internal/tracing"
)

// A RedriverConfig says which letters a Redriver re-drives, and when. The zero value is ready to use.
type RedriverConfig struct {
	Filter Filter // the zero value selects all

	// Policies are by reason; letters of a reason without a policy are left alone. nil means DefaultPolicies.
	Policies map[natsbus.DeadReason]Policy

	Every time.Duration // between two passes, each of which sends the server one request a letter; 0 means 1 min
	Rate  int           // letters a second; 0 means 10, negative means no limit

	// RetryMin and RetryMax bound the random delay after a failure of the server. 0 means 200 ms and 30 s.
	RetryMin, RetryMax time.Duration

	Trace natsbus.TraceConfig // as in RedriveConfig

	Hooks *Hooks // Redriven, Quarantined and ServerFailed are called; nil means none
}

// A Policy says how often a letter is re-driven, and how long after it failed.
type Policy struct {
	MaxRedrives int // in all, those by Queue.Redrive included; 0 means 3

	// Delay is the time from the last failure, by the clock of the Consumer, to the first re-drive. It doubles
	// with each re-drive, up to MaxDelay. 0 means 1 min and 1 h.
	Delay, MaxDelay time.Duration
}

// DefaultPolicies re-drive the letters that may have failed for a reason that passes. Letters that cannot be decoded or
// were refused are left to a person who knows that the cause has been removed.
func DefaultPolicies() map[natsbus.DeadReason]Policy {
	return map[natsbus.DeadReason]Policy{natsbus.DeadExhausted: {}, MaxDeliveries: {}, Terminated: {}}
}

// wait returns the time from the last failure to the next re-drive, after so many re-drives.
func (p Policy) wait(redrives int) time.Duration {
	wait := p.Delay
	for range redrives {
		if wait >= p.MaxDelay/2 {
			return p.MaxDelay
		}
		wait *= 2
	}
	return wait
}

func (cfg RedriverConfig) withDefaults() (RedriverConfig, error) {
	if cfg.Policies == nil {
		cfg.Policies = DefaultPolicies()
	}
	policies := make(map[natsbus.DeadReason]Policy, len(cfg.Policies))
	for reason, p := range cfg.Policies {
		defaults.Set(&p.MaxRedrives, 3)
		defaults.Set(&p.Delay, time.Minute)
		defaults.Set(&p.MaxDelay, max(time.Hour, p.Delay))
		if p.MaxRedrives < 0 || p.Delay < 0 || p.MaxDelay < p.Delay {
			return cfg, fmt.Errorf("deadletter: policy of %q: MaxRedrives %d, Delay %v, MaxDelay %v: want a bound, and 0 < Delay <= MaxDelay",
				reason, p.MaxRedrives, p.Delay, p.MaxDelay)
		}
		policies[reason] = p
	}
	cfg.Policies = policies
	defaults.Set(&cfg.Every, time.Minute)
	defaults.Set(&cfg.Rate, 10)
	if cfg.Every < 0 {
		return cfg, fmt.Errorf("deadletter: Every %v: want a positive time", cfg.Every)
	}
	if cfg.Hooks == nil {
		cfg.Hooks = &Hooks{}
	}
	if err := check.Retry(&cfg.RetryMin, &cfg.RetryMax, 200*time.Millisecond, 30*time.Second); err != nil {
		return cfg, fmt.Errorf("deadletter: %w", err)
	}
	return cfg, nil
}

// A Redriver re-drives dead letters continuously, until each has been used or has had all the re-drives that its policy
// allows. Such a letter is in quarantine: it stays in the stream until someone calls Queue.Redrive with a higher
// MaxRedrives, or purges it.
//
// A letter leaves the stream only after the server has confirmed its re-drive. Several Redrivers may run at once, also
// in several processes.
type Redriver struct {
	queue  *Queue
	cfg    RedriverConfig
	tracer tracing.Tracer

	quarantine map[uint64]bool // sequences of the letters that the last pass found in quarantine

	mu    sync.Mutex
	stats RedriverStats
}

// RedriverStats counts the work of a Redriver since it was made.
type RedriverStats struct {
	Passes   uint64 // times that it read all letters
	Redriven uint64 // letters re-driven
	Failures uint64 // requests that the server did not answer; they are repeated

	// Letters that the last pass left in the stream:
	Waiting    int // their Delay has not passed
	Quarantine int // they have had all the re-drives that their policy allows
	Left       int // without a policy, body or stream of re-drives, too large for one, or written by another program
}

// NewRedriver returns a Redriver of the letters in queue. It fails if cfg is contradictory; a missing stream shows in
// Run.
func NewRedriver(queue *Queue, cfg RedriverConfig) (*Redriver, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	t, err := tracing.New(cfg.Trace.Provider, cfg.Trace.Ratio)
	if err != nil {
		return nil, fmt.Errorf("deadletter: %w", err)
	}
	return &Redriver{queue: queue, cfg: cfg, tracer: t}, nil
}

// Stats returns the counters. It may be called from any goroutine.
func (r *Redriver) Stats() RedriverStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats
}

// Run reads all letters again and again. It blocks until ctx ends, and then returns nil. While the server is away it
// waits; it returns a *natsbus.StreamError if the stream of dead letters does not exist. It must not be called
// concurrently.
func (r *Redriver) Run(ctx context.Context) error {
	retry := backoff.Backoff{Min: r.cfg.RetryMin, Max: r.cfg.RetryMax}
	for failures := 0; ctx.Err() == nil; {
		wait := r.cfg.Every
		switch err := r.pass(ctx); {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, jetstream.ErrStreamNotFound):
			return err
		case err != nil:
			failures++
			if !errors.Is(err, natsbus.ErrNoStream) { // after which the pass went on
				wait = retry.Next()
			}
			r.count(func(s *RedriverStats) { s.Failures++ })
			hook.Call(r.cfg.Hooks.ServerFailed, natsbus.ServerFailedInfo{Attempt: failures, Wait: wait, Err: err})
		default:
			failures = 0
			retry.Reset()
		}
		_ = backoff.Sleep(ctx, wait) // the loop checks ctx
	}
	return nil
}

func (r *Redriver) count(change func(*RedriverStats)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.stats)
}

// pass reads every letter once. An error that wraps natsbus.ErrNoStream is that of the first letter without a stream of
// re-drives; the others were handled.
func (r *Redriver) pass(ctx context.Context) error {
	var found RedriverStats
	var stranded error
	missing := make(strandedAt)
	quarantine := make(map[uint64]bool)
	for l, err := range r.queue.List(ctx, r.cfg.Filter) {
		if err != nil {
			return err
		}
		policy, ok := r.cfg.Policies[l.Reason]
		switch {
		case !ok || !l.complete() || l.bodiless():
			found.Left++
		case l.Redrives >= policy.MaxRedrives:
			found.Quarantine++
			quarantine[l.Sequence] = true
			if !r.quarantine[l.Sequence] {
				hook.Call(r.cfg.Hooks.Quarantined, l)
			}
		case time.Since(l.FailedAt) < policy.wait(l.Redrives):
			found.Waiting++
		default:
			switch err := r.redrive(ctx, l, missing); {
			case errors.Is(err, natsbus.ErrTooLarge):
				found.Left++
			case errors.Is(err, natsbus.ErrNoStream):
				found.Left++
				defaults.Set(&stranded, err)
			case err != nil:
				return err
			}
		}
	}
	r.quarantine = quarantine
	r.count(func(s *RedriverStats) {
		s.Passes++
		s.Waiting, s.Quarantine, s.Left = found.Waiting, found.Quarantine, found.Left
	})
	return stranded
}

func (r *Redriver) redrive(ctx context.Context, l *Letter, missing strandedAt) error {
	if err := r.queue.move(ctx, l, &r.tracer, missing); err != nil {
		return err
	}
	r.count(func(s *RedriverStats) { s.Redriven++ })
	hook.Call(r.cfg.Hooks.Redriven, l)
	if r.cfg.Rate < 0 {
		return nil
	}
	return backoff.Sleep(ctx, time.Second/time.Duration(r.cfg.Rate))
}

// Hooks observe a Redriver or an AdvisoryWatch. Any field may be nil. They are called on the goroutine of Run, after
// Stats has changed, and must not block.
type Hooks struct {
	Redriven     func(*Letter)                  // a letter was re-driven; Redrives is how often before
	Quarantined  func(*Letter)                  // a letter will not be re-driven any more; once for each in a Run
	DeadLettered func(natsbus.DeadLetterInfo)   // an AdvisoryWatch has made a dead letter
	Undecodable  func(natsbus.UndecodableInfo)  // an advisory cannot be read, or was dropped before it was
	ServerFailed func(natsbus.ServerFailedInfo) // a request failed, or no stream takes re-drives of a letter; it will be repeated
}

// TeeHooks returns Hooks that call each of hooks, in order. nil ones are left out.
func TeeHooks(hooks ...*Hooks) *Hooks {
	var all Hooks
	for _, h := range hooks {
		if h == nil {
			continue
		}
		all.Redriven = hook.Join(all.Redriven, h.Redriven)
		all.Quarantined = hook.Join(all.Quarantined, h.Quarantined)
		all.DeadLettered = hook.Join(all.DeadLettered, h.DeadLettered)
		all.Undecodable = hook.Join(all.Undecodable, h.Undecodable)
		all.ServerFailed = hook.Join(all.ServerFailed, h.ServerFailed)
	}
	return &all
}

// LogHooks returns Hooks that log. The log handler must not block.
func LogHooks(l *slog.Logger) *Hooks {
	bus := natsbus.LogHooks(l)
	return &Hooks{
		Redriven: func(d *Letter) {
			l.Info("dead letter re-driven", "sequence", d.Sequence, "subject", d.Subject, "reason", d.Reason, "redrives", d.Redrives)
		},
		Quarantined: func(d *Letter) {
			l.Error("dead letter is in quarantine", "sequence", d.Sequence, "subject", d.Subject, "reason", d.Reason,
				"redrives", d.Redrives, "err", d.Error)
		},
		DeadLettered: bus.DeadLettered,
		Undecodable:  bus.Undecodable,
		ServerFailed: bus.ServerFailed,
	}
}
