package natsbus

import (
	"fmt"
	"time"

	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/natsbus/internal/check"
)

// A PublisherConfig sets the bounds of a Publisher. The zero value is ready to use.
type PublisherConfig struct {
	Prefix string // first tokens of every subject; "" means DefaultPrefix

	// MaxPending and MaxPendingBytes bound what is sent and not confirmed yet, over all Writes
	// together. 0 means 2048 messages and 64 MiB. Fewer than 256 messages cost throughput, more than
	// 4096 gain none.
	MaxPending      int
	MaxPendingBytes int

	// AckTimeout is how long a message may stay unconfirmed before it is sent again. 0 means 5 s.
	AckTimeout time.Duration

	// RetryMin and RetryMax bound the random delay before a failed Write goes on: its bound doubles
	// from the first to the second, and begins anew after a success. 0 means 100 ms and 2 s.
	RetryMin, RetryMax time.Duration

	// MaxAttempts is how often a Write tries before it returns the error. 0 means until ctx ends.
	MaxAttempts int

	Trace TraceConfig // which records are followed; the zero value means none

	Hooks *Hooks // nil means none
}

func (cfg PublisherConfig) withDefaults() (PublisherConfig, error) {
	defaults.Set(&cfg.Prefix, DefaultPrefix)
	if err := check.Prefix(cfg.Prefix); err != nil {
		return cfg, fmt.Errorf("%w: %w", ErrSubject, err)
	}
	defaults.Set(&cfg.MaxPending, 2048)
	defaults.Set(&cfg.MaxPendingBytes, 64<<20)
	if cfg.MaxPending < 0 || cfg.MaxPendingBytes < 0 {
		return cfg, fmt.Errorf("natsbus: MaxPending %d, MaxPendingBytes %d: what is in flight cannot be unbounded", cfg.MaxPending, cfg.MaxPendingBytes)
	}
	defaults.Set(&cfg.AckTimeout, 5*time.Second)
	if cfg.AckTimeout < 0 {
		return cfg, fmt.Errorf("natsbus: AckTimeout %v: a lost acknowledgement would be waited for without end", cfg.AckTimeout)
	}
	if cfg.MaxAttempts < 0 {
		return cfg, fmt.Errorf("natsbus: MaxAttempts %d is negative", cfg.MaxAttempts)
	}
	if cfg.Hooks == nil {
		cfg.Hooks = &Hooks{}
	}
	if err := check.Retry(&cfg.RetryMin, &cfg.RetryMax, 100*time.Millisecond, 2*time.Second); err != nil {
		return cfg, fmt.Errorf("natsbus: %w", err)
	}
	return cfg, nil
}
