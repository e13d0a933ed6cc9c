package binancetest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// An answer is the response to a REST request.
type answer struct {
	status     int
	body       []byte
	html       bool          // else JSON
	retryAfter time.Duration // 0 means none
	banned     *banForm      // of a ban that ends after retryAfter; nil if there is none
	date       time.Time     // exchange clock, for the header
	delay      time.Duration // before it is sent
	trickle    time.Duration // before each byte of the body; 0 means at once
	truncated  bool          // cut the connection in the middle of the body
	gzip       bool          // if the client accepts it
	foreign    bool          // as from a firewall or proxy: without the exchange's headers

	// hold, if not nil, means that there is no answer until the channel is closed.
	hold <-chan struct{}
}

func ok(body []byte) *answer { return &answer{status: http.StatusOK, body: body} }

// apiError returns an error of errors.md: {"code":…,"msg":…}.
func apiError(status, code int, msg string) *answer {
	body, _ := json.Marshal(requestError{Code: code, Msg: msg}) // plain fields always marshal
	return &answer{status: status, body: body}
}

func badRequest(code int, format string, args ...any) *answer {
	return apiError(http.StatusBadRequest, code, fmt.Sprintf(format, args...))
}

func bannedAnswer(left time.Duration, form *banForm) *answer {
	return &answer{status: http.StatusTeapot, retryAfter: left, banned: form}
}

// A banForm is how the answers during a ban say when it ends.
type banForm struct {
	name    string
	header  func(left time.Duration, end time.Time) string // Retry-After; "" means none
	silent  bool                                           // the message does not say it
	undated bool                                           // there is no Date either
}

// banForms returns the forms. rest-api.md documents the seconds, and RFC 9110 the date; answers whose message
// has the end were reported without end: "Way too many requests; IP(1.2.3.4) banned until 1573206854617" (with ccxt/binance-api-node
// issue 106 and taniman/profit-trailer issue 665). The others are unproved.
func banForms() []banForm {
	text := func(header string) func(time.Duration, time.Time) string {
		return func(time.Duration, time.Time) string { return header }
	}
	return []banForm{
		{name: "seconds", header: func(left time.Duration, _ time.Time) string { return inSeconds(left) }},
		{name: "date", header: func(_ time.Duration, end time.Time) string { return end.UTC().Format(http.TimeFormat) }, silent: true},
		{name: "message", header: text("")},
		{name: "negative", header: text("-1")},
		{name: "garbage", header: text("soon")},
		{name: "undated", header: text(""), undated: true},
		{name: "huge", header: text("99999999999999999999"), silent: true},
		{name: "nothing", header: text(""), silent: true},
	}
}

// write sets the headers and returns the body. now is the exchange's clock.
func (f *banForm) write(h http.Header, left time.Duration, now time.Time) []byte {
	end := now.Add(left)
	if text := f.header(left, end); text != "" {
		h.Set("Retry-After", text)
	}
	if f.undated {
		h["Date"] = nil
	}
	until := fmt.Sprintf(" until %d", end.UnixMilli())
	if f.silent {
		until = ""
	}
	return apiError(http.StatusTeapot, -1003, fmt.Sprintf("Way too much request weight used; IP banned%s. "+
		"Please use WebSocket Streams for live updates to avoid bans.", until)).body
}

// inSeconds rounds up; "" if there is no time left.
func inSeconds(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// write sends the answer. The exchange's headers are not in Go's canonical form.
func (a *answer) write(w http.ResponseWriter, r *http.Request, done <-chan struct{}, used int, spot bool) {
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
	h.Set("Date", a.date.UTC().Format(http.TimeFormat))
	body := a.body
	switch {
	case a.banned != nil:
		body = a.banned.write(h, a.retryAfter, a.date)
	case a.retryAfter > 0:
		h.Set("Retry-After", inSeconds(a.retryAfter))
	}
	if a.gzip && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = compress(body)
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(a.status)
	switch {
	case a.trickle > 0:
		a.writeSlowly(w, r, done, body)
		return
	case !a.truncated:
		_, _ = w.Write(body) // #nosec G705 -- JSON for a client, which may have gone
		return
	}
	_, _ = w.Write(body[:len(body)/2]) // #nosec G705 -- JSON for a client
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler) // cuts the connection
}

// await blocks until ready. If the client leaves or the server is closed first, it aborts the request
// without an answer.
func await[T any](done <-chan struct{}, r *http.Request, ready <-chan T) {
	select {
	case <-ready:
		return
	case <-r.Context().Done():
	case <-done:
	}
	panic(http.ErrAbortHandler)
}

// writeSlowly sends a body byte by byte, until the client leaves or the server is closed.
func (a *answer) writeSlowly(w http.ResponseWriter, r *http.Request, done <-chan struct{}, body []byte) {
	flusher := http.NewResponseController(w)
	_ = flusher.Flush()
	tick := time.NewTicker(a.trickle)
	defer tick.Stop()
	for i := range body {
		await(done, r, tick.C)
		_, _ = w.Write(body[i : i+1]) // #nosec G705 -- JSON for a client
		_ = flusher.Flush()
	}
}

func compress(body []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(body) // a Buffer takes all
	_ = z.Close()
	return b.Bytes()
}

// unread rejects parameters that the endpoint does not have, as the exchange does.
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

// longParam returns the value of an unsigned number parameter, or def without it.
func longParam(query url.Values, name string, def int64) (int64, *answer) {
	if !query.Has(name) {
		return def, nil
	}
	v, err := strconv.ParseInt(query.Get(name), 10, 64)
	if err != nil || v < 0 {
		return 0, badRequest(-1100, "Illegal characters found in parameter '%s'; legal range is '^[0-9]{1,20}$'.", name)
	}
	return v, nil
}

// statusParam returns symbolStatus, or "" without it. rest-api.md, "Order book": "Filters for symbols that
// have this tradingStatus. A status mismatch returns error -1220 SYMBOL_DOES_NOT_MATCH_STATUS. Valid
// values: TRADING, HALT, BREAK".
func statusParam(query url.Values) (string, *answer) {
	status := query.Get("symbolStatus")
	if query.Has("symbolStatus") && !slices.Contains([]string{"TRADING", "HALT", "BREAK"}, status) {
		return "", badRequest(-1122, "Invalid symbolStatus.")
	}
	return status, nil
}
