package binance

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// maxRequest bounds a control frame. Reports agree that a frame beyond 4,096 bytes makes the exchange
// stall: no acknowledgement and no error.
const maxRequest = 4000

// A request is one control frame.
type request struct {
	id         int64
	subscribes bool
	streams    []string
	frame      []byte
}

// An outbox queues the requests of a connection. It is safe for concurrent use.
type outbox struct {
	ready chan struct{} // holds a token while there may be requests

	mu       sync.Mutex
	requests []request
}

func newOutbox() *outbox { return &outbox{ready: make(chan struct{}, 1)} }

func (o *outbox) put(requests []request) {
	o.mu.Lock()
	o.requests = append(o.requests, requests...)
	o.mu.Unlock()
	wake(o.ready)
}

// run sends the requests until ctx ends, or until the connection fails, which it then closes.
func (o *outbox) run(ctx context.Context, s *Stream) {
	for {
		select {
		case <-o.ready:
		case <-ctx.Done():
			return
		}
		o.mu.Lock()
		requests := o.requests
		o.requests = nil
		o.mu.Unlock()
		if _, err := s.send(ctx, requests); err != nil {
			s.closeWith(err)
			return
		}
	}
}

// Subscribe adds streams, in as many requests as their names need and no faster than the exchange
// accepts them. It returns the ids of the requests once they are sent. The exchange answers each with a
// MessageAck or a MessageError, which the reader receives; an acknowledgement does not prove that a
// stream exists. Errors are ErrTooManyStreams, the error of ctx, or that of the connection.
func (s *Stream) Subscribe(ctx context.Context, streams ...string) (ids []int64, err error) {
	requests, err := s.plan("SUBSCRIBE", streams)
	if err != nil {
		return nil, err
	}
	return s.send(ctx, requests)
}

// Unsubscribe removes streams, and is otherwise like Subscribe. Events on their way may still come
// after the acknowledgement.
func (s *Stream) Unsubscribe(ctx context.Context, streams ...string) (ids []int64, err error) {
	requests, err := s.plan("UNSUBSCRIBE", streams)
	if err != nil {
		return nil, err
	}
	return s.send(ctx, requests)
}

// plan divides streams into numbered requests.
func (s *Stream) plan(method string, streams []string) ([]request, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	after := s.streams + len(streams)
	if method == "UNSUBSCRIBE" {
		after = max(0, s.streams-len(streams))
	}
	if after > s.market.maxStreams {
		return nil, fmt.Errorf("binance: %d streams, %s takes %d: %w", after, s.market.name, s.market.maxStreams, ErrTooManyStreams)
	}
	requests, err := planRequests(method, streams, s.nextID)
	if err != nil {
		return nil, err
	}
	s.streams = after
	s.nextID += int64(len(requests))
	return requests, nil
}

// replan is plan for streams that are subscribed already.
func (s *Stream) replan(streams []string) ([]request, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests, err := planRequests("SUBSCRIBE", streams, s.nextID)
	s.nextID += int64(len(requests))
	return requests, err
}

// planRequests divides streams, in order, into requests of at most maxRequest bytes, numbered from
// firstID+1.
func planRequests(method string, streams []string, firstID int64) ([]request, error) {
	var requests []request
	for len(streams) > 0 {
		r := request{id: firstID + int64(len(requests)) + 1, subscribes: method == "SUBSCRIBE"}
		frame := fmt.Appendf(nil, `{"method":%q,"params":[`, method)
		tail := fmt.Appendf(nil, `],"id":%d}`, r.id)
		n := 0
		for ; n < len(streams); n++ {
			name, err := json.Marshal(streams[n])
			if err != nil {
				return nil, err
			}
			if n > 0 {
				name = append([]byte{','}, name...)
			}
			if len(frame)+len(name)+len(tail) > maxRequest {
				break
			}
			frame = append(frame, name...)
		}
		if n == 0 {
			return nil, fmt.Errorf("binance: stream name of %d bytes is too long", len(streams[0]))
		}
		r.streams, r.frame = streams[:n], append(frame, tail...)
		requests = append(requests, r)
		streams = streams[n:]
	}
	return requests, nil
}

// send writes the requests and returns the ids of those it has written.
func (s *Stream) send(ctx context.Context, requests []request) (ids []int64, err error) {
	for _, r := range requests {
		if err := s.write(ctx, r.frame); err != nil {
			return ids, err
		}
		ids = append(ids, r.id)
	}
	return ids, nil
}

// acks are the subscriptions of a connection that the exchange has not acknowledged yet.
type acks struct {
	pending map[int64]request
	since   time.Time     // when the connection was opened
	last    time.Time     // of the latest acknowledgement
	timeout time.Duration // without progress
	due     time.Time     // when it is reached; zero if nothing is pending
}

// expect starts with these requests.
func (a *acks) expect(requests []request, now time.Time, timeout time.Duration) {
	*a = acks{pending: make(map[int64]request, len(requests)), since: now, timeout: timeout}
	a.add(requests, now)
}

// add adds requests to those pending.
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

// arrived returns the streams of the acknowledged request, and whether it was the last one. Requests
// may be sent over several seconds, so each acknowledgement postpones the deadline.
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

// overdue returns an error that is ErrNoAck once the deadline has passed.
func (a *acks) overdue(now time.Time) error {
	if a.due.IsZero() || now.Before(a.due) {
		return nil
	}
	return fmt.Errorf("%w within %v: %d requests", ErrNoAck, a.timeout, len(a.pending))
}
