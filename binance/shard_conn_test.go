package binance_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

// mixed is an exchange of busy symbols, one that moves now and then, and one that never does.
func mixed(market marketprism.Market) binancetest.Config {
	cfg := exchange(6)
	cfg.Market, cfg.History = market, 512
	cfg.Symbols[4].Rate = 0.1
	cfg.Symbols[5].Rate = -1
	return cfg
}

// unbroken checks that no book was interrupted, and that each needed one snapshot.
func (h *harness) unbroken() {
	h.t.Helper()
	symbols := len(h.srv.Listed())
	s := h.syncer.Stats()
	if s.Gaps != 0 || s.Snapshots != uint64(symbols) || requests(h.srv, "/depth") != symbols {
		h.t.Errorf("%d gaps, %d snapshots, %d requests for %d symbols", s.Gaps, s.Snapshots, requests(h.srv, "/depth"), symbols)
	}
	h.wellBehaved()
}

func TestConnectionsAreRotatedBeforeTheirEnd(t *testing.T) {
	short.SkipWhole(t)
	server := mixed(marketprism.Spot)
	for i := range server.Symbols[:4] {
		server.Symbols[i].Rate = 5
	}
	server.Lifetime = 10 * time.Minute
	depth := binance.DepthConfig{MaxConnAge: 9 * time.Minute, StreamsPerConn: 2}
	bubble(t, setup{server: server, depth: depth}, func(t *testing.T, h *harness) {
		h.ready()
		time.Sleep(time.Hour)
		rotated := infos[binance.RotateInfo](h)
		if len(rotated) < 3*6 {
			t.Errorf("%d rotations of 3 connections in an hour", len(rotated))
		}
		var ages []time.Duration
		for _, r := range rotated {
			ages = append(ages, r.Age)
			if r.Reason != binance.RotateAge || r.Age < 7*time.Minute || r.Age > 10*time.Minute || r.Streams != 2 || r.Overlap > 20*time.Second {
				t.Errorf("%+v", r)
			}
		}
		slices.Sort(ages)
		if distinct := len(slices.Compact(slices.Clone(ages))); distinct < len(ages)/2 { // a few may be the same by chance
			t.Errorf("connections are replaced at one age: %v", ages)
		}
		for _, d := range infos[binance.DisconnectInfo](h) {
			if !errors.Is(d.Err, binance.ErrReplaced) || d.Symbols != 0 {
				t.Errorf("%+v", d)
			}
		}
		h.unbroken()
	})
}

func TestRotationMissesNothing(t *testing.T) {
	short.SkipWhole(t)
	for _, market := range []marketprism.Market{marketprism.Spot, marketprism.USDM, marketprism.COINM} {
		for name, begin := range map[string]func(*harness){
			"request":  func(h *harness) { h.syncer.Rotate() },
			"shutdown": func(h *harness) { h.srv.SendServerShutdown() },
			"nested":   func(h *harness) { h.srv.SendRaw(`{"event":{"e":"serverShutdown","E":1770123456789}}`) },
			"raw":      func(h *harness) { h.srv.SendRaw(`{"e":"serverShutdown","E":1770123456789}`) },
		} {
			t.Run(string(market)+" "+name, func(t *testing.T) {
				depth := binance.DepthConfig{Tickers: true, Trades: true, AggTrades: true}
				bubble(t, setup{server: mixed(market), depth: depth}, func(t *testing.T, h *harness) {
					h.ready()
					time.Sleep(5 * time.Second) // Ready does not wait for a connection without books
					conns := h.srv.Stats().Connections
					for range 3 {
						begin(h)
						time.Sleep(25 * time.Second)
					}
					if s := h.syncer.Stats(); s.Rotations != uint64(3*conns) || s.Duplicates == 0 {
						t.Errorf("stats: %+v", s)
					}
					if open := len(h.srv.Connections()); open != conns {
						t.Errorf("%d connections are open, want %d", open, conns)
					}
					h.live(h.srv.Listed()[:4]...)
					h.unbroken()
				})
			})
		}
	}
}

