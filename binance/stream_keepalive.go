package binance

import (
	"errors"
	"math"
	"net"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// probeAfter is how long nothing may come until a Stream of a market that pings seldom sends a ping of
// its own. Three that are not answered are enough.
const probeAfter = 20 * time.Second

// A keepAlive notices that a connection is half-open: nobody has ended it, and nothing comes any more.
//
// Spot pings every 20 s, so that a minute of silence proves it. The futures markets ping every three
// minutes and allow ten. RFC 6455, 5.5.2: "Upon receipt of a Ping frame, an endpoint MUST send a Pong
// frame in response". The exchange takes such pings: "A message is considered: a PING frame, a PONG
// frame, a JSON controlled message". Whether it answers, its documents do not say; so a Stream sends one
// when it is opened, and the answer to that is what makes the bound a minute here too.
type keepAlive struct {
	heard    atomic.Int64 // when the read deadline was last put off: nanoseconds after opened
	answered atomic.Bool  // the exchange answers pings
	timer    *time.Timer  // of the next look; nil if this side sends no pings
}

// beginKeepAlive sends the first ping, where pings are needed.
func (s *Stream) beginKeepAlive() {
	if s.market.silence <= maxSilence {
		return
	}
	s.conn.SetPongHandler(func(string) error {
		if !s.keep.answered.Swap(true) {
			s.keep.heard.Store(0) // the bound is another one now
		}
		s.putOff(time.Now())
		return nil
	})
	s.keep.timer = time.AfterFunc(math.MaxInt64, s.probe)
	s.keep.timer.Reset(0)
}

// probe sends a ping if nothing has come for a while, and comes again. It has a goroutine of its own.
func (s *Stream) probe() {
	now := time.Now()
	heard := s.opened.Add(time.Duration(s.keep.heard.Load()))
	wait := probeAfter - now.Sub(heard)
	if wait <= 0 || !s.keep.answered.Load() {
		err := s.conn.WriteControl(websocket.PingMessage, nil, now.Add(writeTimeout))
		var timeout net.Error
		if err != nil && !(errors.As(err, &timeout) && timeout.Timeout()) {
			return // the connection has ended, as the reader learns too
		}
		wait = probeAfter
	}
	s.keep.timer.Reset(wait)
}

func (k *keepAlive) stop() {
	if k.timer != nil {
		k.timer.Stop()
	}
}

// maxSilence is how long a connection whose exchange pings, or answers pings, may be silent.
const maxSilence = time.Minute

// silence returns how long nothing may come until the connection counts as dead.
func (s *Stream) silence() time.Duration {
	if s.keep.answered.Load() {
		return maxSilence
	}
	return s.market.silence
}

// putOff moves the read deadline, at most once a second since it costs a little. It is the reader's.
func (s *Stream) putOff(now time.Time) {
	since := now.Sub(s.opened)
	if last := s.keep.heard.Load(); last == 0 || since-time.Duration(last) >= time.Second {
		s.keep.heard.Store(max(1, int64(since)))
		s.conn.SetReadDeadline(now.Add(s.silence())) //nolint:errcheck // a read on a dead connection fails by itself
	}
}
