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
		if name = c.served(name); name == "" {
			continue
		}
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

// served returns what a stream of a connection is among all; "" for one that says nothing.
func (c *conn) served(name string) string {
	if c.form == inSBE {
		return sbeStream(name)
	}
	return name
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
		name = c.served(name)
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
	var shapes [2][3][]frame // by combined and form; connections of one shape share the bytes
	for _, c := range subscribers {
		if class != anyClass && c.class != class {
			continue
		}
		shape := &shapes[index(c.combined)][c.form]
		if *shape == nil {
			*shape = s.shape(stream, p, c.combined, c.form)
		}
		for _, f := range *shape {
			c.push(f)
		}
	}
}

// shape makes frames of an event: none if the exchange does not have it in that form. sbe-market-data-streams.md
// shows no wrapper around binary events, on combined connections either.
func (s *Server) shape(stream string, p payload, combined bool, as form) []frame {
	frames := []frame{}
	if as != inSBE {
		if data := shapeJSON(stream, p, combined, as); data != nil {
			frames = append(frames, frame{data: data})
		}
		return frames
	}
	if message := p(nil, as); message != nil {
		for _, data := range s.wire.sbe.frames(message) {
			frames = append(frames, frame{kind: binaryFrame, data: data})
		}
	}
	return frames
}

func shapeJSON(stream string, p payload, combined bool, as form) []byte {
	b := make([]byte, 0, 512)
	if !combined {
		return p(b, as)
	}
	b = append(append(b, `{"stream":`...), jsonString(stream)...)
	if b = p(append(b, `,"data":`...), as); b == nil {
		return nil
	}
	return append(b, '}')
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
