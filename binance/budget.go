package binance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/marketprism/marketprism/internal/defaults"
)

// A Budget lets REST requests through only while the exchange will accept them: within the request
// weight of the clock minute, a bounded number at a time, and not before a time the exchange has said
// to stay away until. Who has to wait stands in a queue by Priority. It counts websocket connections
// as well, which have no weight but a limit of their own.
//
// The exchange counts per IP address and per family of markets: spot is one, USDⓈ-M and COIN-M
// together are the other. Give one Budget to all Clients of a family in the process. It is safe for
// concurrent use.
//
// rest-api.md, IP Limits: "Every request will contain X-MBX-USED-WEIGHT-(intervalNum)(intervalLetter)
// in the response headers which has the current used weight for the IP for all request rate limiters
// defined." "When a 429 is received, it's your obligation as an API to back off and not spam the API."
// "Repeatedly violating rate limits and/or failing to back off after receiving 429s will result in an
// automated IP ban (HTTP status 418)." "A Retry-After header is sent with a 418 or 429 responses".
type Budget struct {
	cfg BudgetConfig

	mu       sync.Mutex
	family   family // of the Clients; "" before the first
	window   weightWindow
	queue    ticketQueue
	sending  int       // requests on their way
	blocked  time.Time // local clock; nothing is sent before it
	status   int       // HTTP status that caused blocked
	timer    *time.Timer
	connects connectWindow
}

// A BudgetConfig bounds what a Budget spends. The zero value is all that the exchange allows.
type BudgetConfig struct {
	// Limit is the request weight a clock minute, the weight that others on the same IP use included.
	// 0 means the market's published limit, corrected by what exchangeInfo says; negative means no
	// bound: only the exchange's refusals are obeyed.
	Limit int

	// Reserve is the share of the limit, from 0 to less than 1, that is left for requests which do not
	// pass this Budget: orders of the host program, other programs on the same IP. 0 means none; what
	// others use is heeded even so, as soon as an answer tells of it.
	Reserve float64

	Concurrent int // requests on their way at a time; 0 means 8

	// Connects is how many websocket connections are opened in any 5 minutes. 0 means the exchange's
	// limit of 300, negative means no bound.
	Connects int
}

// NewBudget returns a Budget with nothing used. It fails if cfg is contradictory.
func NewBudget(cfg BudgetConfig) (*Budget, error) {
	defaults.Set(&cfg.Concurrent, 8)
	defaults.Set(&cfg.Connects, maxConnects)
	switch {
	case cfg.Reserve < 0 || !(cfg.Reserve < 1):
		return nil, fmt.Errorf("binance: Budget Reserve %v: want 0 <= Reserve < 1", cfg.Reserve)
	case cfg.Concurrent < 1:
		return nil, fmt.Errorf("binance: Budget Concurrent %d: want at least 1", cfg.Concurrent)
	}
	return &Budget{cfg: cfg, connects: connectWindow{limit: cfg.Connects}}, nil
}

var errOtherFamily = errors.New("binance: Budget is used by a Client of another family: spot and futures have a weight limit each")

// join makes a Client of the market one of the Budget's users.
func (b *Budget) join(m *market) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch b.family {
	case m.family():
		return nil
	case "":
		b.family = m.family()
		b.window.limit = max(0, b.cfg.Limit)
		if b.cfg.Limit == 0 {
			b.window.limit = m.weightLimit
		}
		b.window.reserve = b.cfg.Reserve
		return nil
	}
	return errOtherFamily
}

// learnLimit takes over the exchange's limit, unless the Budget was given one.
func (b *Budget) learnLimit(limit int) {
	b.act(func(time.Time) {
		if b.cfg.Limit == 0 && limit > 0 {
			b.window.limit = limit
		}
	})
}

// learnClock takes over the exchange's time in the answer to a request.
func (b *Budget) learnClock(sent, answered, exchange time.Time) {
	b.act(func(now time.Time) { b.window.learnClock(now, sent, answered, exchange) })
}

// learnUsed takes over the exchange's count in the answer to a request sent at that time.
func (b *Budget) learnUsed(sent time.Time, used int) {
	b.act(func(time.Time) { b.window.learn(sent, used) })
}

// What a 429 or 418 without Retry-After is taken to mean: weight comes back with the next minute, and
// the shortest ban is two minutes (rest-api.md: "IP bans [...] scale in duration for repeat offenders,
// from 2 minutes to 3 days").
const shortestBan = 2 * time.Minute

// refused blocks everything after a 429 or 418 that a request of the spender's got.
func (b *Budget) refused(by *spender, status int, retryAfter time.Duration) {
	var told *ThrottleInfo
	b.act(func(now time.Time) {
		until := now.Add(retryAfter)
		if retryAfter <= 0 {
			until = b.window.end()
			if status == http.StatusTeapot {
				until = now.Add(shortestBan)
			}
		}
		if until.After(b.blocked) {
			b.blocked, b.status, by.told = until, status, until
			told = &ThrottleInfo{Status: status, Until: until.UTC()}
		}
	})
	if told != nil {
		by.throttled(*told)
	}
}

// isBlocked tells whether the exchange wants no request now.
func (b *Budget) isBlocked() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Before(b.blocked)
}

// Usage returns how much is used, and what waits.
func (b *Budget) Usage() Usage {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.window.turn(now)
	u := Usage{
		Used: b.window.used, Limit: b.window.limit, Reserved: b.window.reserved(),
		Sending: b.sending, Queued: b.queue.lengths(), Connects: b.connects.count(now),
	}
	if now.Before(b.blocked) {
		u.BlockedUntil = b.blocked.UTC()
	}
	return u
}

// Usage is the state of a Budget.
type Usage struct {
	Used     int // weight used in this clock minute, as far as known
	Limit    int // weight a minute; 0 means no bound
	Reserved int // of it left for others

	Sending int             // requests on their way
	Queued  [priorities]int // requests that wait, by Priority

	Connects int // websocket connections opened in the last 5 minutes

	BlockedUntil time.Time // local clock; zero unless the exchange has said to stay away
}

// wait returns when a request of that weight may be sent; its ticket is to be closed once the answer
// is there. Before that it returns only if ctx ends, with its error.
func (b *Budget) wait(ctx context.Context, by *spender, p Priority, weight int) (*ticket, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	granted := make(chan struct{})
	t := b.enqueue(by, p, weight, func() { close(granted) })
	select {
	case <-granted:
		return t, nil
	case <-ctx.Done():
		t.giveUp()
		return nil, ctx.Err()
	}
}
