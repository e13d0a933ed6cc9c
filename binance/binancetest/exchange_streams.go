package binancetest

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/marketprism/marketprism/internal/defaults"
)

// acceptConn returns the status of a handshake. It enforces web-socket-streams.md, "General WSS information": "There is a limit of 300
// connections per attempt every 5 minutes per IP." The documents do not name the answer; 429 is this
// package's choice.
func (x *exchange) acceptConn(now time.Time) (status int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.connects = slices.DeleteFunc(x.connects, func(t time.Time) bool { return now.Sub(t) >= 5*time.Minute })
	if limit := x.cfg.ConnectLimit; limit >= 0 && len(x.connects) >= limit {
		x.stats.ConnectViolations++
		return http.StatusTooManyRequests
	}
	x.connects = append(x.connects, now)
	if x.faults.rejectStreams > 0 {
		x.faults.rejectStreams--
		return x.faults.streamStatus
	}
	return http.StatusOK
}

// open registers a connection and subscribes the streams of its address. It counts the connection, so that
// a client finds it counted once its handshake is answered.
func (x *exchange) open(c *conn, streams []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.nextConn++
	c.id = x.nextConn
	if x.cfg.AlternateBatches {
		c.class = 1 - c.id%2
	}
	x.conns = append(x.conns, c)
	x.stats.Connections++
	x.subscribe(c, streams)
}

// attach sets the websocket of a connection, and closes it if the connection was cut during the handshake.
func (x *exchange) attach(c *conn, ws *websocket.Conn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c.ws = ws
	if c.gone || x.closed {
		c.cut()
	}
}

func (x *exchange) forget(c *conn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c.closing = true
	if c.ws == nil { // the handshake failed
		x.stats.Connections--
	}
	x.unsubscribe(c, slices.Clone(c.streams))
	x.conns = slices.DeleteFunc(x.conns, func(o *conn) bool { return o == c })
	c.out.close()
	c.cut()
}

// subscribe adds streams to a connection, except those it has. An unknown name, one in upper case, or one of
// another route stays silent; see refuses.
//
// web-socket-streams.md, "Websocket Limits": "A single connection can listen to a maximum of 1024
// streams." What happens beyond is not documented; here the connection is closed.
func (x *exchange) subscribe(c *conn, streams []string) {
	for _, name := range streams {
		if slices.Contains(c.streams, name) {
			continue
		}
		c.streams = append(c.streams, name)
		if name = c.served(name); name == "" {
			continue
		}
		_, kind := splitStream(name)
		x.partials = x.partials || kind == "depth5" || kind == "depth10" || kind == "depth20"
		if (c.route == routeAll || c.route == routeOf(kind)) && !slices.Contains(x.subscribers[name], c) {
			x.subscribers[name] = append(x.subscribers[name], c)
		}
	}
	limit := x.cfg.StreamLimit
	defaults.Set(&limit, x.rules.maxStreams)
	if limit >= 0 && len(c.streams) > limit {
		x.stats.StreamViolations++
		c.close(websocket.ClosePolicyViolation, "Too many streams")
	}
	close(x.subscribed)
	x.subscribed = make(chan struct{})
}

func (x *exchange) unsubscribe(c *conn, streams []string) {
	c.streams = slices.DeleteFunc(c.streams, func(name string) bool { return slices.Contains(streams, name) })
	for _, name := range streams {
		name = c.served(name)
		rest := slices.DeleteFunc(x.subscribers[name], func(o *conn) bool { return o == c })
		if len(rest) == 0 {
			delete(x.subscribers, name)
			continue
		}
		x.subscribers[name] = rest
	}
}

// publish sends an event to the subscribers of a stream, on combined connections as
// {"stream":"<name>","data":<payload>}.
func (x *exchange) publish(stream string, p payload) { x.publishTo(anyClass, stream, p) }

// anyClass means the connections of every class.
const anyClass = -1

func (x *exchange) publishTo(class int, stream string, p payload) {
	subscribers := x.subscribers[stream]
	if len(subscribers) == 0 {
		return
	}
	p = x.wire.dress(p)
	var shapes [2][3][]frame // by combined and form; connections of one shape share the bytes
	for _, c := range subscribers {
		if class != anyClass && c.class != class {
			continue
		}
		shape := &shapes[index(c.combined)][c.form]
		if *shape == nil {
			*shape = x.shape(stream, p, c.combined, c.form)
		}
		for _, f := range *shape {
			c.push(f)
		}
	}
}

// shape returns the frames of an event, none if the exchange does not send it in that form.
// sbe-market-data-streams.md shows no wrapper around binary events, not even on combined connections.
func (x *exchange) shape(stream string, p payload, combined bool, as form) []frame {
	frames := []frame{}
	if as != inSBE {
		if data := shapeJSON(stream, p, combined, as); data != nil {
			frames = append(frames, frame{data: data})
		}
		return frames
	}
	if message := p(nil, as); message != nil {
		for _, data := range x.wire.sbe.frames(message) {
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

// splitStream splits a stream's name, such as "btcusdt@depth@100ms", into the symbol in lower case and the
// type without its speed.
func splitStream(name string) (symbol, kind string) {
	symbol, kind, _ = strings.Cut(name, "@")
	kind, _, _ = strings.Cut(kind, "@")
	if kind == "" {
		kind = strings.TrimPrefix(symbol, "!") // as in !contractInfo
	}
	return symbol, kind
}
