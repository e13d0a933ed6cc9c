package binancetest

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/gorilla/websocket"
)

// subscribe adds streams to a connection; one it has already is left as it is. The exchange refuses no
// name: an unknown one, one in upper case, or one of another route just never says anything.
//
// web-socket-streams.md, "Websocket Limits": "A single connection can listen to a maximum of 1024
// streams." What happens beyond is not documented; here the connection is closed.
func (s *Server) subscribe(c *conn, streams []string) {
	for _, name := range streams {
		if slices.Contains(c.streams, name) {
			continue
		}
		c.streams = append(c.streams, name)
		_, kind := splitStream(name)
		s.partials = s.partials || kind == "depth5" || kind == "depth10" || kind == "depth20"
		if (c.route == routeAll || c.route == routeOf(kind)) && !slices.Contains(s.subscribers[name], c) {
			s.subscribers[name] = append(s.subscribers[name], c)
		}
	}
	if len(c.streams) > s.rules.maxStreams {
		s.stats.StreamViolations++
		c.close(websocket.ClosePolicyViolation, "Too many streams")
	}
	close(s.subscribed)
	s.subscribed = make(chan struct{})
}

// splitStream cuts a stream's name, such as "btcusdt@depth@100ms", into the symbol in lower case and the
// type without its speed.
func splitStream(name string) (symbol, kind string) {
	symbol, kind, _ = strings.Cut(name, "@")
	kind, _, _ = strings.Cut(kind, "@")
	if kind == "" {
		kind = strings.TrimPrefix(symbol, "!") // as in !contractInfo
	}
	return symbol, kind
}

func (s *Server) unsubscribe(c *conn, streams []string) {
	c.streams = slices.DeleteFunc(c.streams, func(name string) bool { return slices.Contains(streams, name) })
	for _, name := range streams {
		rest := slices.DeleteFunc(s.subscribers[name], func(o *conn) bool { return o == c })
		if len(rest) == 0 {
			delete(s.subscribers, name)
			continue
		}
		s.subscribers[name] = rest
	}
}

// publish sends an event to the subscribers of a stream. On a combined connection it is wrapped as
// {"stream":"<name>","data":<payload>}.
func (s *Server) publish(stream string, p payload) { s.publishTo(anyClass, stream, p) }

// anyClass stands for the connections of every class.
const anyClass = -1

func (s *Server) publishTo(class int, stream string, p payload) {
	subscribers := s.subscribers[stream]
	if len(subscribers) == 0 {
		return
	}
	p = s.wire.dress(p)
	var shapes [2][2][]byte // by combined and micros; connections of one shape share the bytes
	for _, c := range subscribers {
		if class != anyClass && c.class != class {
			continue
		}
		shape := &shapes[index(c.combined)][index(c.micros)]
		if *shape == nil {
			*shape = shapeFrame(stream, p, c.combined, c.micros)
		}
		c.push(frame{data: *shape})
	}
}

func shapeFrame(stream string, p payload, combined, micros bool) []byte {
	b := make([]byte, 0, 512)
	if !combined {
		return p(b, micros)
	}
	b = append(append(b, `{"stream":`...), jsonString(stream)...)
	return append(p(append(b, `,"data":`...), micros), '}')
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

// sendDepth sends the event of a batch under each name of its stream, unless a fault says otherwise.
func (s *Server) sendDepth(y *symbolState, b *batch) {
	heard := false
	for _, name := range b.period.streams {
		heard = heard || slices.ContainsFunc(s.subscribers[y.lower+"@"+name], func(c *conn) bool { return c.class == b.class })
	}
	if !heard {
		return
	}
	event := s.encode.depth(y, b, s.now())
	if !y.faults.onDepth() && len(b.held) == 0 {
		s.sendEvent(y, b, event)
		return
	}
	for _, e := range y.faults.depthEvents(b, event) {
		s.sendEvent(y, b, e)
	}
}

func (s *Server) sendEvent(y *symbolState, b *batch, event payload) {
	for _, name := range b.period.streams {
		s.publishTo(b.class, y.lower+"@"+name, event)
	}
}

// sendPartial sends the best levels to the partial depth streams of a batch's speed. An interval
// without a change sends nothing.
func (s *Server) sendPartial(y *symbolState, b *batch) {
	for _, name := range b.period.streams {
		_, speed, _ := strings.Cut(name, "@")
		for _, n := range [...]string{"5", "10", "20"} {
			stream := y.lower + "@depth" + n
			if speed != "" {
				stream += "@" + speed
			}
			if len(s.subscribers[stream]) > 0 {
				limit, _ := strconv.Atoi(n) // a number
				s.publish(stream, s.encode.partial(y, b, limit, s.now()))
			}
		}
	}
}

// Subscribed waits until each of the streams, by their full names such as "btcusdt@depth@100ms", has a
// subscriber. The errors are that of ctx, and ErrClosed.
func (s *Server) Subscribed(ctx context.Context, streams ...string) error {
	for {
		s.mu.Lock()
		missing := slices.ContainsFunc(streams, func(name string) bool { return len(s.subscribers[name]) == 0 })
		grown := s.subscribed
		s.mu.Unlock()
		if !missing {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.done:
			return ErrClosed
		}
	}
}
