package binance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/marketprism/marketprism/internal/backoff"
)

// Bounds of one connection. A mass cancellation can make a frame of several hundred kilobytes.
const (
	maxFrame     = 16 << 20
	writeTimeout = 10 * time.Second
	closeTimeout = time.Second
	firstBuffer  = 4 << 10
)

// A Stream is one websocket connection. One goroutine at a time may read; the other methods are safe
// for concurrent use with it and with each other.
//
// Pings are answered within reads, so the user of a Stream must keep reading. A connection on which
// neither a frame nor a ping has come for a minute is dead, and reading fails with ErrSilent; a minute in
// which the process was stopped does not count. The futures markets ping seldom, so there the Stream sends
// pings; see keepAlive. Close releases the connection.
//
// Compression (permessage-deflate) stays off. The exchange does not document it, and it has changed under
// clients that asked for it: they could no longer connect (coder/websocket#351), or connected and got
// nothing (python-websockets/websockets#1060). Inflating would also cost more than decoding, and let a
// small frame fill the memory. A server that compresses unasked is refused.
type Stream struct {
	conn    *websocket.Conn
	market  *market
	frame   []byte // of Next
	decoder Decoder
	record  *Recorder // nil if there is none

	opened time.Time
	pinged atomic.Int64 // when the last ping came: nanoseconds after opened
	keep   keepAlive
	delay  delay

	writing  chan struct{} // holds a token during a write
	requests rateLimiter

	mu        sync.Mutex
	nextID    int64           // of Subscribe and Unsubscribe
	streams   map[string]bool // those of the URL and of Subscribe, without those of Unsubscribe
	closed    error           // the first argument of closeWith; nil before
	ping      string          // payload of the latest ping
	ponged    time.Time       // when a ping was last answered
	pongWaits bool            // the latest ping is answered later
}

func newStream(conn *websocket.Conn, m *market, streams []string) *Stream {
	s := &Stream{conn: conn, market: m, decoder: m.decoder(), streams: make(map[string]bool), writing: make(chan struct{}, 1), requests: newRateLimiter(m.requestsPerSecond)}
	for _, name := range streams {
		s.streams[name] = true
	}
	s.opened = time.Now()
	conn.SetReadLimit(maxFrame)
	conn.SetPingHandler(s.pong)
	s.keep.watch = time.AfterFunc(math.MaxInt64, s.watch)
	s.beginKeepAlive()
	s.keep.watch.Reset(0)
	return s
}

// pong answers a ping with its payload. web-socket-streams.md: "When you receive a ping, you must send
// a pong with a copy of ping's payload as soon as possible."
//
// Pongs count as messages, of which the exchange takes few in a second. After a pause several pings may be read
// at once, so there is one pong in a rateWindow: RFC 6455, 5.5.3: "If an endpoint receives a Ping frame and has
// not yet sent Pong frame(s) in response to previous Ping frame(s), the endpoint MAY elect to send a Pong frame
// for only the most recently processed Ping frame."
func (s *Stream) pong(payload string) error {
	now := time.Now()
	s.pinged.Store(int64(now.Sub(s.opened)))
	s.hear(now)
	s.mu.Lock()
	s.ping = payload
	wait, waiting := s.ponged.Add(rateWindow).Sub(now), s.pongWaits
	s.pongWaits = waiting || wait > 0
	s.mu.Unlock()
	switch {
	case waiting:
		return nil
	case wait > 0:
		time.AfterFunc(wait, func() { s.writePong() }) //nolint:errcheck // the reader gets an error too
		return nil
	}
	return s.writePong()
}

// writePong answers the latest ping.
func (s *Stream) writePong() error {
	now := time.Now()
	s.mu.Lock()
	payload := s.ping
	s.ponged, s.pongWaits = now, false
	s.mu.Unlock()
	err := s.control(websocket.PongMessage, payload, now.Add(writeTimeout))
	var timeout net.Error
	if errors.Is(err, websocket.ErrCloseSent) || errors.As(err, &timeout) && timeout.Timeout() {
		return nil // frames may still come; without pongs the exchange will close the connection
	}
	return err
}

// control sends a control frame beside the messages.
func (s *Stream) control(messageType int, payload string, deadline time.Time) (err error) {
	defer recovered(&err)
	return s.conn.WriteControl(messageType, []byte(payload), deadline)
}

// pingedAt returns when the last ping came, or when the connection was opened.
func (s *Stream) pingedAt() time.Time { return s.opened.Add(time.Duration(s.pinged.Load())) }

