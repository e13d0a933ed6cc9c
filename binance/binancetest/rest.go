package binancetest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// An answer is what a REST request gets.
type answer struct {
	status     int
	body       []byte
	html       bool          // else JSON
	retryAfter time.Duration // rounded up to seconds in the header; 0 means no header
	delay      time.Duration // before it is sent
	truncated  bool          // the connection ends in the middle of the body
	gzip       bool          // if the client accepts it
	foreign    bool          // from a firewall or a proxy, without the exchange's headers

	// hold means that there is no answer yet: ask again when the channel is closed.
	hold <-chan struct{}
}

func ok(body []byte) *answer { return &answer{status: http.StatusOK, body: body} }

// apiError is an answer of errors.md: {"code":…,"msg":…}.
func apiError(status, code int, msg string) *answer {
	body, _ := json.Marshal(requestError{Code: code, Msg: msg}) // plain fields always marshal
	return &answer{status: status, body: body}
}

func badRequest(code int, format string, args ...any) *answer {
	return apiError(http.StatusBadRequest, code, fmt.Sprintf(format, args...))
}

// An endpoint is one REST path.
type endpoint struct {
	params []string                   // the parameters it reads
	weight func(query url.Values) int // of a request
	serve  func(url.Values) *answer   // under the Server's mutex
	keyed  bool                       // needs an API key
}

func constant(weight int) func(url.Values) int { return func(url.Values) int { return weight } }

// endpoint returns what serves a path, or nil.
func (s *Server) endpoint(path string) *endpoint {
	name, found := strings.CutPrefix(path, s.rules.restPrefix)
	if !found {
		return nil
	}
	switch name {
	case "/ping":
		return &endpoint{weight: constant(1), serve: func(url.Values) *answer { return ok([]byte("{}")) }}
	case "/time":
		return &endpoint{weight: constant(1), serve: func(url.Values) *answer {
			return ok(append(appendTime(nil, `{"serverTime":`, s.now(), inMillis), '}'))
		}}
	case "/exchangeInfo":
		return &endpoint{params: s.withStatus("symbol", "symbols"), weight: constant(s.rules.infoWeight), serve: s.exchangeInfo}
	case "/depth":
		return &endpoint{params: s.withStatus("symbol", "limit"), weight: s.depthWeight, serve: s.depth}
	case "/trades":
		return &endpoint{params: []string{"symbol", "limit"}, weight: constant(s.rules.trades.weight), serve: s.trades}
	case "/historicalTrades":
		return &endpoint{
			params: []string{"symbol", "limit", "fromId"}, weight: constant(s.rules.historicalTrades.weight),
			serve: s.historicalTrades, keyed: s.rules.keyed,
		}
	case "/aggTrades":
		return &endpoint{
			params: []string{"symbol", "limit", "fromId", "startTime", "endTime"}, weight: constant(s.rules.aggTrades.weight),
			serve: s.aggTrades,
		}
	}
	return nil
}

// withStatus adds the parameter symbolStatus, which spot alone has.
func (s *Server) withStatus(params ...string) []string {
	if s.rules.byStatus {
		return append(params, "symbolStatus")
	}
	return params
}

// serveREST answers one REST request.
func (s *Server) serveREST(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	a, used := s.answer(r.URL.Path, query, r.Header.Get("X-MBX-APIKEY") != "")
	for a.hold != nil {
		await(s, r, a.hold)
		a = s.answerAgain(r.URL.Path, query)
	}
	if a.delay > 0 {
		t := time.NewTimer(a.delay)
		defer t.Stop()
		await(s, r, t.C)
	}
	a.write(w, r, used, s.rules.contiguous)
}

// await waits for ready. If the client goes or the server is closed before, it abandons the request
// without an answer.
func await[T any](s *Server, r *http.Request, ready <-chan T) {
	select {
	case <-ready:
		return
	case <-r.Context().Done():
	case <-s.done:
	}
	panic(http.ErrAbortHandler)
}

// answer counts a request, lets the faults and the limits have it, and then serves it. used is the
// weight of the current minute, this request included.
func (s *Server) answer(path string, query url.Values, key bool) (a *answer, used int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.stats.Requests[path]++
	defer func() { s.retry.observe(now, a) }()
	e := s.endpoint(path)
	weight := 1
	if e != nil {
		weight = e.weight(query)
	}
	if a = s.weight.charge(now, weight); a != nil {
		s.stats.WeightViolations++
		s.stats.Bans = s.weight.bans
		return a, s.weight.used
	}
	used = s.weight.used
	if now.Before(s.retry.until) && now.Sub(s.retry.since) > retryGrace {
		s.stats.EarlyRequests++
	}
	if a = s.rejection(now, query.Get("symbol")); a != nil {
		return a, used
	}
	switch {
	case e == nil:
		return &answer{status: http.StatusNotFound, html: true, body: []byte("<html><body><h2>404 Not found</h2></body></html>")}, used
	case e.keyed && !key:
		return apiError(http.StatusUnauthorized, -2014, "API-key format invalid."), used
	}
	if a = unread(query, e.params); a == nil {
		a = s.serve(e, query)
	}
	return a, used
}

// rejection is the answer that the faults have for a request, or nil.
func (s *Server) rejection(now time.Time, symbol string) *answer {
	a := s.faults.rejection(now, &s.weight)
	if y := s.byName[symbol]; a == nil && y != nil {
		a = y.faults.rest.rejection(now, &s.weight)
	}
	return a
}

func (s *Server) serve(e *endpoint, query url.Values) *answer {
	a := e.serve(query)
	if a.hold == nil {
		s.faults.decorate(a)
	}
	return a
}

func (s *Server) answerAgain(path string, query url.Values) *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serve(s.endpoint(path), query)
}

// unread refuses parameters that the endpoint does not know, which would otherwise be a misspelling
// without a consequence.
func unread(query url.Values, known []string) *answer {
	read := 0
	for _, name := range known {
		if query.Has(name) {
			read++
		}
	}
	if read == len(query) {
		return nil
	}
	return badRequest(-1104, "Not all sent parameters were read; read '%d' parameter(s) but was sent '%d'.", read, len(query))
}

// write sends an answer. The exchange's own headers are not in the canonical form of Go.
func (a *answer) write(w http.ResponseWriter, r *http.Request, used int, spot bool) {
	h := w.Header()
	h.Set("Content-Type", "application/json;charset=UTF-8")
	if a.html {
		h.Set("Content-Type", "text/html")
	}
	if !a.foreign {
		h["X-MBX-USED-WEIGHT-1M"] = []string{strconv.Itoa(used)}
		if spot {
			h["X-MBX-USED-WEIGHT"] = []string{strconv.Itoa(used)}
		}
	}
	if a.retryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((a.retryAfter+time.Second-1)/time.Second), 10))
	}
	body := a.body
	if a.gzip && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = compress(body)
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(a.status)
	if !a.truncated {
		_, _ = w.Write(body) // the client may have gone
		return
	}
	_, _ = w.Write(body[:len(body)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler) // cuts the connection
}

func compress(body []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(body) // a Buffer takes all
	_ = z.Close()
	return b.Bytes()
}
