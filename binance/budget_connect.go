package binance

import (
	"context"
	"time"

	"github.com/marketprism/marketprism/internal/backoff"
)

// web-socket-streams.md, Websocket Limits: "There is a limit of 300 connections per attempt every 5
// minutes per IP." The second more is for attempts that arrive closer together than they left.
const (
	maxConnects   = 300
	connectPeriod = 5*time.Minute + time.Second
)

// A connectWindow counts connection attempts of the last period.
type connectWindow struct {
	limit    int // negative means no bound
	attempts []time.Time
}

func (w *connectWindow) forget(now time.Time) {
	for len(w.attempts) > 0 && !now.Before(w.attempts[0].Add(connectPeriod)) {
		w.attempts = w.attempts[1:]
	}
}

func (w *connectWindow) count(now time.Time) int {
	w.forget(now)
	return len(w.attempts)
}

// take counts an attempt and returns zero, or returns when to try again.
func (w *connectWindow) take(now time.Time) time.Time {
	if w.limit < 0 {
		return time.Time{}
	}
	if w.count(now) >= w.limit {
		return w.attempts[0].Add(connectPeriod)
	}
	w.attempts = append(w.attempts, now)
	return time.Time{}
}

// waitConnect returns when a websocket connection may be opened, and counts it: whoever is told to
// stay away must not connect either. Before that it returns only if ctx ends, with its error.
func (b *Budget) waitConnect(ctx context.Context, by *spender) error {
	var told time.Time
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		now := time.Now()
		until, status := b.takeConnect(now)
		if until.IsZero() {
			return nil
		}
		if until.After(told) {
			told = until
			by.throttled(ThrottleInfo{Status: status, Until: until.UTC()})
		}
		if err := backoff.Sleep(ctx, until.Sub(now)); err != nil {
			return err
		}
	}
}

func (b *Budget) takeConnect(now time.Time) (until time.Time, status int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Before(b.blocked) {
		return b.blocked, b.status
	}
	return b.connects.take(now), 0
}
