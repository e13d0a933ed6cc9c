package natsbus

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/natsbus/internal/check"
)

// A RedriverConfig says which letters a Redriver puts back, and when. The zero value is ready to use.
type RedriverConfig struct {
	Filter DeadLetterFilter // the zero value selects all

	// Policies are by reason; letters of a reason without one are left alone. Nil means those of
	// DefaultRedrivePolicies.
	Policies map[DeadReason]RedrivePolicy

	Every time.Duration // between two passes, each of which asks the server once for each letter; 0 means 1 min
	Rate  int           // letters a second; 0 means 10, negative means no limit

	// RetryMin and RetryMax bound the random delay after a failure of the server. 0 means 200 ms and
	// 30 s.
	RetryMin, RetryMax time.Duration

	Trace TraceConfig // as in RedriveConfig

	Hooks *RedriverHooks // nil means none
}

// A RedrivePolicy says how often a letter is put back, and how long after it failed.
type RedrivePolicy struct {
	MaxRedrives int // in all, those by hand included; 0 means 3

	// Delay is how long after its last failure, by the clock of the Consumer, a letter is put back for the
	// first time. It doubles with each time, up to MaxDelay. 0 means 1 min and 1 h.
	Delay, MaxDelay time.Duration
}

// DefaultRedrivePolicies put back what may have failed for a reason that passes. What cannot be decoded
// or was refused for good is left to somebody who knows that the cause is gone.
func DefaultRedrivePolicies() map[DeadReason]RedrivePolicy {
	return map[DeadReason]RedrivePolicy{DeadExhausted: {}, DeadMaxDeliveries: {}, DeadTerminated: {}}
}

// wait returns how long after its failure a letter is put back that was so some times before.
func (p RedrivePolicy) wait(redrives int) time.Duration {
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
		cfg.Policies = DefaultRedrivePolicies()
	}
	policies := make(map[DeadReason]RedrivePolicy, len(cfg.Policies))
	for reason, p := range cfg.Policies {
		defaults.Set(&p.MaxRedrives, 3)
		defaults.Set(&p.Delay, time.Minute)
		defaults.Set(&p.MaxDelay, max(time.Hour, p.Delay))
		if p.MaxRedrives < 0 || p.Delay < 0 || p.MaxDelay < p.Delay {
			return cfg, fmt.Errorf("natsbus: policy of %q: MaxRedrives %d, Delay %v, MaxDelay %v: want a bound, and 0 < Delay <= MaxDelay",
				reason, p.MaxRedrives, p.Delay, p.MaxDelay)
		}
		policies[reason] = p
	}
	cfg.Policies = policies
	defaults.Set(&cfg.Every, time.Minute)
	defaults.Set(&cfg.Rate, 10)
	if cfg.Every < 0 {
		return cfg, fmt.Errorf("natsbus: Every %v: want a positive time", cfg.Every)
	}
	if cfg.Hooks == nil {
		cfg.Hooks = &RedriverHooks{}
	}
	if err := check.Retry(&cfg.RetryMin, &cfg.RetryMax, 200*time.Millisecond, 30*time.Second); err != nil {
		return cfg, fmt.Errorf("natsbus: %w", err)
	}
	return cfg, nil
}

// RedriverHooks observe a Redriver. Any field may be nil. They are called on the goroutine of Run and
// must not block.
type RedriverHooks struct {
	Redriven    func(*DeadLetter)      // a letter was put back; Redrives is how often before
	Quarantined func(*DeadLetter)      // a letter will not be put back any more; once for each in a Run
	Failed      func(ServerFailedInfo) // the server did not answer; it will be asked again
}

// TeeRedriverHooks returns RedriverHooks that call each of hooks, in order. Nil ones are left out.
func TeeRedriverHooks(hooks ...*RedriverHooks) *RedriverHooks {
	var all RedriverHooks
	for _, h := range hooks {
		if h == nil {
			continue
		}
		all.Redriven = hook.Join(all.Redriven, h.Redriven)
		all.Quarantined = hook.Join(all.Quarantined, h.Quarantined)
		all.Failed = hook.Join(all.Failed, h.Failed)
	}
	return &all
}

// LogRedriverHooks returns RedriverHooks that log. The log handler must not block.
func LogRedriverHooks(l *slog.Logger) *RedriverHooks {
	return &RedriverHooks{
		Redriven: func(d *DeadLetter) {
			l.Info("dead letter put back", "sequence", d.Sequence, "subject", d.Subject, "reason", d.Reason, "redrives", d.Redrives)
		},
		Quarantined: func(d *DeadLetter) {
			l.Error("dead letter is in quarantine", "sequence", d.Sequence, "subject", d.Subject, "reason", d.Reason,
				"redrives", d.Redrives, "err", d.Error)
		},
		Failed: func(i ServerFailedInfo) {
			l.Warn("server does not answer", "attempt", i.Attempt, "wait", i.Wait, "err", i.Err)
		},
	}
}