// Read blocks until the next frame has come. It reads it into buf, which it grows as needed, and returns
// it with the local clock right after. The frame may be an event, an acknowledgement or an error of the
// exchange: see Decoder. An error is final: ErrSilent, ErrClosed, or an error of the network; a close
// frame is a *websocket.CloseError. A panic of the websocket protocol is a *PanicError.
func (s *Stream) Read(buf []byte) (frame []byte, receivedAt time.Time, err error) {
	defer recovered(&err)
	_, r, err := s.conn.NextReader()
	if err != nil {
		return buf[:0], time.Time{}, s.readError(err)
	}
	frame, err = readInto(buf[:0], r)
	if err != nil {
		return frame, time.Time{}, s.readError(err)
	}
	receivedAt = time.Now()
	if s.hear(receivedAt) || s.delay.due {
		s.delay.see(frame, receivedAt)
	}
	s.record.frame(frame, receivedAt)
	return frame, receivedAt, nil
}

// A delay is the least time between an event of a connection, by the exchange's clock, and its arrival, by
// the local one. It holds what the clocks differ by, and so it may be negative. The reader alone uses it.
type delay struct {
	least  time.Duration
	latest time.Time // exchange clock, of the latest event seen; zero before the first
	due    bool      // see the next frame, since the last one had no event time
}

// see notes a frame that arrived at that time. Frames without an event time, such as those of spot's bookTicker,
// or with one that is days off, say nothing.
func (d *delay) see(frame []byte, at time.Time) {
	event, ok := eventTime(frame)
	took := at.Sub(event)
	d.due = !ok || took.Abs() > 24*time.Hour
	if d.due {
		return
	}
	if d.latest.IsZero() || took < d.least {
		d.least = took
	}
	d.latest = event
}

// lag returns for how long a frame that arrived at that time has waited somewhere, at most: without an event time
// it was sent after the latest event seen. It is 0 where no event was seen.
func (s *Stream) lag(frame []byte, at time.Time) time.Duration {
	d := &s.delay
	if d.see(frame, at); d.latest.IsZero() {
		return 0
	}
	return max(0, at.Sub(d.latest)-d.least)
}

// Next reads and decodes the next frame into m, which is valid until the next call. A *DecodeError means
// that the frame could not be decoded; Next may be called again. Other errors are those of Read.
func (s *Stream) Next(m *Message) error {
	var err error
	if s.frame, _, err = s.Read(s.frame); err != nil {
		return err
	}
	return s.decoder.Decode(s.frame, m)
}

// readInto is io.ReadAll into a given buffer.
func readInto(buf []byte, r io.Reader) ([]byte, error) {
	if cap(buf) == 0 {
		buf = make([]byte, 0, firstBuffer)
	}
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}

func (s *Stream) readError(err error) error {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed != nil {
		return closed
	}
	return fmt.Errorf("binance: read: %w", err)
}

// write sends the text frame that next returns, unless that is nil. next is called once the exchange
// accepts a message. Concurrent calls wait for each other.
func (s *Stream) write(ctx context.Context, next func() ([]byte, error)) (err error) {
	defer recovered(&err)
	select {
	case s.writing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.writing }()
	if err := s.requests.wait(ctx); err != nil {
		return err
	}
	frame, err := next()
	if frame == nil || err != nil {
		return err
	}
	s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)) //nolint:errcheck // always nil
	if err := s.conn.WriteMessage(websocket.TextMessage, frame); err != nil {
		return fmt.Errorf("binance: write: %w", err)
	}
	return nil
}

// Close closes the connection. A blocked Read returns ErrClosed. Closing again does nothing.
func (s *Stream) Close() error { return s.closeWith(ErrClosed) }

// closeWith closes the connection; reads fail with cause from then on. Only the first cause counts.
func (s *Stream) closeWith(cause error) error {
	s.mu.Lock()
	first := s.closed == nil
	if first {
		s.closed = cause
	}
	s.mu.Unlock()
	if !first {
		return nil
	}
	s.keep.stop()
	goodbye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	s.control(websocket.CloseMessage, string(goodbye), time.Now().Add(closeTimeout)) //nolint:errcheck // the connection is closed anyway
	return s.conn.Close()
}

// probeAfter is the silence after which a Stream of a market that pings seldom sends a ping. A connection
// is dead after three without an answer.
const probeAfter = 20 * time.Second

// A keepAlive detects a half-open connection: neither side has closed it, but nothing comes any more.
//
// Spot pings every 20 s, so a minute of silence proves it. The futures markets ping every three minutes
// and allow ten. RFC 6455, 5.5.2: "Upon receipt of a Ping frame, an endpoint MUST send a Pong
// frame in response". The exchange takes such pings: "A message is considered: a PING frame, a PONG
// frame, a JSON controlled message". Its documents do not say whether it answers, so a Stream sends one
// when it is opened, and the answer to that one shortens the bound to a minute.
type keepAlive struct {
	heard    atomic.Int64 // when something last came, within a second: nanoseconds after opened
	answered atomic.Bool  // the exchange answers pings
	timer    *time.Timer  // of the next probe; nil if this side sends no pings

	watch   *time.Timer  // of the next look at the silence
	suspect atomic.Bool  // the silence has lasted for nearly its bound
	held    atomic.Bool  // nothing is read
	resumed atomic.Int64 // when reading went on: nanoseconds after opened
}

