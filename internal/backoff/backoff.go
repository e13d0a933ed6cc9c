// Package backoff computes the delays between attempts at an operation that keeps failing.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// A Backoff gives the delay before each new attempt: uniformly random between 0 and a bound that
// doubles from Min to Max ("full jitter"), so that many clients that lose their connections at one moment do not
// reconnect at one moment. It is not safe for concurrent use.
type Backoff struct {
	Min, Max time.Duration // 0 < Min <= Max
	Rand     *rand.Rand    // nil means the global source

	failures int
}

// Next returns the delay before the next attempt.
func (b *Backoff) Next() time.Duration {
	bound := b.Min
	for range b.failures {
		bound = min(2*bound, b.Max)
		if bound == b.Max {
			break
		}
	}
	b.failures++
	if b.Rand != nil {
		return time.Duration(b.Rand.Int64N(int64(bound) + 1))
	}
	return time.Duration(rand.Int64N(int64(bound) + 1)) // #nosec G404 -- spreads attempts
}

// Reset notes that an attempt succeeded: the next delay is short again.
func (b *Backoff) Reset() { b.failures = 0 }

// Sleep blocks for d, or until ctx ends, whose error it then returns.
func Sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
