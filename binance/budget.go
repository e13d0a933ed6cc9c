package binance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/defaults"
)

// A Budget lets REST requests through only while the exchange will accept them: within the request
// weight of the clock minute, a bounded number at a time, and not before a time until which the exchange
// has refused everything. Requests that wait are served by Priority. It also limits websocket
// connections, which have no weight but a limit of their own.
//
// The exchange counts per IP address and per family of markets: spot is one, USDⓈ-M and COIN-M
// together are the other. Give one Budget to all Clients of a family in the process. It is safe for
// concurrent use and need not be closed.
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
	queue    reservationQueue
	sending  int       // requests sent and not answered, or about to be sent
	parked   int       // requests that have their weight and wait for a shard
	blocked  time.Time // local clock; nothing is sent before it
	status   int       // HTTP status that caused blocked
	bans     int       // one after another, the last of which has or had its end at banEnd
	banEnd   time.Time // local clock
	timer    *time.Timer
	connects connectWindow
}

// A BudgetConfig bounds what a Budget spends. The zero value is all that the exchange allows.
type BudgetConfig struct {
	// Limit is the request weight a clock minute, including the weight that others on the same IP
	// address use. 0 means the market's published limit, corrected by what exchangeInfo says; negative
	// means no bound: only the exchange's refusals count.
	Limit int

	// Reserve is the share of the limit, from 0 to less than 1, for requests that do not pass this
	// Budget: orders of the host program, other programs on the same IP address. 0 means none. What
	// others use counts in any case, once an answer reports it.
	Reserve float64

	// BookReserve bounds the weight of each minute that is kept for the snapshots of books that are not synced:
	// as much as half of the books of the DepthSyncers that run need once, and at most this share of what
	// Reserve leaves. Calls, trades and refreshes never use it, so that a lost book need not wait for the next
	// minute. In the last 15 seconds of a minute a 25th of the weight is kept, since the rest would be lost with
	// the minute, and what does not fit waits no longer than that. 0 means 0.6, negative means none.
	BookReserve float64

	Concurrent int // requests sent and not answered; 0 means 8

	// Connects is how many websocket connections are opened in any 5 minutes. 0 means the exchange's
	// limit of 300, negative means no bound.
	Connects int
}

// NewBudget returns a Budget with nothing used. It fails if cfg is contradictory.
func NewBudget(cfg BudgetConfig) (*Budget, error) {
	defaults.Set(&cfg.Concurrent, 8)
	defaults.Set(&cfg.Connects, maxConnects)
	defaults.Set(&cfg.BookReserve, 0.6)
	switch {
	case cfg.Reserve < 0 || !(cfg.Reserve < 1):
		return nil, fmt.Errorf("binance: Budget Reserve %v: want 0 <= Reserve < 1", cfg.Reserve)
	case !(cfg.BookReserve < 1):
		return nil, fmt.Errorf("binance: Budget BookReserve %v: want less than 1", cfg.BookReserve)
	case cfg.Concurrent < 1:
		return nil, fmt.Errorf("binance: Budget Concurrent %d: want at least 1", cfg.Concurrent)
	}
	return &Budget{cfg: cfg, connects: connectWindow{limit: cfg.Connects}}, nil
}

// Usage is the state of a Budget.
type Usage struct {
	Used     int // weight used in this clock minute, as far as known
	Limit    int // weight a minute; 0 means no bound
	Reserved int // part of Limit left for others
	Kept     int // part of Limit kept now for snapshots of books that are not synced

	Sending int   // requests sent and not answered
	Queued  []int // requests that wait, indexed by Priority

	Connects int // websocket connections opened in the last 5 minutes

	BlockedUntil time.Time // local clock; zero unless the exchange refuses everything until then
}

// Usage returns what is used and what waits.
func (b *Budget) Usage() Usage {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.window.advance(now)
	u := Usage{
		Used: b.window.used(), Limit: b.window.limit, Reserved: b.window.reserved(), Kept: b.window.kept(now),
		Sending: b.sending, Queued: b.queue.lengths(), Connects: b.connects.count(now),
	}
	if now.Before(b.blocked) {
		u.BlockedUntil = b.blocked.UTC()
	}
	return u
}

