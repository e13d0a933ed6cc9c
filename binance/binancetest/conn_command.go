package binancetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gorilla/websocket"
)

// stallSize is the longest message, in bytes, that the exchange answers. Users report that a message of more
// than 4,096 bytes with its 8 of frame header gets neither an answer nor an error, and stalls the server
// until its next ping.
const stallSize = 4096 - 8

// A request is a control message: web-socket-streams.md, "Live Subscribing/Unsubscribing to streams".
type request struct {
	Method json.RawMessage `json:"method"`
	Params json.RawMessage `json:"params"`
	ID     json.RawMessage `json:"id"`
}

func invalid(format string, args ...any) *requestError {
	return &requestError{2, "Invalid request: " + fmt.Sprintf(format, args...)}
}

// command handles one text message of the client.
func (c *conn) command(data []byte) {
	if len(data) > stallSize {
		c.deaf = true
		c.exchange.stats.StalledMessages++
	}
	if c.deaf {
		return
	}
	if !json.Valid(data) {
		c.replyError(nil, &requestError{3, "Invalid JSON: expected value at line 1 column 1"})
		if c.exchange.rules.closeOnBadJSON {
			c.close(websocket.ClosePolicyViolation, "Invalid JSON") // the futures documents say that it closes, not how
		}
		return
	}
	var req request
	if err := json.Unmarshal(data, &req); err != nil || req.Method == nil {
		c.replyError(nil, invalid("missing field `method` at line 1 column %d", len(data)))
		return
	}
	id, ok := replyID(req.ID)
	if !ok {
		c.replyError(nil, invalid("request ID must be an unsigned integer"))
		return
	}
	err := c.exchange.commands.rejection()
	var result json.RawMessage
	if err == nil {
		result, err = c.execute(&req, data)
	}
	if err != nil {
		c.replyError(id, err)
		return
	}
	// Never wrapped, on combined connections either.
	c.reply(fmt.Appendf(nil, `{"result":%s,"id":%s}`, orNull(result), orNull(id)))
}

// execute runs a request and returns the result for its acknowledgement.
func (c *conn) execute(req *request, data []byte) (result json.RawMessage, err *requestError) {
	var method string
	_ = json.Unmarshal(req.Method, &method) // anything but a string is an unknown method
	switch method {
	case "SUBSCRIBE", "UNSUBSCRIBE":
		var streams []string
		if json.Unmarshal(req.Params, &streams) != nil {
			return nil, invalid("missing field `params` at line 1 column %d", len(data))
		}
		if method == "SUBSCRIBE" {
			if slices.ContainsFunc(streams, c.refuses) {
				return nil, invalid("invalid stream")
			}
			c.exchange.subscribe(c, streams)
		} else {
			c.unsubscribe(streams)
		}
		return nil, nil
	case "LIST_SUBSCRIPTIONS":
		list, _ := json.Marshal(append([]string{}, c.streams...)) // strings always marshal
		return list, nil
	case "SET_PROPERTY", "GET_PROPERTY":
		return c.property(req, method == "SET_PROPERTY")
	}
	column := bytes.Index(data, req.Method) + len(req.Method)
	return nil, invalid("unknown variant `%s`, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, "+
		"`SET_PROPERTY`, `GET_PROPERTY` at line 1 column %d", method, column)
}

// refuses reports whether the exchange refuses a stream's name: one with a space always does. ccxt/ccxt#19833 shows the
// answer of USDⓈ-M to the name "not asdfads", ctubio/Krypto-trading-bot#1121 the same of spot. Whether it is the
// answer to the other names of the message as well is not documented; here nothing of it is subscribed.
func (c *conn) refuses(stream string) bool {
	if strings.Contains(stream, " ") {
		return true
	}
	if !c.exchange.commands.unknown || strings.HasPrefix(stream, "!") {
		return false
	}
	symbol, _ := splitStream(stream)
	return c.exchange.byName[upper(symbol)] == nil
}

// property reads or writes "combined", the only property.
func (c *conn) property(req *request, set bool) (json.RawMessage, *requestError) {
	var params []json.RawMessage
	_ = json.Unmarshal(req.Params, &params) // anything but an array has no property name
	var name string
	if len(params) == 0 || json.Unmarshal(params[0], &name) != nil {
		return nil, invalid("property name must be a string")
	}
	if len(params) > 1+index(set) {
		return nil, invalid("too many parameters")
	}
	if name != "combined" {
		return nil, &requestError{0, "Unknown property"}
	}
	if !set {
		return strconv.AppendBool(nil, c.combined), nil
	}
	if len(params) < 2 || json.Unmarshal(params[1], &c.combined) != nil || bytes.Equal(params[1], []byte("null")) {
		return nil, &requestError{1, "Invalid value type: expected Boolean"}
	}
	return nil, nil
}

// replyID returns the id of a reply. The venue accepts a signed 64-bit integer, an alphanumeric string of
// up to 36 characters, or null, and echoes it unchanged.
func replyID(raw json.RawMessage) (id json.RawMessage, ok bool) {
	if raw == nil || bytes.Equal(raw, []byte("null")) {
		return nil, true
	}
	if raw[0] == '"' {
		var s string
		if json.Unmarshal(raw, &s) != nil || s == "" || len(s) > 36 {
			return nil, false
		}
		for _, r := range s {
			if (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
				return nil, false
			}
		}
		return raw, true
	}
	_, err := strconv.ParseInt(string(raw), 10, 64)
	return raw, err == nil
}

func (c *conn) replyError(id json.RawMessage, e *requestError) {
	c.reply(c.exchange.commands.errorReply(id, e))
}

// reply queues an answer to a control message, late if a fault says so.
func (c *conn) reply(data []byte) {
	f := frame{data: data}
	if delay := c.exchange.commands.delayAck(); delay > 0 {
		c.exchange.later(delay, func() { c.push(f) })
		return
	}
	c.push(f)
}

// unsubscribe removes streams from the connection; their data ends late if a fault says so.
func (c *conn) unsubscribe(streams []string) {
	delay := c.exchange.commands.delayUnsubscribe()
	if delay <= 0 {
		c.exchange.unsubscribe(c, streams)
		return
	}
	c.streams = slices.DeleteFunc(c.streams, func(name string) bool { return slices.Contains(streams, name) })
	c.exchange.later(delay, func() {
		again := func(name string) bool { return slices.Contains(c.streams, name) }
		c.exchange.unsubscribe(c, slices.DeleteFunc(slices.Clone(streams), again))
	})
}

// served returns the stream behind a name on this connection, or "" for one that stays silent.
func (c *conn) served(name string) string {
	if c.form == inSBE {
		return sbeStream(name)
	}
	return name
}
