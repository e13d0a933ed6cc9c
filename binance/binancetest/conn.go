package binancetest

import (
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/marketprism/marketprism/internal/defaults"
)

// A frame is a message or control frame to write to a connection.
type frame struct {
	kind frameKind
	data []byte // of any frame but a close frame

	code   int // of a close frame
	reason string
}

type frameKind uint8

const (
	textFrame frameKind = iota
	pingFrame
	pongFrame
	closeFrame
	binaryFrame
)

// An outbox is the bounded queue between the exchange and a connection's writer.
type outbox struct {
	mu      sync.Mutex
	changed *sync.Cond
	frames  []frame
	bytes   int // of those that are not written yet
	bound   int // of bytes
	closed  bool
}

func newOutbox(bound int) *outbox {
	o := &outbox{bound: bound}
	o.changed = sync.NewCond(&o.mu)
	return o
}

// push adds a frame, and reports false if the queue is full. After close it does nothing.
func (o *outbox) push(f frame) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return true
	}
	if o.bytes > 0 && o.bytes+len(f.data) > o.bound {
		return false
	}
	o.bytes += len(f.data)
	o.frames = append(o.frames, f)
	o.changed.Broadcast()
	return true
}

// take blocks until there are frames and moves all of them to into. It returns nil once the outbox is closed.
func (o *outbox) take(into []frame) []frame {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.frames) == 0 && !o.closed {
		o.changed.Wait()
	}
	if o.closed {
		return nil
	}
	into = append(into[:0], o.frames...)
	clear(o.frames)
	o.frames = o.frames[:0]
	o.changed.Broadcast()
	return into
}

// wrote makes room for others: that many bytes were written.
func (o *outbox) wrote(bytes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bytes -= bytes
	o.changed.Broadcast()
}

// drained blocks until fewer than n frames are queued, and half of the room is free, or the outbox is closed.
func (o *outbox) drained(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for (len(o.frames) >= n || o.bytes > o.bound/2) && !o.closed {
		o.changed.Wait()
	}
}

// close discards the queue and ends take and drained.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed, o.frames = true, nil
	o.changed.Broadcast()
}

const (
	maxMessage = 1 << 20          // bytes a client may send in one message
	closeWait  = 10 * time.Second // for the client's answer to a close frame
	writeWait  = 10 * time.Second // for a close frame itself
)

// A conn is one websocket connection. It has three goroutines: read, write and keep.
type conn struct {
	exchange *exchange
	ws       *websocket.Conn // set under the Server's mutex before any goroutine of the connection starts
	id       int
	class    int // of the batches of depth that it receives
	path     string
	route    route
	form     form
	opened   time.Time
	out      *outbox
	ended    chan struct{} // closed when the reader ends

	// Guarded by the Server's mutex.
	gone      bool     // cut
	streams   []string // in order of subscription
	combined  bool
	closing   bool // nothing is sent or answered any more
	silent    bool // half-open: nothing is sent or answered, and the connection stays
	skipPings int  // number of pings to omit
	deaf      bool // an oversized message stalls the server until its next ping
	pings     []sentPing

	received []time.Time // times of the messages of the last second; owned by read
}

type sentPing struct {
	data string
	at   time.Time
}

