package binance_test

import (
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/orderbook"
)

// The bookTicker of a symbol shows that its depth stream is dead: that book alone starts over.
func TestDeadDepthStreamIsResubscribed(t *testing.T) {
	for _, redundancy := range []int{1, 2} {
		depth := binance.DepthConfig{Tickers: true, Redundancy: redundancy}
		var h *harness
		client := binance.Config{Hooks: &binance.Hooks{Watchdog: func(binance.WatchInfo) { h.srv.DropDepth(victim, 0) }}}
		s := setup{server: mixed(marketprism.Spot), client: client, depth: depth, before: func(made *harness) { h = made }}
		bubble(t, s, func(t *testing.T, h *harness) {
			h.ready()
			time.Sleep(time.Minute)
			if reports := infos[binance.WatchInfo](h); len(reports) != 0 {
				t.Fatalf("%+v", reports)
			}
			h.srv.DropDepth(victim, 1000)
			time.Sleep(25 * time.Second)
			h.onlyGap(victim, orderbook.GapStale)
			reports := infos[binance.WatchInfo](h)
			if len(reports) != 1 || reports[0].Reason != binance.WatchDeadDepth || reports[0].Stream != "t0000usdt@depth@100ms" {
				t.Errorf("Watchdog hook: %+v", reports)
			}
			h.ready()
			h.live(h.srv.Listed()[:4]...)
			if s := h.syncer.Stats(); s.Watchdogs != 1 || s.Connects != uint64(redundancy) {
				t.Errorf("stats: %+v", s)
			}
			h.wellBehaved()
		})
	}
}

// Without tickers the snapshots of a refresh show that a depth stream is dead, on spot, where the ids are the
// symbol's own. The snapshots of a quiet futures symbol may run ahead at any time.
func TestDeadDepthStreamIsFoundByARefresh(t *testing.T) {
	for market, gaps := range map[marketprism.Market]uint64{marketprism.Spot: 1, marketprism.USDM: 0} {
		var h *harness
		client := binance.Config{Hooks: &binance.Hooks{Watchdog: func(binance.WatchInfo) { h.srv.DropDepth(victim, 0) }}}
		depth := binance.DepthConfig{RetryMax: 2 * time.Second}
		s := setup{server: mixed(market), client: client, depth: depth, before: func(made *harness) { h = made }}
		bubble(t, s, func(t *testing.T, h *harness) {
			h.ready()
			h.srv.DropDepth(victim, 1000)
			time.Sleep(2 * time.Second)
			if err := h.syncer.Refresh(victim); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			reports := infos[binance.WatchInfo](h)
			if s := h.syncer.Stats(); s.Gaps != gaps || len(reports) != int(gaps) {
				t.Fatalf("%s: %d gaps, %+v", market, s.Gaps, reports)
			}
			if gaps > 0 {
				h.onlyGap(victim, orderbook.GapStale)
				if reports[0].Reason != binance.WatchDeadDepth || reports[0].Silent < 2*time.Second {
					t.Errorf("Watchdog hook: %+v", reports)
				}
				h.live(h.srv.Listed()[:4]...)
			}
		})
	}
}

// A stream that is silent for long is subscribed again, and its book refreshed, without a gap.
func TestQuietStreamIsSubscribedAgain(t *testing.T) {
	depth := binance.DepthConfig{StreamTimeout: 2 * time.Minute, Trades: true}
	bubble(t, setup{server: mixed(marketprism.Spot), depth: depth}, func(t *testing.T, h *harness) {
		h.ready()
		before := h.srv.Stats().Messages
		time.Sleep(5 * time.Minute)
		quiet := make(map[string]int)
		for _, i := range infos[binance.WatchInfo](h) {
			if i.Reason != binance.WatchQuiet || i.Silent < 2*time.Minute || i.Silent > 2*time.Minute+10*time.Second {
				t.Errorf("%+v", i)
			}
			quiet[i.Stream]++
		}
		if quiet["t0005usdt@depth@100ms"] != 2 || quiet["t0005usdt@trade"] != 2 || quiet["t0000usdt@depth@100ms"] != 0 {
			t.Errorf("Watchdog hook: %v", quiet)
		}
		if pongs := 15; h.srv.Stats().Messages-before <= pongs {
			t.Error("nothing was sent")
		}
		if s := h.syncer.Stats(); s.Gaps != 0 || s.Connects != 1 {
			t.Errorf("stats: %+v", s)
		}
		h.live(h.srv.Listed()[:4]...)
		h.wellBehaved()
	})
}

// A connection without events is replaced, and its books go on.
func TestConnectionWithoutEventsIsReplaced(t *testing.T) {
	server := exchange(2)
	for i := range server.Symbols {
		server.Symbols[i].Rate = -1
	}
	depth := binance.DepthConfig{StreamTimeout: 2 * time.Minute}
	bubble(t, setup{server: server, depth: depth}, func(t *testing.T, h *harness) {
		h.ready()
		time.Sleep(5 * time.Minute)
		rotated := infos[binance.RotateInfo](h)
		if len(rotated) != 2 || rotated[0].Reason != binance.RotateSilent {
			t.Errorf("Rotated hook: %+v", rotated)
		}
		if reports := infos[binance.WatchInfo](h); len(reports) != 2 || reports[0].Reason != binance.WatchNoEvents || reports[0].Stream != "" {
			t.Errorf("Watchdog hook: %+v", reports)
		}
		h.unbroken()
	})
}

// A connection that brings events but no pings is replaced before events are lost.
func TestConnectionWithoutPingsIsReplaced(t *testing.T) {
	bubble(t, setup{server: mixed(marketprism.Spot)}, func(t *testing.T, h *harness) {
		h.ready()
		h.srv.SkipPings(4)
		time.Sleep(90 * time.Second)
		reports := infos[binance.WatchInfo](h)
		if len(reports) != 1 || reports[0].Reason != binance.WatchNoPing || reports[0].Silent < time.Minute {
			t.Errorf("Watchdog hook: %+v", reports)
		}
		if s := h.syncer.Stats(); s.Rotations != 1 {
			t.Errorf("stats: %+v", s)
		}
		h.live(h.srv.Listed()[:4]...)
		h.unbroken()
	})
}

func TestWatchReasonNames(t *testing.T) {
	var names []string
	for r := range binance.WatchDeadDepth + 2 {
		names = append(names, r.String())
	}
	if got := strings.Join(names, ", "); got != "unknown, no ping, no events, quiet, dead depth, unknown" {
		t.Error(got)
	}
}
