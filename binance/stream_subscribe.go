package binance

import (
	"context"
	"encoding/json"
	"fmt"
)

// maxRequest bounds a control frame. Reports agree that a frame beyond 4,096 bytes makes the exchange
// stall: no acknowledgement and no error.
const maxRequest = 4000

// The methods of requests.
const (
	subscribeMethod   = "SUBSCRIBE"
	unsubscribeMethod = "UNSUBSCRIBE"
)

// A request is one control frame.
type request struct {
	id      int64
	streams []string
	frame   []byte
}

// Subscribe adds streams, in as many requests as their names need and no faster than the exchange
// accepts them. It returns the ids of the requests once they are sent. The exchange answers each with a
// MessageAck or a MessageError, which the reader receives; an acknowledgement does not prove that a
// stream exists. Errors are ErrTooManyStreams, the error of ctx, or that of the connection.
func (s *Stream) Subscribe(ctx context.Context, streams ...string) (ids []int64, err error) {
	return s.change(ctx, subscribeMethod, streams)
}

// Unsubscribe removes streams, and is otherwise like Subscribe. Events on their way may still come
// after the acknowledgement. The exchange accepts streams that the connection does not have.
func (s *Stream) Unsubscribe(ctx context.Context, streams ...string) (ids []int64, err error) {
	return s.change(ctx, unsubscribeMethod, streams)
}

// change sends the requests for streams and returns the ids of those it has sent.
func (s *Stream) change(ctx context.Context, method string, streams []string) (ids []int64, err error) {
	requests, err := s.plan(method, streams)
	if err != nil {
		return nil, err
	}
	for _, r := range requests {
		if err := s.write(ctx, func() ([]byte, error) { return r.frame, nil }); err != nil {
			return ids, err
		}
		ids = append(ids, r.id)
	}
	return ids, nil
}

// plan divides streams into numbered requests.
func (s *Stream) plan(method string, streams []string) ([]request, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	after := len(s.streams)
	for _, name := range streams {
		if method == subscribeMethod && !s.streams[name] {
			after++
		}
	}
	if after > s.market.maxStreams {
		return nil, fmt.Errorf("binance: %d streams, %s takes %d: %w", after, s.market.name, s.market.maxStreams, ErrTooManyStreams)
	}
	requests, err := planRequests(method, streams, s.nextID)
	if err != nil {
		return nil, err
	}
	s.nextID += int64(len(requests))
	for _, name := range streams {
		if method == subscribeMethod {
			s.streams[name] = true
		} else {
			delete(s.streams, name)
		}
	}
	return requests, nil
}

// planRequests divides streams, in order, into requests of at most maxRequest bytes, numbered from
// firstID+1.
func planRequests(method string, streams []string, firstID int64) (requests []request, err error) {
	for len(streams) > 0 {
		r, err := newRequest(method, streams, firstID+int64(len(requests))+1)
		if err != nil {
			return nil, err
		}
		requests = append(requests, r)
		streams = streams[len(r.streams):]
	}
	return requests, nil
}

// newRequest returns a request for the first of the streams, as many as fit into maxRequest bytes.
func newRequest(method string, streams []string, id int64) (request, error) {
	frame := fmt.Appendf(nil, `{"method":%q,"params":[`, method)
	tail := fmt.Appendf(nil, `],"id":%d}`, id)
	n := 0
	for ; n < len(streams); n++ {
		name, err := json.Marshal(streams[n])
		if err != nil {
			return request{}, err
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
		return request{}, fmt.Errorf("binance: stream name of %d bytes is too long", len(streams[0]))
	}
	return request{id: id, streams: streams[:n], frame: append(frame, tail...)}, nil
}