var errOtherFamily = errors.New("binance: Budget is used by a Client of another family: spot and futures have a weight limit each")

// join adds a Client of the market to the Budget's users.
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
		b.window.reserve, b.window.share = b.cfg.Reserve, max(0, b.cfg.BookReserve)
		return nil
	}
	return errOtherFamily
}

// keepForBooks changes the weight of the snapshots that sync all books once.
func (b *Budget) keepForBooks(change int) {
	b.change(func(time.Time) { b.window.books += change })
}

// learnLimit adopts the exchange's limit, unless the Budget was given one.
func (b *Budget) learnLimit(limit int) {
	b.change(func(time.Time) {
		if b.cfg.Limit == 0 && limit > 0 {
			b.window.limit = limit
		}
	})
}

// learnClock adopts the exchange's time from the answer to a request.
func (b *Budget) learnClock(sent, answered, exchange time.Time) {
	b.change(func(now time.Time) { b.window.learnClock(now, sent, answered, exchange) })
}

// exchangeTime returns the earliest time that the exchange's clock may show now.
func (b *Budget) exchangeTime() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.window.clock.earliest(time.Now())
}

// shortestBan is the duration assumed for the first 418 that does not say it; it doubles with each further ban within
// longestBan (rest-api.md: "IP bans [...] scale in duration for repeat offenders, from 2 minutes to 3 days"; that they
// double is unproved). A 429 that does not say it ends with the minute.
const shortestBan = 2 * time.Minute

// refused blocks everything after a request of the spender got a 429 or 418.
func (b *Budget) refused(by *spender, status int, retryAfter time.Duration) {
	var info *ThrottleInfo
	b.change(func(now time.Time) {
		until := now.Add(retryAfter)
		switch {
		case status == http.StatusTeapot:
			until = b.ban(now, retryAfter)
		case retryAfter <= 0:
			until = b.window.next()
		}
		if until.After(b.blocked) {
			b.blocked, b.status, by.notified = until, status, until
			info = &ThrottleInfo{Status: status, Until: until.UTC()}
		}
	})
	if info != nil {
		by.throttled(*info)
	}
}

// ban returns when a ban ends. Several requests that were on their way find one ban.
func (b *Budget) ban(now time.Time, retryAfter time.Duration) time.Time {
	if now.Before(b.banEnd) {
		return now.Add(retryAfter)
	}
	if now.Sub(b.banEnd) > longestBan {
		b.bans = 0
	}
	if retryAfter <= 0 {
		retryAfter = min(shortestBan<<min(b.bans, 12), longestBan)
	}
	b.bans++
	b.banEnd = now.Add(retryAfter)
	return b.banEnd
}

// isBlocked reports whether the exchange refuses all requests now.
func (b *Budget) isBlocked() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Before(b.blocked)
}

// wait blocks until a request of that weight may be sent. The caller closes the reservation once the
// answer has come. If ctx ends first, its error is returned.
func (b *Budget) wait(ctx context.Context, by *spender, p Priority, weight int) (*reservation, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	granted := make(chan struct{})
	r := b.enqueue(by, p, rank{}, weight, func() { close(granted) })
	select {
	case <-granted:
		return r, nil
	case <-ctx.Done():
		r.giveUp()
		return nil, ctx.Err()
	}
}

// enqueue makes a reservation. grant is called when the request may be sent, maybe before enqueue
// returns.
func (b *Budget) enqueue(by *spender, p Priority, at rank, weight int, grant func()) *reservation {
	r := &reservation{budget: b, by: by, priority: p, rank: at, weight: weight, grant: grant}
	b.change(func(time.Time) { b.queue.add(r) })
	return r
}

// learn adopts the exchange's count from the answer to the request, which was sent at that time.
func (r *reservation) learn(sent time.Time, count int) {
	r.budget.change(func(time.Time) { r.counted = r.budget.window.learn(sent, r.weight, count) })
}

// close ends a reservation whose request was answered, or failed.
func (r *reservation) close() {
	r.budget.change(func(time.Time) {
		r.budget.sending--
		if !r.counted {
			r.budget.window.end(r.weight)
		}
	})
}

