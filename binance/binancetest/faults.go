package binancetest

import (
	"fmt"
	"net/http"
	"time"

	"github.com/gorilla/websocket"
)

// symbolFaults are the faults waiting for one symbol.
type symbolFaults struct {
	dropDepth, duplicateDepth int // events
	stale, staleBorders       int // snapshots, and how old
}

// depthCopies is how often the next depth event is sent: 1, unless a fault says 0 or 2.
func (f *symbolFaults) depthCopies() int {
	switch {
	case f.dropDepth > 0:
		f.dropDepth--
		return 0
	case f.duplicateDepth > 0:
		f.duplicateDepth--
		return 2
	}
	return 1
}

// staleBy is how many borders back the next snapshot is taken.
func (f *symbolFaults) staleBy() int {
	if f.stale <= 0 {
		return 0
	}
	f.stale--
	return f.staleBorders
}

// DropDepth loses the next n depth events of a symbol that somebody would have got, for all its
// subscribers: the ids are used up, so that the event after them shows a gap. The error is
// ErrUnknownSymbol.
func (s *Server) DropDepth(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.dropDepth = n })
}

// DuplicateDepth sends the next n depth events of a symbol twice. The error is ErrUnknownSymbol.
func (s *Server) DuplicateDepth(symbol string, n int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.duplicateDepth = n })
}

// StaleSnapshots makes the next n snapshots of a symbol show the book as it was the given number of
// borders before the last, as the exchange does when REST lags behind the streams. It goes back no
// further than Config.History. The error is ErrUnknownSymbol.
func (s *Server) StaleSnapshots(symbol string, n, borders int) error {
	return s.fault(symbol, func(f *symbolFaults) { f.stale, f.staleBorders = n, borders })
}

func (s *Server) fault(symbol string, f func(*symbolFaults)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.with(symbol, func(y *symbolState) { f(&y.faults) })
}

// restFaults are the faults waiting for REST requests.
type restFaults struct {
	reject     int // requests
	status     int
	retryAfter time.Duration

	slow  int // snapshots
	delay time.Duration
}

// RejectREST answers the next n REST requests with an error status and the body the exchange has for
// it: 429 and 418 with Retry-After, rounded up to seconds (429 names the weight limit, 418 the end of
// the ban); 403, 502 and 504 with HTML, as a firewall or a proxy sends it; others with the JSON of an
// overloaded server. A retryAfter of 0 sends no such header; a status outside 400 to 599 stands for 500.
func (s *Server) RejectREST(n, status int, retryAfter time.Duration) {
	if status < 400 || status > 599 {
		status = http.StatusInternalServerError
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.reject, s.faults.status, s.faults.retryAfter = n, status, retryAfter
}

// DelaySnapshots holds back the answers to the next n depth requests. Each shows the book as it was
// when the request came.
func (s *Server) DelaySnapshots(n int, delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.slow, s.faults.delay = n, delay
}

func (f *restFaults) snapshotDelay() time.Duration {
	if f.slow <= 0 {
		return 0
	}
	f.slow--
	return f.delay
}

// rejection is the answer that a fault has for the next request, or nil.
func (f *restFaults) rejection(now time.Time, m *weightMeter) *answer {
	if f.reject <= 0 {
		return nil
	}
	f.reject--
	var a *answer
	switch f.status {
	case http.StatusTooManyRequests:
		a = m.tooMany(now)
	case http.StatusTeapot:
		a = bannedAnswer(now, now.Add(f.retryAfter))
	case http.StatusForbidden, http.StatusBadGateway, http.StatusGatewayTimeout:
		text := fmt.Sprintf("%d %s", f.status, http.StatusText(f.status))
		a = &answer{status: f.status, html: true, body: fmt.Appendf(nil,
			"<html>\r\n<head><title>%[1]s</title></head>\r\n<body>\r\n<center><h1>%[1]s</h1></center>\r\n</body>\r\n</html>\r\n", text)}
	default:
		a = apiError(f.status, -1008, "Server is currently overloaded with other requests. Please try again in a few minutes.")
	}
	a.retryAfter = f.retryAfter
	return a
}

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

// Silence makes every open websocket half-open: the exchange neither sends on it nor answers it any
// more, and does not end it. New connections are not affected.
func (s *Server) Silence() {
	s.eachConn(0, func(c *conn) { c.silent = true })
}

// SendRaw sends a text frame, whatever it holds, to every websocket.
func (s *Server) SendRaw(text string) {
	s.eachConn(0, func(c *conn) { c.push(frame{data: []byte(text)}) })
}

// SendServerShutdown announces to every websocket that the exchange is about to end it, in the form
// that fits the connection. Nothing else happens; Disconnect does the rest.
func (s *Server) SendServerShutdown() {
	now := time.Now()
	event := func(b []byte, micros bool) []byte {
		return append(appendTime(b, `{"e":"serverShutdown","E":`, now, micros), '}')
	}
	s.eachConn(0, func(c *conn) {
		c.push(frame{data: shapeFrame("!serverShutdown", event, c.combined, c.micros)})
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

// Codes for Disconnect that the exchange is known to send.
const (
	CloseGoingAway       = websocket.CloseGoingAway       // 1001: the server is being replaced
	ClosePolicyViolation = websocket.ClosePolicyViolation // 1008: a limit was broken
)