// beginKeepAlive sends the first ping on markets that ping seldom.
func (s *Stream) beginKeepAlive() {
	if s.market.silence <= maxSilence {
		return
	}
	s.conn.SetPongHandler(func(string) error {
		s.keep.answered.Store(true)
		s.hear(time.Now())
		return nil
	})
	s.keep.timer = time.AfterFunc(math.MaxInt64, s.probe)
	s.keep.timer.Reset(0)
}

// hear notes, at most once a second, that something has come, and reports whether it did.
func (s *Stream) hear(now time.Time) bool {
	since := now.Sub(s.opened)
	if since-time.Duration(s.keep.heard.Load()) < time.Second {
		return false
	}
	s.keep.heard.Store(int64(since))
	return true
}

// hold says that nothing is read until resume: the silence until then is not the connection's.
func (s *Stream) hold() { s.keep.held.Store(true) }

func (s *Stream) resume() {
	now := time.Now()
	s.hear(now)
	s.keep.resumed.Store(max(1, int64(now.Sub(s.opened))))
	s.keep.held.Store(false)
}

// readSince returns since when nothing has kept the connection from being read; zero if nothing ever has.
func (s *Stream) readSince(now time.Time) time.Time {
	resumed := s.keep.resumed.Load()
	switch {
	case s.keep.held.Load():
		return now
	case resumed == 0:
		return time.Time{}
	}
	return s.opened.Add(time.Duration(resumed))
}

// watch closes a connection that is silent for too long. It looks twice, silenceGrace apart: if the process
// was stopped meanwhile, the timers are late as well, and what has come is read before the second look. It
// runs on the timer's goroutine.
func (s *Stream) watch() {
	bound := s.silence()
	left := bound - time.Since(s.opened.Add(time.Duration(s.keep.heard.Load())))
	switch {
	case s.keep.held.Load():
		s.keep.suspect.Store(false)
		left = bound
	case left > silenceGrace:
		s.keep.suspect.Store(false)
		left -= silenceGrace
	case !s.keep.suspect.Swap(true):
		left = silenceGrace
	case left <= 0:
		s.closeWith(fmt.Errorf("%w: nothing came for %v", ErrSilent, bound)) //nolint:errcheck // it is given up
		return
	}
	s.keep.watch.Reset(min(left, probeAfter))
}

// probe sends a ping if nothing has come for a while, and schedules itself again. It runs on the timer's
// goroutine.
func (s *Stream) probe() {
	now := time.Now()
	heard := s.opened.Add(time.Duration(s.keep.heard.Load()))
	wait := probeAfter - now.Sub(heard)
	if wait <= 0 || !s.keep.answered.Load() {
		err := s.control(websocket.PingMessage, "", now.Add(writeTimeout))
		var timeout net.Error
		if err != nil && !(errors.As(err, &timeout) && timeout.Timeout()) {
			return // the connection has ended; the reader gets an error too
		}
		wait = probeAfter
	}
	s.keep.timer.Reset(wait)
}

func (k *keepAlive) stop() {
	k.watch.Stop()
	if k.timer != nil {
		k.timer.Stop()
	}
}

const (
	// maxSilence is how long a connection whose exchange pings, or answers pings, may be silent.
	maxSilence = time.Minute

	silenceGrace = 2 * time.Second // between the two looks that find it silent
)

// silence returns the silence after which the connection counts as dead.
func (s *Stream) silence() time.Duration {
	if s.keep.answered.Load() {
		return maxSilence
	}
	return s.market.silence
}

// rateWindow is a second and a margin: messages that leave a second apart may arrive closer together.
const rateWindow = 1250 * time.Millisecond

// A rateLimiter spaces messages so that no window of that length, wherever it begins, holds more than
// its number of them. A token bucket would not do: emptied after a pause it lets nearly twice as many
// through within a second, and the exchange closes the connection with code 1008. It is not safe for
// concurrent use.
type rateLimiter struct {
	sent []time.Time // the last messages, as a ring
	next int         // the oldest
}

func newRateLimiter(perWindow int) rateLimiter {
	return rateLimiter{sent: make([]time.Time, perWindow)}
}

// wait blocks until a message may be sent, and counts it as sent, or until ctx ends, whose error it
// returns.
func (r *rateLimiter) wait(ctx context.Context) error {
	if err := backoff.Sleep(ctx, time.Until(r.sent[r.next].Add(rateWindow))); err != nil {
		return err
	}
	r.sent[r.next] = time.Now()
	r.next = (r.next + 1) % len(r.sent)
	return nil
}
