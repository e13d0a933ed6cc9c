package binancetest

import (
	"fmt"
	"net/http"
	"strconv"
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

func bannedAnswer(left time.Duration, form *banForm) *answer {
	return &answer{status: http.StatusTeapot, retryAfter: left, banned: form}
}

// A banForm is how the answers during a ban say when it ends.
type banForm struct {
	name    string
	header  func(left time.Duration, end time.Time) string // Retry-After; "" means none
	silent  bool                                           // the message does not say it
	undated bool                                           // there is no Date either
}

// banForms returns the forms. rest-api.md documents the seconds, and RFC 9110 the date; answers whose message
// has the end were reported without end: "Way too many requests; IP(1.2.3.4) banned until 1573206854617" (with ccxt/binance-api-node
// issue 106 and taniman/profit-trailer issue 665). The others are unproved.
func banForms() []banForm {
	text := func(header string) func(time.Duration, time.Time) string {
		return func(time.Duration, time.Time) string { return header }
	}
	return []banForm{
		{name: "seconds", header: func(left time.Duration, _ time.Time) string { return inSeconds(left) }},
		{name: "date", header: func(_ time.Duration, end time.Time) string { return end.UTC().Format(http.TimeFormat) }, silent: true},
		{name: "message", header: text("")},
		{name: "negative", header: text("-1")},
		{name: "garbage", header: text("soon")},
		{name: "undated", header: text(""), undated: true},
		{name: "huge", header: text("99999999999999999999"), silent: true},
		{name: "nothing", header: text(""), silent: true},
	}
}

// write sets the headers and returns the body. now is the exchange's clock.
func (f *banForm) write(h http.Header, left time.Duration, now time.Time) []byte {
	end := now.Add(left)
	if text := f.header(left, end); text != "" {
		h.Set("Retry-After", text)
	}
	if f.undated {
		h["Date"] = nil
	}
	until := fmt.Sprintf(" until %d", end.UnixMilli())
	if f.silent {
		until = ""
	}
	return apiError(http.StatusTeapot, -1003, fmt.Sprintf("Way too much request weight used; IP banned%s. "+
		"Please use WebSocket Streams for live updates to avoid bans.", until)).body
}

// inSeconds rounds up; "" if there is no time left.
func inSeconds(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
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
