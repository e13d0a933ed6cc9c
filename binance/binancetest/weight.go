package binancetest

import (
	"fmt"
	"net/http"
	"time"

	"github.com/marketprism/marketprism/internal/defaults"
)

// The first ban lasts two minutes; each further one twice as long, up to three days. (rest-api.md, "IP
// Limits": "IP bans are tracked and scale in duration for repeat offenders, from 2 minutes to 3 days.")
const (
	minBan = 2 * time.Minute
	maxBan = 72 * time.Hour
)

// A weightMeter counts the request weight of the one IP address that all clients share, per clock minute.
type weightMeter struct {
	limit    int // negative: none
	stated   int // the limit in messages: the market's if limit is negative
	banAfter int // negative: never

	window      time.Time // the minute of used and limited
	used        int
	limited     int // requests answered 429
	bans        int
	bannedUntil time.Time
}

func newWeightMeter(cfg Config, r *rules) weightMeter {
	limit := cfg.WeightLimit
	defaults.Set(&limit, r.weightLimit)
	stated := limit
	if limit < 0 {
		stated = r.weightLimit
	}
	return weightMeter{limit: limit, stated: stated, banAfter: cfg.BanAfter}
}

func (m *weightMeter) roll(now time.Time) {
	if window := now.Truncate(time.Minute); !window.Equal(m.window) {
		m.window, m.used, m.limited = window, 0, 0
	}
}

// charge counts a request. It returns nil, or the answer that rejects it. Rejected requests count too.
//
// rest-api.md, "IP Limits": "When a 429 is received, it's your obligation as an API to back off and not
// spam the API. Repeatedly violating rate limits and/or failing to back off after receiving 429s will
// result in an automated IP ban (HTTP status 418). A Retry-After header is sent with a 418 or 429
// responses and will give the number of seconds required to wait, in the case of a 429, to prevent a
// ban, or, in the case of a 418, until the ban is over."
func (m *weightMeter) charge(now time.Time, weight int) *answer {
	m.roll(now)
	if now.Before(m.bannedUntil) {
		return m.banned(now)
	}
	m.used += weight
	if m.limit < 0 || m.used <= m.limit {
		return nil
	}
	m.limited++
	if m.banAfter >= 0 && m.limited > m.banAfter {
		m.bannedUntil = banEnd(now, min(minBan<<min(m.bans, 12), maxBan))
		m.bans++
		return m.banned(now)
	}
	return m.tooMany(now)
}

func (m *weightMeter) tooMany(now time.Time) *answer {
	a := apiError(http.StatusTooManyRequests, -1003, fmt.Sprintf("Too much request weight used; current limit is %d request weight per 1 MINUTE. "+
		"Please use WebSocket Streams for live updates to avoid polling the API.", m.stated))
	a.retryAfter = m.window.Add(time.Minute).Sub(now)
	return a
}

func (m *weightMeter) banned(now time.Time) *answer {
	return bannedAnswer(m.bannedUntil.Sub(now), &banForms()[0])
}

// A banFault is a ban that a test imposes.
type banFault struct {
	until time.Time
	form  banForm
}

// banEnd returns the end of a ban, in whole milliseconds as the message has it.
func banEnd(now time.Time, d time.Duration) time.Time { return now.Add(d).Truncate(time.Millisecond) }

func (f *banFault) rejection(now time.Time) *answer {
	if !now.Before(f.until) {
		return nil
	}
	return bannedAnswer(f.until.Sub(now), &f.form)
}

// A retryWindow is the time for which the last Retry-After asked clients to wait.
type retryWindow struct{ since, until time.Time }

// retryGrace allows for requests that were already sent when the answer was.
const retryGrace = 100 * time.Millisecond

func (r *retryWindow) observe(now time.Time, a *answer) {
	if limited := a.status == http.StatusTooManyRequests || a.status == http.StatusTeapot; !limited || a.retryAfter <= 0 {
		return
	}
	if until := now.Add(a.retryAfter); !now.Before(r.until) {
		r.since, r.until = now, until
	} else if until.After(r.until) {
		r.until = until
	}
}
