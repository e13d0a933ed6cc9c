package binancetest

import (
	"fmt"
	"net/http"
	"time"
)

// requestFaults are the faults waiting for REST requests: for all, or for those of one symbol.
type requestFaults struct {
	reject     int // requests
	status     int
	retryAfter time.Duration

	slow  int // snapshots
	delay time.Duration
}

// restFaults are the faults of all requests.
type restFaults struct {
	requestFaults

	hang    int // requests
	hangFor time.Duration

	rejectStreams int // handshakes
	streamStatus  int

	truncate int  // requests
	gzip     bool // until it is switched off
}

// RejectREST answers the next n REST requests with an error status and the body the exchange has for
// it: 429 and 418 with Retry-After, rounded up to seconds (429 names the weight limit, 418 the end of
// the ban); 403, 502 and 504 with HTML and without the exchange's headers, as a firewall or a proxy sends
// it; others with the JSON of an overloaded server. A retryAfter of 0 sends no such header; a status
// outside 400 to 599 stands for 500.
func (s *Server) RejectREST(n, status int, retryAfter time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.rejectWith(n, status, retryAfter)
}

// RejectRESTFor is RejectREST for the requests that name one symbol. The error is ErrUnknownSymbol.
func (s *Server) RejectRESTFor(symbol string, n, status int, retryAfter time.Duration) error {
	return s.fault(symbol, func(f *symbolFaults) { f.rest.rejectWith(n, status, retryAfter) })
}

func (f *requestFaults) rejectWith(n, status int, retryAfter time.Duration) {
	if status < 400 || status > 599 {
		status = http.StatusInternalServerError
	}
	f.reject, f.status, f.retryAfter = n, status, retryAfter
}

// HangREST holds back the answers to the next n REST requests of any kind. The client that gives up
// before gets none.
func (s *Server) HangREST(n int, delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.hang, s.faults.hangFor = n, delay
}

// TruncateREST ends the connection in the middle of the answers to the next n REST requests.
func (s *Server) TruncateREST(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.truncate = n
}

// GzipREST compresses the answers to clients that accept gzip, until it is switched off. They are not
// compressed by default.
func (s *Server) GzipREST(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.gzip = on
}

// decorate lets the faults have an answer that is ready.
func (f *restFaults) decorate(a *answer) {
	if f.hang > 0 {
		f.hang--
		a.delay = max(a.delay, f.hangFor)
	}
	if f.truncate > 0 {
		f.truncate--
		a.truncated = true
	}
	a.gzip = f.gzip
}

// rejection is the answer that a fault has for the next request, or nil.
func (f *requestFaults) rejection(now time.Time, m *weightMeter) *answer {
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
		a = &answer{status: f.status, html: true, foreign: true, body: fmt.Appendf(nil,
			"<html>\r\n<head><title>%[1]s</title></head>\r\n<body>\r\n<center><h1>%[1]s</h1></center>\r\n</body>\r\n</html>\r\n", text)}
	default:
		a = apiError(f.status, -1008, "Server is currently overloaded with other requests. Please try again in a few minutes.")
	}
	a.retryAfter = f.retryAfter
	return a
}
