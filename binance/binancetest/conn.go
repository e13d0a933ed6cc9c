package binancetest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/marketprism/marketprism/internal/defaults"
)

const (
	maxMessage = 1 << 20          // bytes a client may send in one message
	closeWait  = 10 * time.Second // for the client's answer to a close frame
	writeWait  = 10 * time.Second // for a close frame itself
)

// A conn is one websocket connection. A reader, a writer and a keeper of time each have a goroutine.
type conn struct {
	server *Server
	ws     *websocket.Conn // set under the Server's mutex before any goroutine of the connection starts
	id     int
	class  int // which batches of depth it gets
	path   string
	route  route
	form   form
	opened time.Time
	out    *outbox
	ended  chan struct{} // closed when the reader ends

	// Guarded by the Server's mutex.
	gone      bool     // cut
	streams   []string // in order of subscription
	combined  bool
	closing   bool // nothing more is sent or answered
	silent    bool // half-open: as closing, but the peer is not told
	skipPings int  // that many are not sent
	deaf      bool // an oversized message stalls the server until its next ping
	pings     []sentPing

	received []time.Time // when the last messages came, of the last second at most; the reader's own
}

type sentPing struct {
	data string
	at   time.Time
}

// serveStream upgrades a request and serves the connection until it ends.
func (s *Server) serveStream(w http.ResponseWriter, r *http.Request, rt route, path string) {
	if status := s.admitConn(time.Now()); status != http.StatusOK {
		http.Error(w, http.StatusText(status), status)
		return
	}
	query := r.URL.Query()
	c := &conn{
		server: s, route: rt, path: r.URL.Path, opened: time.Now(),
		form:     s.formOf(r),
		combined: path == "/stream",
		out:      newOutbox(s.cfg.SendQueue), ended: make(chan struct{}),
	}
	names := strings.TrimPrefix(strings.TrimPrefix(path, "/ws"), "/")
	if c.combined {
		names = query.Get("streams")
	}
	// Entered before the handshake is answered, so that a client misses nothing from then on.
	s.open(c, strings.FieldsFunc(names, func(r rune) bool { return r == '/' }))
	defer s.forget(c)
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	s.attach(c, ws)
	s.running.Go(c.write)
	s.running.Go(c.keep)
	c.read()
	close(c.ended)
}

// formOf tells in which form a connection wants events. The exchange has a host of its own for SBE, which asks for
// an API key; here the key alone makes the difference. Futures have one form.
func (s *Server) formOf(r *http.Request) form {
	switch {
	case !s.rules.contiguous:
	case r.Header.Get("X-MBX-APIKEY") != "":
		return inSBE
	case strings.EqualFold(r.URL.Query().Get("timeUnit"), "MICROSECOND"):
		return inMicros
	}
	return inMillis
}

// admitConn enforces web-socket-streams.md, "General WSS information": "There is a limit of 300
// connections per attempt every 5 minutes per IP." The documents give no answer to one more; 429 is this
// package's choice.
func (s *Server) admitConn(now time.Time) (status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connects = slices.DeleteFunc(s.connects, func(t time.Time) bool { return now.Sub(t) >= 5*time.Minute })
	if limit := s.cfg.ConnectLimit; limit >= 0 && len(s.connects) >= limit {
		s.stats.ConnectViolations++
		return http.StatusTooManyRequests
	}
	s.connects = append(s.connects, now)
	if s.faults.rejectStreams > 0 {
		s.faults.rejectStreams--
		return s.faults.streamStatus
	}
	return http.StatusOK
}

// open enters a connection into the books with the streams of its address. It counts from here on, so that a
// client whose handshake was answered finds it counted.
func (s *Server) open(c *conn, streams []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nextConn++
	c.id = s.nextConn
	if s.cfg.AlternateBatches {
		c.class = 1 - c.id%2
	}
	s.conns = append(s.conns, c)
	s.stats.Connections++
	s.subscribe(c, streams)
}

// attach gives a connection its websocket, unless it was cut during the handshake.
func (s *Server) attach(c *conn, ws *websocket.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.ws = ws
	if c.gone || s.closed {
		c.cut()
	}
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.closing = true
	if c.ws == nil { // the handshake failed
		s.stats.Connections--
	}
	s.unsubscribe(c, slices.Clone(c.streams))
	s.conns = slices.DeleteFunc(s.conns, func(o *conn) bool { return o == c })
	c.out.close()
	c.cut()
}

// read handles what the client sends until the connection ends.
func (c *conn) read() {
	c.ws.SetReadLimit(maxMessage)
	c.ws.SetPingHandler(func(data string) error {
		c.receive(func() {
			if !c.server.wire.mute {
				c.push(frame{kind: pongFrame, data: []byte(data)})
			}
		})
		return nil
	})
	c.ws.SetPongHandler(func(data string) error {
		c.receive(func() { c.pong(data) })
		return nil
	})
	c.ws.SetCloseHandler(func(code int, _ string) error {
		c.answerClose(code)
		return nil
	})
	for {
		_, data, err := c.ws.ReadMessage()
		if err != nil {
			return
		}
		c.receive(func() { c.command(data) })
	}
}

