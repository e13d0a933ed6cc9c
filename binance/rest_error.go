package binance

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of an error body: how much is read, and how much of one that is not the exchange's own is kept.
const (
	maxErrorBody    = 64 << 10
	maxErrorExcerpt = 256
)

// newAPIError describes an answer other than 200. The exchange's own errors are JSON,
// {"code":-1121,"msg":"Invalid symbol."}; a firewall or a proxy before it answers in HTML.
func newAPIError(resp *http.Response) *APIError {
	e := &APIError{Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header.Get("Retry-After"), time.Now())}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err != nil && len(body) == 0 {
		e.Message = "unreadable body: " + err.Error()
		return e
	}
	var own struct {
		Code int    `json:"code"`
		Msg  string `json:"msg"`
	}
	if json.Unmarshal(body, &own) == nil && (own.Code != 0 || own.Msg != "") {
		e.Code, e.Message = own.Code, own.Msg
		return e
	}
	e.Message = excerpt(body)
	return e
}

// excerpt returns the beginning of a body as one line of valid text.
func excerpt(body []byte) string {
	text := strings.Join(strings.Fields(string(bytes.ToValidUTF8(body, []byte("?")))), " ")
	if len(text) <= maxErrorExcerpt {
		return text
	}
	cut := maxErrorExcerpt
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}

// retryAfter parses the header in both its forms, seconds and a date; 0 if there is none.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(header, 10, 32); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}

var errNoServerTime = errors.New("serverTime is missing")

// newBodyError is the *DecodeError of an answer that encoding/json refused.
func newBodyError(body []byte, err error) error {
	var syntax *json.SyntaxError
	var mistyped *json.UnmarshalTypeError
	offset := 0
	switch {
	case errors.As(err, &syntax):
		offset = int(syntax.Offset)
	case errors.As(err, &mistyped):
		offset = int(mistyped.Offset)
	}
	return newDecodeError("", body, offset, err)
}
