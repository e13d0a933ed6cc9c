package binance

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/marketprism/marketprism/internal/backoff"
)

// A budget lets REST requests through only while the exchange will accept them: within the request
// weight of the clock minute, and not before a time the exchange has said to stay away until. It is
// safe for concurrent use.
//
// rest-api.md, IP Limits: "Every request will contain X-MBX-USED-WEIGHT-(intervalNum)(intervalLetter)
// in the response headers which has the current used weight for the IP for all request rate limiters
// defined." "When a 429 is received, it's your obligation as an API to back off and not spam the API."
// "Repeatedly violating rate limits and/or failing to back off after receiving 429s will result in an
// automated IP ban (HTTP status 418)." "A Retry-After header is sent with a 418 or 429 responses".
type budget struct {
	throttled func(ThrottleInfo)

	mu      sync.Mutex
	limit   int       // weight a minute; 0 means no bound
	minute  time.Time // the clock minute that used belongs to
	used    int
	blocked time.Time // nothing is sent before it
	status  int       // that caused blocked
}

// wait returns when a request of that weight may be sent, and counts it as sent; before that only if
// ctx ends, with its error.
func (b *budget) wait(ctx context.Context, weight int) error {
	told := time.Time{}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		now := time.Now()
		until, status := b.take(now, weight)
		if until.IsZero() {
			return nil
		}
		if until.After(told) {
			told = until
			b.throttled(ThrottleInfo{Status: status, Until: until.UTC(), Weight: weight})
		}
		if err := backoff.Sleep(ctx, until.Sub(now)); err != nil {
			return err
		}
	}
}

// take counts the weight and returns zero, or returns when to try again, and the HTTP status that
// asks to wait; status 0 is the own bound.
func (b *budget) take(now time.Time, weight int) (until time.Time, status int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Before(b.blocked) {
		return b.blocked, b.status
	}
	b.turn(now)
	if weight > 0 && b.limit > 0 && b.used > 0 && b.used+weight > b.limit {
		return b.minute.Add(time.Minute), 0
	}
	b.used += weight
	return time.Time{}, 0
}

// turn begins a new count with each clock minute.
func (b *budget) turn(now time.Time) {
	if minute := now.Truncate(time.Minute); minute.After(b.minute) {
		b.minute, b.used = minute, 0
	}
}

// giveBack uncounts the weight of a request that was not sent.
func (b *budget) giveBack(weight int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used = max(0, b.used-weight)
}

// setUsed takes over the exchange's count in the answer to a request sent at that time. Other programs
// on this IP are contained in it; what this program has sent since is not, so it never lowers the
// count. An answer that crossed the border of the minute may tell the old minute's count.
func (b *budget) setUsed(sent, now time.Time, used int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn(now)
	if !sent.Before(b.minute) {
		b.used = max(b.used, used)
	}
}

// setLimit takes over the exchange's limit, unless there is to be none.
func (b *budget) setLimit(limit int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.limit > 0 && limit > 0 {
		b.limit = limit
	}
}

// What a 429 or 418 without Retry-After is taken to mean: weight comes back with the next minute, and
// the shortest ban is two minutes (rest-api.md: "IP bans [...] scale in duration for repeat offenders,
// from 2 minutes to 3 days").
const shortestBan = 2 * time.Minute

// refused blocks everything after a 429 or 418.
func (b *budget) refused(now time.Time, status int, retryAfter time.Duration) {
	until := now.Add(retryAfter)
	if retryAfter <= 0 {
		until = now.Truncate(time.Minute).Add(time.Minute)
		if status == http.StatusTeapot {
			until = now.Add(shortestBan)
		}
	}
	b.mu.Lock()
	later := until.After(b.blocked)
	if later {
		b.blocked, b.status = until, status
	}
	b.mu.Unlock()
	if later {
		b.throttled(ThrottleInfo{Status: status, Until: until.UTC()})
	}
}

// usage returns the weight used in this minute, the limit, and until when nothing is sent.
func (b *budget) usage(now time.Time) Usage {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn(now)
	u := Usage{Used: b.used, Limit: b.limit}
	if now.Before(b.blocked) {
		u.BlockedUntil = b.blocked.UTC()
	}
	return u
}

// Usage is the state of a Client's request weight.
type Usage struct {
	Used         int       // weight used in this clock minute, as far as known
	Limit        int       // weight a minute; 0 means no bound
	BlockedUntil time.Time // local clock; zero unless the exchange has said to stay away
}
