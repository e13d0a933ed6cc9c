package binancetest

import (
	"net/http"
	"time"

	"github.com/gorilla/websocket"
)

// Codes for Disconnect that the exchange is known to send.
const (
	CloseGoingAway       = websocket.CloseGoingAway       // 1001: the server is being replaced
	ClosePolicyViolation = websocket.ClosePolicyViolation // 1008: a limit was broken
)

// Disconnect closes every websocket with a close frame of this code and reason; code 0 cuts them
// without one. New connections are welcome.
func (s *Server) Disconnect(code int, reason string) {
	s.eachConn(0, func(c *conn) { c.disconnect(code, reason) })
}

// DisconnectOne is Disconnect for the connection with this ID, of those that Connections lists. It
// returns false if there is none.
func (s *Server) DisconnectOne(id, code int, reason string) bool {
	return s.eachConn(id, func(c *conn) { c.disconnect(code, reason) })
}

func (c *conn) disconnect(code int, reason string) {
	if code == 0 {
		c.closing = true
		c.cut()
		return
	}
	c.close(code, reason)
}

// RejectStreams answers the next n handshakes of websockets with an HTTP status, below 400 for 503. They
// count as attempts to connect.
func (s *Server) RejectStreams(n, status int) {
	if status < 400 {
		status = http.StatusServiceUnavailable
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.rejectStreams, s.faults.streamStatus = n, status
}

// Silence makes every open websocket half-open: the exchange neither sends on it nor answers it any
// more, and does not end it. New connections are not affected.
func (s *Server) Silence() {
	s.eachConn(0, func(c *conn) { c.silent = true })
}

// SilenceOne is Silence for the connection with this ID. It returns false if there is none.
func (s *Server) SilenceOne(id int) bool {
	return s.eachConn(id, func(c *conn) { c.silent = true })
}

// SkipPings leaves out the next n pings of every open websocket. All else goes on.
func (s *Server) SkipPings(n int) {
	s.eachConn(0, func(c *conn) { c.skipPings = n })
}

// SendRaw sends a text frame, whatever it holds, to every websocket.
func (s *Server) SendRaw(text string) {
	s.eachConn(0, func(c *conn) { c.push(frame{data: []byte(text)}) })
}

// SendRawOne is SendRaw to the connection with this ID. It returns false if there is none.
func (s *Server) SendRawOne(id int, text string) bool {
	return s.eachConn(id, func(c *conn) { c.push(frame{data: []byte(text)}) })
}

// SendServerShutdown announces to every websocket that the exchange is about to end it, in the form
// that fits the connection. Nothing else happens; Disconnect does the rest, or GoAway both.
func (s *Server) SendServerShutdown() {
	s.eachConn(0, (*conn).announceShutdown)
}

// SendServerShutdownOne is SendServerShutdown to the connection with this ID. It returns false if there
// is none.
func (s *Server) SendServerShutdownOne(id int) bool {
	return s.eachConn(id, (*conn).announceShutdown)
}

// GoAway announces the end to every open websocket, as SendServerShutdown does, and cuts those that
// are still open after a while, with a close frame of code 1001.
func (s *Server) GoAway(after time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.goAway(after)
	}
}

func (c *conn) goAway(after time.Duration) {
	c.announceShutdown()
	c.server.later(after, func() { c.close(CloseGoingAway, "") })
}

func (c *conn) announceShutdown() {
	now := c.server.now()
	event := func(b []byte, as form) []byte {
		return append(appendTime(b, `{"e":"serverShutdown","E":`, now, as), '}')
	}
	c.push(frame{data: shapeJSON("!serverShutdown", event, c.combined && c.form != inSBE, c.form)})
}

// later runs f under the Server's mutex after a while, unless the server is closed by then.
func (s *Server) later(after time.Duration, f func()) {
	time.AfterFunc(after, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.closed {
			f()
		}
	})
}

// eachConn runs f on the connection with this id, or on all for 0. It returns whether there was any.
func (s *Server) eachConn(id int, f func(*conn)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := false
	for _, c := range s.conns {
		if id == 0 || c.id == id {
			found = true
			f(c)
		}
	}
	return found
}

// A Connection describes an open websocket.
type Connection struct {
	ID       int    // 1 for the first the server accepted, and so on
	Path     string // of the address it was opened with
	Streams  []string
	Combined bool // events are wrapped with the name of their stream
	Opened   time.Time
}

// Connections lists the open websockets in the order they were opened.
func (s *Server) Connections() []Connection {
	var list []Connection
	s.eachConn(0, func(c *conn) {
		list = append(list, Connection{
			ID: c.id, Path: c.path, Streams: append([]string(nil), c.streams...), Combined: c.combined, Opened: c.opened,
		})
	})
	return list
}
