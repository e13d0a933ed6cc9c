package binancetest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/marketprism/marketprism/binance/binancetest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestDropAndDuplicateDepth is F1 and F3.
func TestDropAndDuplicateDepth(t *testing.T) {
	s := newServer(t, manual(t))
	must(t, s.DropDepth("BTCUSDT", 2))
	apply(t, s, "BTCUSDT", nil, nil)
	s.Tick() // nobody listens: this one is not dropped
	c := dial(t, s, "/ws/btcusdt@depth@100ms")
	must(t, s.DuplicateDepth("BTCUSDT", 1))
	for range 4 {
		apply(t, s, "BTCUSDT", nil, nil)
		s.Tick()
	}
	for _, want := range []int64{104, 104, 105} {
		equal(t, "U", c.next().First, want)
	}
}

// TestStaleSnapshots is F5.
func TestStaleSnapshots(t *testing.T) {
	s := newServer(t, manual(t))
	for i := range 5 {
		apply(t, s, "BTCUSDT", levels(t, fmt.Sprintf("10 %d", i+1)), nil)
		s.Tick()
	}
	must(t, s.StaleSnapshots("BTCUSDT", 2, 3))
	for _, want := range []int64{102, 102, 105} {
		snap := getSnapshot(t, s, "/api/v3/depth?symbol=BTCUSDT")
		equal(t, "id", snap.ID, want)
		equal(t, "best bid", snap.Bids[0][1], fmt.Sprintf("%d.00000000", want-100))
	}
	must(t, s.StaleSnapshots("BTCUSDT", 1, 99))
	equal(t, "no further than the start", getSnapshot(t, s, "/api/v3/depth?symbol=BTCUSDT").ID, 100)
}

// TestRejectREST is the errors of F16.
func TestRejectREST(t *testing.T) {
	s := newServer(t, manual(t))
	path := "/api/v3/depth?symbol=BTCUSDT"
	for status, want := range map[int]string{
		http.StatusTooManyRequests:    `{"code":-1003,"msg":"Too much request weight used;`,
		http.StatusTeapot:             `{"code":-1003,"msg":"Way too much request weight used; IP banned until `,
		http.StatusForbidden:          "<html>",
		http.StatusBadGateway:         "<html>",
		http.StatusServiceUnavailable: `{"code":-1008,`,
	} {
		s.RejectREST(2, status, 90*time.Second)
		for range 2 {
			r := get(t, s, path)
			equal(t, "status", r.status, status)
			equal(t, "Retry-After", r.header.Get("Retry-After"), "90")
			if !strings.HasPrefix(r.body, want) {
				t.Errorf("%d: %s", status, r.body)
			}
			equal(t, "content type", strings.HasPrefix(r.header.Get("Content-Type"), "text/html"), strings.HasPrefix(want, "<"))
		}
		equal(t, "afterwards", get(t, s, path).status, http.StatusOK)
	}
	s.RejectREST(1, 0, 0)
	equal(t, "no error status", get(t, s, path).status, http.StatusInternalServerError)
	s.RejectREST(1, http.StatusTooManyRequests, 0)
	equal(t, "no header", get(t, s, path).header.Get("Retry-After"), "")
	equal(t, "violations of the client", s.Stats().Violations(), 0)
}

// TestDelaySnapshots is F5 by the clock: the snapshot is as old as its answer is late.
func TestDelaySnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, inMemory("BTCUSDT"))
		s.DelaySnapshots(1, 7*time.Second)
		start := time.Now()
		go func() {
			time.Sleep(time.Second)
			apply(t, s, "BTCUSDT", nil, nil)
		}()
		equal(t, "as of the request", getSnapshot(t, s, "/api/v3/depth?symbol=BTCUSDT").ID, 1_000_000)
		equal(t, "delay", time.Since(start), 7*time.Second)
		equal(t, "next", getSnapshot(t, s, "/api/v3/depth?symbol=BTCUSDT").ID, 1_000_001)
		equal(t, "no delay", time.Since(start), 7*time.Second)
	})
}

// TestDisconnect is F18.
func TestDisconnect(t *testing.T) {
	s := newServer(t, manual(t))
	a, b, c := dial(t, s, "/ws/x@trade"), dial(t, s, "/stream"), dial(t, s, "/ws")
	list := s.Connections()
	equal(t, "connections", len(list), 3)
	equal(t, "streams", fmt.Sprintf("%v %v", list[0].Streams, list[0].Path), "[x@trade] /ws/x@trade")
	equal(t, "combined", fmt.Sprint(list[0].Combined, list[1].Combined), "false true")

	s.SendRaw("last words")
	if !s.DisconnectOne(list[1].ID, binancetest.CloseGoingAway, "moving") {
		t.Error("connection not found")
	}
	equal(t, "what was sent before", b.text(), "last words")
	code, reason := b.closed()
	equal(t, "close", fmt.Sprint(code, reason), "1001moving")

	s.DisconnectOne(list[2].ID, 0, "")
	code, _ = c.closed()
	equal(t, "cut", code, websocket.CloseAbnormalClosure)

	s.Disconnect(binancetest.ClosePolicyViolation, "")
	code, _ = a.closed()
	equal(t, "code", code, 1008)
	if s.DisconnectOne(99, 0, "") {
		t.Error("a connection that is not there was found")
	}
	dial(t, s, "/ws") // the exchange goes on
}

// TestRejectStreams is F18: the connection that was closed is not opened again at once.
func TestRejectStreams(t *testing.T) {
	s := newServer(t, manual(t))
	s.RejectStreams(1, http.StatusBadGateway)
	_, resp, err := tryDial(s, "/ws")
	if err == nil || resp == nil || resp.StatusCode != http.StatusBadGateway {
		t.Errorf("%v, %v", resp, err)
	}
	dial(t, s, "/ws")
	equal(t, "opened", s.Stats().Connections, 1)
	s.RejectStreams(9, 0)
	if _, resp, _ = tryDial(s, "/ws"); resp == nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%v", resp)
	}
	s.Calm()
	dial(t, s, "/ws")
}

// TestSilence is F19: nothing comes, nothing is answered, nothing ends.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, inMemory("BTCUSDT"))
		c := dial(t, s, "/ws/btcusdt@depth@100ms")
		s.Silence()
		other := dial(t, s, "/ws/btcusdt@depth@100ms")
		apply(t, s, "BTCUSDT", nil, nil)
		c.send(`{"method":"LIST_SUBSCRIPTIONS","id":1}`)
		equal(t, "a new connection", other.next().First, 1_000_001)
		start := time.Now()
		must(t, c.ws.SetReadDeadline(start.Add(time.Hour)))
		_, reason := c.closed()
		equal(t, "ended by the client's own deadline", time.Since(start), time.Hour)
		if !strings.Contains(reason, "timeout") {
			t.Error(reason)
		}
	})
}

// TestServerShutdown is F20, the announcement.
func TestServerShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, inMemory("BTCUSDT"))
		raw, combined, micros := dial(t, s, "/ws"), dial(t, s, "/stream"), dial(t, s, "/ws?timeUnit=MICROSECOND")
		s.SendServerShutdown()
		now := time.Now().UnixMilli()
		event := fmt.Sprintf(`{"e":"serverShutdown","E":%d}`, now)
		equal(t, "raw", raw.text(), event)
		equal(t, "combined", combined.text(), `{"stream":"!serverShutdown","data":`+event+`}`)
		equal(t, "microseconds", micros.text(), fmt.Sprintf(`{"e":"serverShutdown","E":%d000}`, now))
	})
}
