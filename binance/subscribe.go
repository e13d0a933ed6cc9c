package binance

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
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

// An outbox holds the requests of a connection that wait for their turn. It is safe for concurrent use.
type outbox struct {
	ready chan struct{} // holds a token while there may be some

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

// run sends what is put in until ctx ends or the connection fails, which it then closes.
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
// takes them. It returns the ids of the requests once they are sent. Each is answered by a
// MessageAck, or by a MessageError, that the reader gets; an acknowledgement does not prove that a
// stream exists. Errors are ErrTooManyStreams, the error of ctx, or that of the connection.
func (s *Stream) Subscribe(ctx context.Context, streams ...string) (ids []int64, err error) {
	requests, err := s.plan("SUBSCRIBE", streams)
	if err != nil {
		return nil, err
	}
	return s.send(ctx, requests)
}

// Unsubscribe removes streams. It is like Subscribe in all else. Events already on their way may
// still come after the acknowledgement.
func (s *Stream) Unsubscribe(ctx context.Context, streams ...string) (ids []int64, err error) {
	requests, err := s.plan("UNSUBSCRIBE", streams)
	if err != nil {
		return nil, err
	}
	return s.send(ctx, requests)
}

// plan cuts streams into requests and numbers them.
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

// planRequests cuts streams, in order, into requests of at most maxRequest bytes numbered from
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

// send writes the requests and returns the ids of those written.
func (s *Stream) send(ctx context.Context, requests []request) (ids []int64, err error) {
	for _, r := range requests {
		if err := s.write(ctx, r.frame); err != nil {
			return ids, err
		}
		ids = append(ids, r.id)
	}
	return ids, nil
}
