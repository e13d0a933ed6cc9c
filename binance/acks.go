package binance

import (
	"fmt"
	"time"
)

// acks are the subscriptions of a connection that wait for the exchange's word.
type acks struct {
	pending map[int64]request
	since   time.Time     // when the connection began
	last    time.Time     // when the last word came
	timeout time.Duration // without progress
	due     time.Time     // when it is reached; zero if nothing is pending
}

// expect begins anew with these requests.
func (a *acks) expect(requests []request, now time.Time, timeout time.Duration) {
	*a = acks{pending: make(map[int64]request, len(requests)), since: now, timeout: timeout}
	a.add(requests, now)
}

// add expects the word on more requests.
func (a *acks) add(requests []request, now time.Time) {
	for _, r := range requests {
		if r.subscribes {
			a.pending[r.id] = r
		}
	}
	if len(a.pending) > 0 {
		a.due = now.Add(a.timeout)
	}
}

// arrived returns the streams of the request that was acknowledged, and whether it was the last one.
// Requests may be sent over several seconds, so each acknowledgement puts off the deadline.
func (a *acks) arrived(id RequestID, now time.Time) (streams []string, all bool) {
	r, ok := a.pending[id.Number]
	if !ok || id.Null || id.Text != "" {
		return nil, false
	}
	delete(a.pending, id.Number)
	a.last = now
	if len(a.pending) == 0 {
		a.due = time.Time{}
		return r.streams, true
	}
	a.due = now.Add(a.timeout)
	return r.streams, false
}

// refused returns a *SubscribeError. The exchange repeats no id if it could not read the request.
func (a *acks) refused(id RequestID, err *StreamError) error {
	if id.Null || id.Text != "" {
		return &SubscribeError{Err: err}
	}
	return &SubscribeError{Streams: a.pending[id.Number].streams, Err: err}
}

// overdue returns ErrNoAck once the deadline has passed.
func (a *acks) overdue(now time.Time) error {
	if a.due.IsZero() || now.Before(a.due) {
		return nil
	}
	return fmt.Errorf("%w within %v: %d requests", ErrNoAck, a.timeout, len(a.pending))
}
