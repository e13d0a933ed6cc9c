package binance

import (
	"context"
	"time"

	"github.com/marketprism/marketprism/internal/backoff"
)

// paceWindow is a second and a margin: what leaves a second apart may arrive closer together.
const paceWindow = 1250 * time.Millisecond

// A rateLimiter spaces messages so that no window of that length, wherever it begins, holds more than its
// number of them. A token bucket would not do: emptied after a pause it lets nearly twice as many
// through within a second, and the exchange closes the connection with code 1008. It is not safe for
// concurrent use.
type rateLimiter struct {
	sent []time.Time // the last messages, as a ring
	next int         // the oldest
}

func newRateLimiter(perWindow int) rateLimiter {
	return rateLimiter{sent: make([]time.Time, perWindow)}
}

// wait returns when a message may be sent, and counts it as sent; before that only if ctx ends, with
// its error.
func (p *rateLimiter) wait(ctx context.Context) error {
	if err := backoff.Sleep(ctx, time.Until(p.sent[p.next].Add(paceWindow))); err != nil {
		return err
	}
	p.sent[p.next] = time.Now()
	p.next = (p.next + 1) % len(p.sent)
	return nil
}