// receive counts one message of the client and handles it under the Server's mutex.
//
// web-socket-streams.md, "Websocket Limits": "WebSocket connections have a limit of 5 incoming messages
// per second. A message is considered: a PING frame, a PONG frame, a JSON controlled message (e.g.
// subscribe, unsubscribe). A connection that goes beyond the limit will be disconnected". The window
// slides, and the close frame says 1008 "Too many requests".
func (c *conn) receive(handle func()) {
	s, now := c.server, time.Now()
	c.received = slices.DeleteFunc(c.received, func(t time.Time) bool { return now.Sub(t) >= time.Second })
	c.received = append(c.received, now)
	limit := s.cfg.MessageLimit
	defaults.Set(&limit, s.rules.messages)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Messages++
	switch {
	case c.closing || c.silent:
	case limit >= 0 && len(c.received) > limit:
		s.stats.MessageViolations++
		c.close(websocket.ClosePolicyViolation, "Too many requests")
	default:
		handle()
	}
}

// pong settles the pings up to the one it answers. A pong that matches none was not asked for and
// does not count as a sign of life.
func (c *conn) pong(data string) {
	if i := slices.IndexFunc(c.pings, func(p sentPing) bool { return p.data == data }); i >= 0 {
		c.pings = slices.Delete(c.pings, 0, i+1)
	}
}

// push queues a frame. A client that reads too slowly for the queue is cut off, as the exchange does
// when its send buffer is full.
func (c *conn) push(f frame) {
	if c.closing || c.silent || c.out.push(f) {
		return
	}
	c.closing = true
	c.server.stats.SlowConsumers++
	c.cut()
}

// close queues a close frame; the connection ends when the client has answered it, or after a while.
func (c *conn) close(code int, reason string) {
	c.push(frame{kind: closeFrame, code: code, reason: reason})
	c.closing = true
}

// answerClose sends a client's close frame back, past the queue, unless it was an answer itself.
func (c *conn) answerClose(code int) {
	c.server.mu.Lock()
	answer := !c.closing && !c.silent
	c.closing = true
	c.server.mu.Unlock()
	if answer {
		_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), time.Now().Add(writeWait))
	}
}

func (c *conn) lockedClose(code int, reason string) {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.close(code, reason)
}

// cut ends the connection without a close frame.
func (c *conn) cut() {
	c.gone = true
	if c.ws != nil {
		_ = c.ws.NetConn().Close()
	}
}

// write sends what is queued. It ends with the outbox.
func (c *conn) write() {
	var frames []frame
	for {
		if frames = c.out.take(frames); frames == nil {
			return
		}
		for _, f := range frames {
			if err := c.writeFrame(f); err != nil {
				_ = c.ws.NetConn().Close() // ends the reader, which cleans up
				return
			}
		}
	}
}

func (c *conn) writeFrame(f frame) error {
	switch f.kind {
	case textFrame:
		return c.ws.WriteMessage(websocket.TextMessage, f.data)
	case binaryFrame:
		return c.ws.WriteMessage(websocket.BinaryMessage, f.data)
	case pingFrame:
		return c.ws.WriteControl(websocket.PingMessage, f.data, time.Time{})
	case pongFrame:
		return c.ws.WriteControl(websocket.PongMessage, f.data, time.Time{})
	}
	_ = c.ws.SetReadDeadline(time.Now().Add(closeWait))
	return c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(f.code, f.reason), time.Now().Add(writeWait))
}

// keep sends the pings and ends the connection when its time is over.
//
// web-socket-streams.md, "General WSS information": "A single connection to stream.binance.com is only
// valid for 24 hours; expect to be disconnected at the 24 hour mark. The WebSocket server will send a
// ping frame every 20 seconds. If the WebSocket server does not receive a pong frame back from the
// connection within a minute the connection will be disconnected."
func (c *conn) keep() {
	r := c.server.rules
	ping := time.NewTicker(r.pingPeriod)
	defer ping.Stop()
	overdue := time.NewTimer(r.pongTimeout)
	defer overdue.Stop()
	var expired <-chan time.Time
	if life := c.server.cfg.Lifetime; life >= 0 {
		t := time.NewTimer(life)
		defer t.Stop()
		expired = t.C
	}
	for {
		select {
		case <-c.ended:
			return
		case <-ping.C:
			c.ping(time.Now())
		case <-overdue.C:
			overdue.Reset(c.checkPongs(time.Now()))
		case <-expired:
			c.lockedClose(websocket.CloseGoingAway, "") // which code the exchange sends here is not documented
		}
	}
}

func (c *conn) ping(now time.Time) {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.deaf = false
	if c.skipPings > 0 {
		c.skipPings--
		return
	}
	if c.closing || c.silent {
		return
	}
	data := strconv.FormatInt(now.UnixMilli(), 10)
	c.pings = append(c.pings, sentPing{data: data, at: now})
	c.push(frame{kind: pingFrame, data: []byte(data)})
}

// checkPongs closes a connection whose oldest ping is too old, and returns when to look again.
func (c *conn) checkPongs(now time.Time) time.Duration {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	limit := c.server.rules.pongTimeout
	if len(c.pings) == 0 || c.silent {
		return c.server.rules.pingPeriod
	}
	left := limit - now.Sub(c.pings[0].at)
	if left <= 0 {
		c.server.stats.PongTimeouts++
		c.close(websocket.ClosePolicyViolation, "Pong timeout")
		return limit
	}
	return left
}