// read handles what the client sends until the connection ends.
func (c *conn) read() {
	c.ws.SetReadLimit(maxMessage)
	c.ws.SetPingHandler(func(data string) error {
		c.receive(func() {
			if !c.exchange.wire.mute {
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
	x, now := c.exchange, time.Now()
	c.received = slices.DeleteFunc(c.received, func(t time.Time) bool { return now.Sub(t) >= time.Second })
	c.received = append(c.received, now)
	limit := x.cfg.MessageLimit
	defaults.Set(&limit, x.rules.messages)

	x.mu.Lock()
	defer x.mu.Unlock()
	x.stats.Messages++
	switch {
	case c.closing || c.silent:
	case limit >= 0 && len(c.received) > limit:
		x.stats.MessageViolations++
		c.close(websocket.ClosePolicyViolation, "Too many requests")
	default:
		handle()
	}
}

// pong removes the pings up to the one it answers. An unsolicited pong does not count.
func (c *conn) pong(data string) {
	if i := slices.IndexFunc(c.pings, func(p sentPing) bool { return p.data == data }); i >= 0 {
		c.pings = slices.Delete(c.pings, 0, i+1)
	}
}

// push queues a frame. When the queue is full it cuts the connection, as the exchange does when its send
// buffer is full.
func (c *conn) push(f frame) {
	if c.closing || c.silent || c.out.push(f) {
		return
	}
	c.closing = true
	c.exchange.stats.SlowConsumers++
	c.cut()
}

// close queues a close frame; the connection ends when the client answers it, or after closeWait.
func (c *conn) close(code int, reason string) {
	c.push(frame{kind: closeFrame, code: code, reason: reason})
	c.closing = true
}

// answerClose echoes a client's close frame, past the queue, unless it was an answer itself.
func (c *conn) answerClose(code int) {
	c.exchange.mu.Lock()
	answer := !c.closing && !c.silent
	c.closing = true
	c.exchange.mu.Unlock()
	if answer {
		_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), time.Now().Add(writeWait))
	}
}

func (c *conn) lockedClose(code int, reason string) {
	c.exchange.mu.Lock()
	defer c.exchange.mu.Unlock()
	c.close(code, reason)
}

// cut ends the connection without a close frame.
func (c *conn) cut() {
	c.gone = true
	if c.ws != nil {
		_ = c.ws.NetConn().Close()
	}
}

// write sends the queued frames until the outbox is closed.
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
			c.out.wrote(len(f.data))
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

// keep sends the pings and closes the connection at the end of its lifetime.
//
// web-socket-streams.md, "General WSS information": "A single connection to stream.binance.com is only
// valid for 24 hours; expect to be disconnected at the 24 hour mark. The WebSocket server will send a
// ping frame every 20 seconds. If the WebSocket server does not receive a pong frame back from the
// connection within a minute the connection will be disconnected."
func (c *conn) keep() {
	r := c.exchange.rules
	ping := time.NewTicker(r.pingPeriod)
	defer ping.Stop()
	overdue := time.NewTimer(r.pongTimeout)
	defer overdue.Stop()
	var expired <-chan time.Time
	if life := c.exchange.cfg.Lifetime; life >= 0 {
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
	c.exchange.mu.Lock()
	defer c.exchange.mu.Unlock()
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

// checkPongs closes a connection whose oldest ping is too old, and returns the time until the next check.
func (c *conn) checkPongs(now time.Time) time.Duration {
	c.exchange.mu.Lock()
	defer c.exchange.mu.Unlock()
	limit := c.exchange.rules.pongTimeout
	if len(c.pings) == 0 || c.silent {
		return c.exchange.rules.pingPeriod
	}
	left := limit - now.Sub(c.pings[0].at)
	if left <= 0 {
		c.exchange.stats.PongTimeouts++
		c.close(websocket.ClosePolicyViolation, "Pong timeout")
		c.exchange.later(closeWait, c.cut) // the close frame is behind what the client does not read
		return limit
	}
	return left
}

func (c *conn) disconnect(code int, reason string) {
	if code == 0 {
		c.closing = true
		c.cut()
		return
	}
	c.close(code, reason)
}

func (c *conn) goAway(after time.Duration) {
	c.announceShutdown()
	c.exchange.later(after, func() { c.close(CloseGoingAway, "") })
}

func (c *conn) announceShutdown() {
	now := c.exchange.now()
	event := func(b []byte, as form) []byte {
		return append(appendTime(b, `{"e":"serverShutdown","E":`, now, as), '}')
	}
	c.push(frame{data: shapeJSON("!serverShutdown", event, c.combined && c.form != inSBE, c.form)})
}
