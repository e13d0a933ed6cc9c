package binance_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/orderbook"
)

// A program that asks why a book is not synced gets the state, the last error and what is tried next, within seconds.
func TestWaitSaysWhyABookIsNotSynced(t *testing.T) {
	refuse := func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	reject := func(status int, after time.Duration) func(*harness) {
		return func(h *harness) { h.srv.RejectREST(1000, status, after) }
	}
	for name, c := range map[string]struct {
		setup
		want  marketprism.Wait // of Err, whether there is one
		texts []string
	}{
		"no network, the symbols are asked for": {
			setup: setup{client: binance.Config{DialContext: refuse}},
			want:  marketprism.Wait{For: marketprism.WaitSymbols, Err: syscall.ECONNREFUSED},
			texts: []string{"offline, waits for the list of symbols: ", "connection refused, attempt ", ", next in "},
		},
		"no network": {
			setup: setup{client: binance.Config{DialContext: refuse}, depth: binance.DepthConfig{SkipSymbolCheck: true}},
			want:  marketprism.Wait{For: marketprism.WaitConnection, Err: syscall.ECONNREFUSED},
			texts: []string{"offline, waits for a connection: binance: dial ws://", "connection refused, attempt ", ", next in "},
		},
		"a proxy refuses": {
			setup: setup{before: reject(http.StatusBadGateway, 0)},
			want:  marketprism.Wait{For: marketprism.WaitSymbols, Err: &binance.APIError{}},
			texts: []string{"waits for the list of symbols: binance: HTTP 502 Bad Gateway", ", next in "},
		},
		"snapshots fail": {
			setup: setup{depth: binance.DepthConfig{SkipSymbolCheck: true}, before: reject(http.StatusServiceUnavailable, 0)},
			want:  marketprism.Wait{For: marketprism.WaitSnapshot, Err: &binance.APIError{}},
			texts: []string{"buffering, waits for a snapshot: binance: HTTP 503 Service Unavailable", ", attempt ", ", next in "},
		},
		"a ban": {
			setup: setup{depth: binance.DepthConfig{SkipSymbolCheck: true}, before: reject(http.StatusTeapot, time.Hour)},
			want:  marketprism.Wait{For: marketprism.WaitWeight, Err: &binance.APIError{}},
			texts: []string{"buffering, waits for request weight: binance: HTTP 418", ", attempt 1, next in 59m"},
		},
		"a slow snapshot": {
			setup: setup{depth: binance.DepthConfig{SkipSymbolCheck: true}, before: func(h *harness) { h.srv.DelaySnapshots(9, time.Minute) }},
			want:  marketprism.Wait{For: marketprism.WaitSnapshot},
			texts: []string{"buffering, waits for a snapshot: context deadline exceeded"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.server = exchange(1)
			bubble(t, c.setup, func(t *testing.T, h *harness) {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				err := h.syncer.Ready(ctx)
				var not *binance.NotSyncedError
				if !errors.As(err, &not) || !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("Ready = %v", err)
				}
				text := err.Error()
				for _, part := range c.texts {
					_, rest, found := strings.Cut(text, part)
					if !found {
						t.Fatalf("%q lacks %q", err, part)
					}
					text = rest
				}
				s, _ := h.syncer.Status(victim)
				if s.Wait.For != c.want.For || not.Wait.For != c.want.For || (s.Wait.Err == nil) != (c.want.Err == nil) {
					t.Errorf("Status has %+v, Ready %+v", s.Wait, not.Wait)
				}
			})
		})
	}
}

// A synced book waits for nothing, and one whose Run has not begun, or has ended, for that.
func TestWaitOfASyncedBook(t *testing.T) {
	before := func(h *harness) {
		err := h.syncer.View(victim, func(*orderbook.Book, binance.Status) {})
		if err == nil || !strings.HasSuffix(err.Error(), "is not synced: offline, waits for Run") {
			t.Errorf("before Run: %v", err)
		}
	}
	bubble(t, setup{server: exchange(1), before: before}, func(t *testing.T, h *harness) {
		h.ready()
		if s, _ := h.syncer.Status(victim); s.Wait != (marketprism.Wait{}) || s.Wait.String() != "" {
			t.Errorf("synced: %+v", s.Wait)
		}
		h.stop()
		if err := h.end(); err != nil {
			t.Error(err)
		}
		if s, _ := h.syncer.Status(victim); s.Wait.For != marketprism.WaitRun {
			t.Errorf("after Run: %+v", s.Wait)
		}
	})
}

// A symbol in other letters is no symbol, and the error has the one that is meant.
func TestSymbolInOtherLetters(t *testing.T) {
	for _, spelling := range []string{"t0000usdt", "T0000/USDT", "t0000-usdt"} {
		bubble(t, setup{server: exchange(1), depth: binance.DepthConfig{Symbols: []string{spelling}}}, func(t *testing.T, h *harness) {
			var unknown *binance.UnknownSymbolsError
			err := h.end()
			if !errors.As(err, &unknown) || unknown.Similar[spelling] != victim || !strings.HasSuffix(err.Error(), spelling+` ("T0000USDT"?)`) {
				t.Errorf("Run = %v", err)
			}
		})
	}
	bubble(t, setup{server: exchange(1)}, func(t *testing.T, h *harness) {
		h.ready()
		err := h.syncer.Ready(t.Context(), "t0000usdt")
		if !errors.Is(err, binance.ErrUnknownSymbol) || !strings.HasSuffix(err.Error(), `"t0000usdt" ("T0000USDT"?)`) {
			t.Errorf("Ready = %v", err)
		}
		if _, err := h.client.Depth(t.Context(), "t0000usdt", 5); err == nil || !strings.HasSuffix(err.Error(), `("T0000USDT"?)`) {
			t.Errorf("Depth = %v", err)
		}
	})
}

// A page that comes with status 200, of a captive portal, shows as its title.
func TestPageInPlaceOfAnAnswer(t *testing.T) {
	page := "\n<!DOCTYPE html><html><head><title>Hotel &amp; Spa: log in</title></head><body><p>long</body></html>"
	client := answering(t, marketprism.Spot, text(200, nil, page))
	_, err := client.Depth(t.Context(), "BTCUSDT", 5)
	var de *binance.DecodeError
	if !errors.As(err, &de) || string(de.Data) != "Hotel & Spa: log in" || strings.Contains(err.Error(), "<") {
		t.Errorf("err = %v", err)
	}
}
