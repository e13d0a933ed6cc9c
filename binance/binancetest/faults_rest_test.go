package binancetest_test

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism/binance/binancetest"
)

// TestFaultsForOneSymbol is the part of F16 that leaves the other symbols alone.
func TestFaultsForOneSymbol(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, inMemory("BTCUSDT", "ETHUSDT"))
		must(t, s.RejectRESTFor("ETHUSDT", 1, http.StatusServiceUnavailable, 0))
		must(t, s.DelaySnapshotsFor("ETHUSDT", 1, time.Second))
		start := time.Now()
		equal(t, "another symbol", get(t, s, "/api/v3/depth?symbol=BTCUSDT").status, http.StatusOK)
		equal(t, "no symbol", get(t, s, "/api/v3/exchangeInfo").status, http.StatusOK)
		equal(t, "rejected", get(t, s, "/api/v3/depth?symbol=ETHUSDT").status, http.StatusServiceUnavailable)
		equal(t, "at once", time.Since(start), 0)
		equal(t, "then not", get(t, s, "/api/v3/depth?symbol=ETHUSDT").status, http.StatusOK)
		equal(t, "but late", time.Since(start), time.Second)
	})
}

// TestHangREST is the hanging request of F16: it answers in the end, or never to a client that goes.
func TestHangREST(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, inMemory("BTCUSDT"))
		s.HangREST(2, 30*time.Second)
		start := time.Now()
		equal(t, "in the end", get(t, s, "/api/v3/ping").status, http.StatusOK)
		equal(t, "waited", time.Since(start), 30*time.Second)
		c := s.HTTPClient()
		c.Timeout = 10 * time.Second
		if _, err := c.Get(s.RESTURL() + "/api/v3/time"); err == nil {
			t.Error("an answer after the client's time-out")
		}
		equal(t, "gave up", time.Since(start), 40*time.Second)
		equal(t, "next", get(t, s, "/api/v3/ping").status, http.StatusOK)
	})
}

// TestTruncateREST is the broken body of F16.
func TestTruncateREST(t *testing.T) {
	s := newServer(t, manual(t))
	s.TruncateREST(1)
	c := s.HTTPClient()
	defer c.CloseIdleConnections()
	resp, err := c.Get(s.RESTURL() + "/api/v3/exchangeInfo")
	must(t, err)
	body, err := io.ReadAll(resp.Body)
	must(t, resp.Body.Close())
	if !errors.Is(err, io.ErrUnexpectedEOF) || len(body) == 0 || int64(len(body)) >= resp.ContentLength {
		t.Errorf("%d of %d bytes: %v", len(body), resp.ContentLength, err)
	}
	equal(t, "next", get(t, s, "/api/v3/exchangeInfo").status, http.StatusOK)
}

// TestGzipREST is the compression of F16, for those who ask for it.
func TestGzipREST(t *testing.T) {
	s := newServer(t, manual(t))
	plain := get(t, s, "/api/v3/depth?symbol=BTCUSDT").body
	s.GzipREST(true)
	equal(t, "read by Go's client", get(t, s, "/api/v3/depth?symbol=BTCUSDT").body, plain)
	c := http.Client{Transport: &http.Transport{DialContext: s.DialContext, DisableCompression: true}}
	defer c.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.RESTURL()+"/api/v3/depth?symbol=BTCUSDT", nil)
	must(t, err)
	for accept, encoding := range map[string]string{"": "", "gzip, br": "gzip"} {
		req.Header.Set("Accept-Encoding", accept)
		resp, err := c.Do(req)
		must(t, err)
		equal(t, "encoding", resp.Header.Get("Content-Encoding"), encoding)
		var r io.Reader = resp.Body
		if encoding != "" {
			r, err = gzip.NewReader(resp.Body)
			must(t, err)
		}
		body, err := io.ReadAll(r)
		must(t, err)
		must(t, resp.Body.Close())
		equal(t, "body", string(body), plain)
	}
}

// TestHeadersOnTheWire: the exchange's headers in its own spelling, and none from a firewall.
func TestHeadersOnTheWire(t *testing.T) {
	s := newServer(t, manual(t))
	ask := func() string {
		c, err := s.DialContext(t.Context(), "", "")
		must(t, err)
		defer func() { _ = c.Close() }()
		_, err = io.WriteString(c, "GET /api/v3/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		must(t, err)
		text, err := io.ReadAll(c)
		must(t, err)
		return string(text)
	}
	text := ask()
	for _, want := range []string{"\r\nX-MBX-USED-WEIGHT: 1\r\n", "\r\nX-MBX-USED-WEIGHT-1M: 1\r\n", "\r\nContent-Length: 2\r\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in %s", want, text)
		}
	}
	s.RejectREST(1, http.StatusForbidden, 0)
	if text = ask(); strings.Contains(text, "MBX") {
		t.Error(text)
	}
}

// TestEarlyRequests counts what does not wait for Retry-After, but not what was on its way.
func TestEarlyRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, inMemory("BTCUSDT"))
		s.RejectREST(1, http.StatusTeapot, 10*time.Second)
		ping := func() int { return get(t, s, "/api/v3/ping").status }
		equal(t, "banned", ping(), http.StatusTeapot)
		ping()
		equal(t, "on its way", s.Stats().EarlyRequests, 0)
		time.Sleep(9 * time.Second)
		ping()
		equal(t, "too early", s.Stats().Violations(), 1)
		time.Sleep(time.Second)
		s.RejectREST(1, http.StatusTooManyRequests, time.Second)
		ping() // in time, and the next window begins
		ping()
		equal(t, "in time", s.Stats().EarlyRequests, 1)
	})
}

// TestCalmREST: what waits for requests is forgotten.
func TestCalmREST(t *testing.T) {
	s := newServer(t, manual(t))
	s.RejectREST(9, http.StatusBadGateway, 0)
	must(t, s.RejectRESTFor("BTCUSDT", 9, http.StatusBadGateway, 0))
	s.TruncateREST(9)
	s.HangREST(9, time.Hour)
	s.DelaySnapshots(9, time.Hour)
	must(t, s.StaleSnapshots("BTCUSDT", 9, 9))
	s.Calm()
	equal(t, "status", get(t, s, "/api/v3/depth?symbol=BTCUSDT").status, http.StatusOK)
	var none binancetest.Stats
	equal(t, "violations", s.Stats().Violations(), none.Violations())
}
