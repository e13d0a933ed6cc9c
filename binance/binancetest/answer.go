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

// longParam reads a number without a sign.
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

// statusParam reads symbolStatus, "" where it is absent. rest-api.md, "Order book": "Filters for symbols that
// have this tradingStatus. A status mismatch returns error -1220 SYMBOL_DOES_NOT_MATCH_STATUS. Valid
// values: TRADING, HALT, BREAK".
func statusParam(query url.Values) (string, *answer) {
	status := query.Get("symbolStatus")
	if query.Has("symbolStatus") && !slices.Contains([]string{"TRADING", "HALT", "BREAK"}, status) {
		return "", badRequest(-1122, "Invalid symbolStatus.")
	}
	return status, nil
}
