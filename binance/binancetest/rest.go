package binancetest

import (
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
			return ok(append(appendTime(nil, `{"serverTime":`, time.Now(), false), '}'))
		}}
	case "/exchangeInfo":
		return &endpoint{params: []string{"symbol", "symbols"}, weight: constant(s.rules.infoWeight), serve: s.exchangeInfo}
	case "/depth":
		return &endpoint{params: []string{"symbol", "limit"}, weight: s.depthWeight, serve: s.depth}
	}
	return nil
}

// serveREST answers one REST request.
func (s *Server) serveREST(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	a, used := s.answer(r.URL.Path, query)
	for a.hold != nil {
		await(s, r, a.hold)
		a = s.answerAgain(r.URL.Path, query)
	}
	if a.delay > 0 {
		t := time.NewTimer(a.delay)
		defer t.Stop()
		await(s, r, t.C)
	}
	a.write(w, used, s.rules.contiguous)
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
func (s *Server) answer(path string, query url.Values) (a *answer, used int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.stats.Requests[path]++
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
	if a = s.faults.rejection(now, &s.weight); a != nil {
		return a, used
	}
	if e == nil {
		return &answer{status: http.StatusNotFound, html: true, body: []byte("<html><body><h2>404 Not found</h2></body></html>")}, used
	}
	if a = unread(query, e.params); a == nil {
		a = e.serve(query)
	}
	return a, used
}

func (s *Server) answerAgain(path string, query url.Values) *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.endpoint(path).serve(query)
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

func (a *answer) write(w http.ResponseWriter, used int, spot bool) {
	h := w.Header()
	h.Set("Content-Type", "application/json;charset=UTF-8")
	if a.html {
		h.Set("Content-Type", "text/html")
	}
	h.Set("X-MBX-USED-WEIGHT-1M", strconv.Itoa(used))
	if spot {
		h.Set("X-MBX-USED-WEIGHT", strconv.Itoa(used))
	}
	if a.retryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((a.retryAfter+time.Second-1)/time.Second), 10))
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // the client may have gone
}