// giveUp ends a reservation whose request is not sent. Weight that was granted is returned.
func (r *reservation) giveUp() {
	if r.leave() {
		return
	}
	b := r.budget
	b.change(func(time.Time) {
		if r.parked {
			b.parked--
		} else {
			b.sending--
		}
		b.window.giveBack(r.weight)
	})
}

// park ends the hold of a granted request on one of the Concurrent places until unpark. It keeps its weight. Its sender
// may be busy with code of the program that waits for a request of its own.
func (r *reservation) park() {
	r.budget.change(func(time.Time) {
		r.parked = true
		r.budget.parked++
		r.budget.sending--
	})
}

// unpark takes a place again, and reports whether there was one.
func (r *reservation) unpark() (ok bool) {
	b := r.budget
	b.change(func(time.Time) {
		if ok = b.sending < b.cfg.Concurrent; ok {
			r.parked = false
			b.parked--
			b.sending++
		}
	})
	return ok
}

// leave removes the reservation from the queue. It reports false if it is, or is being, granted.
func (r *reservation) leave() bool {
	left := false
	r.budget.change(func(time.Time) {
		if left = !r.granted; left {
			r.budget.queue.remove(r)
		}
	})
	return left
}

// change changes the state and then grants what has become possible.
func (b *Budget) change(f func(now time.Time)) {
	b.mu.Lock()
	now := time.Now()
	b.window.advance(now)
	f(now)
	calls := b.serve(now)
	b.mu.Unlock()
	for _, call := range calls {
		call()
	}
}

// serve grants the reservations that fit and sets the timer for the others. It returns the calls to
// make once the lock is released.
func (b *Budget) serve(now time.Time) (calls []func()) {
	var until time.Time // when to look again at what does not fit
	status := 0
	if now.Before(b.blocked) {
		until, status = b.blocked, b.status
	} else {
		var granted []*reservation
		for r := range b.queue.all {
			if b.sending >= b.cfg.Concurrent {
				break // the next answer makes room
			}
			if r.priority >= PriorityDeepen && b.sending+b.parked >= b.cfg.Concurrent {
				break // the places of those that will be sent next
			}
			if !b.window.take(now, r.weight, r.priority) {
				if at := b.window.nextRoom(now, r.priority); until.IsZero() || at.Before(until) {
					until = at
				}
				continue
			}
			b.sending++
			r.granted = true
			granted = append(granted, r)
			calls = append(calls, r.grant)
		}
		for _, r := range granted {
			b.queue.remove(r)
		}
	}
	return append(calls, b.pause(now, until, status)...)
}

// pause sets the timer that serves the queue again at until, and returns the calls that notify those
// who wait for it. A zero until means that nothing waits for a time.
func (b *Budget) pause(now, until time.Time, status int) (calls []func()) {
	if b.timer != nil {
		b.timer.Stop()
	}
	waiting := false
	for r := range b.queue.all {
		if until.IsZero() {
			return nil
		}
		waiting = true
		if r.by.notified.Before(until) {
			r.by.notified = until
			info := ThrottleInfo{Status: status, Until: until.UTC(), Weight: r.weight}
			calls = append(calls, func() { r.by.throttled(info) })
		}
	}
	if waiting {
		b.timer = time.AfterFunc(until.Sub(now), func() { b.change(func(time.Time) {}) })
	}
	return calls
}

// waitConnect blocks until a websocket connection may be opened, and counts it. While the exchange
// refuses requests, connecting is not allowed either. If ctx ends first, its error is returned.
func (b *Budget) waitConnect(ctx context.Context, by *spender) error {
	var notified time.Time
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		now := time.Now()
		until, status := b.takeConnect(now)
		if until.IsZero() {
			return nil
		}
		if until.After(notified) {
			notified = until
			by.throttled(ThrottleInfo{Status: status, Until: until.UTC()})
		}
		if err := backoff.Sleep(ctx, until.Sub(now)); err != nil {
			return err
		}
	}
}

// takeConnect counts a connection attempt and returns the zero time, or returns when to try again.
func (b *Budget) takeConnect(now time.Time) (until time.Time, status int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Before(b.blocked) {
		return b.blocked, b.status
	}
	return b.connects.take(now), 0
}