// The old connection goes on while no replacement can be opened, and the attempts back off.
func TestRotationIsRepeatedUntilItSucceeds(t *testing.T) {
	short.SkipWhole(t)
	var refuse atomic.Bool
	var attempts atomic.Int32
	server := mixed(marketprism.Spot)
	var h *harness
	client := binance.Config{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if refuse.Load() {
			attempts.Add(1)
			return nil, errors.New("no route")
		}
		return h.srv.DialContext(ctx, network, addr)
	}}
	s := setup{server: server, client: client, before: func(made *harness) { h = made }}
	bubble(t, s, func(t *testing.T, h *harness) {
		h.ready()
		refuse.Store(true)
		h.syncer.Rotate()
		time.Sleep(time.Minute)
		h.syncer.Rotate() // a replacement is due already
		time.Sleep(9 * time.Minute)
		if n := attempts.Load(); n < 25 || n > 80 {
			t.Errorf("%d attempts in 10 minutes", n)
		}
		h.live(h.srv.Listed()[:4]...)
		refuse.Store(false)
		time.Sleep(time.Minute)
		if s := h.syncer.Stats(); s.Rotations != 1 {
			t.Errorf("stats: %+v", s)
		}
		h.unbroken()
	})
}

// A replacement that is acknowledged and then stays silent does not take over.
func TestReplacementThatSaysNothingIsGivenUp(t *testing.T) {
	var h *harness
	opened := 0
	client := binance.Config{Hooks: &binance.Hooks{Subscribed: func(i binance.SubscribeInfo) {
		if opened++; opened == 2 {
			conns := h.srv.Connections()
			h.srv.SilenceOne(conns[len(conns)-1].ID)
		}
	}}}
	s := setup{server: mixed(marketprism.Spot), client: client, before: func(made *harness) { h = made }}
	bubble(t, s, func(t *testing.T, h *harness) {
		h.ready()
		h.syncer.Rotate()
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		down := infos[binance.DisconnectInfo](h)
		if len(down) != 2 || !errors.Is(down[0].Err, binance.ErrSilent) && !errors.Is(down[0].Err, binance.ErrRotation) || !errors.Is(down[1].Err, binance.ErrReplaced) {
			t.Errorf("Disconnected hook: %+v", down)
		}
		h.live(h.srv.Listed()[:4]...)
		h.unbroken()
	})
}

// If the old connection ends before the new one carries every stream, the books go on where the ids
// prove that nothing is missing, and say so where they do not.
func TestOldConnectionEndsDuringRotation(t *testing.T) {
	bubble(t, setup{server: mixed(marketprism.Spot)}, func(t *testing.T, h *harness) {
		h.ready()
		h.syncer.Rotate()
		time.Sleep(2 * time.Second)
		h.srv.DisconnectOne(h.srv.Connections()[0].ID, 0, "")
		time.Sleep(10 * time.Second)
		for i, s := range h.srv.Listed() {
			gaps := h.at(s).gaps
			if silent := i == 5; len(gaps) > 0 && i < 4 || silent && (len(gaps) != 1 || gaps[0].Reason != orderbook.GapDisconnect) {
				t.Errorf("%s had the gaps %v", s, gaps)
			}
		}
		h.ready()
		h.live(h.srv.Listed()[:4]...)
		if s := h.syncer.Stats(); s.Connects != 2 || s.Rotations != 0 {
			t.Errorf("stats: %+v", s)
		}
		h.wellBehaved()
	})
}

func TestRotateReasonNames(t *testing.T) {
	var names []string
	for r := range binance.RotateSilent + 2 {
		names = append(names, r.String())
	}
	if got := strings.Join(names, " "); got != "unknown age shutdown request silent unknown" {
		t.Error(got)
	}
}
