package binance_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/internal/short"
)

// A name that the exchange refuses, in subscriptions or for a snapshot alone, keeps no other symbol from
// syncing: it is reported, and asked for again less and less often.
func TestRefusedNameLeavesItsNeighboursAlone(t *testing.T) {
	short.Skip(t)
	for name, c := range map[string]struct {
		market marketprism.Market
		bad    []string
		refuse bool
		conns  int
	}{
		"a snapshot":                       {marketprism.Spot, []string{"NOSUCHUSDT"}, false, 1},
		"subscriptions":                    {marketprism.Spot, []string{"NOSUCHUSDT"}, true, 1},
		"several, on two connections each": {marketprism.USDM, []string{"NOSUCHUSDT", "NOTEITHERUSDT"}, true, 2},
		"a malformed name":                 {marketprism.COINM, []string{"NO SUCH"}, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			server := exchange(40)
			server.Market, server.Tick = c.market, time.Second
			for i := range server.Symbols {
				server.Symbols[i].Levels, server.Symbols[i].Rate = 5, 3
			}
			good := names(40)
			symbols := slices.Concat(c.bad, good[:10], []string{"SO LONG"}[:len(c.bad)-1], good[10:])
			depth := binance.DepthConfig{Symbols: symbols, SkipSymbolCheck: true, Trades: true, Redundancy: c.conns, RetryMax: 2 * time.Second}
			before := func(h *harness) { h.srv.RefuseUnknownStreams(c.refuse) }
			bubble(t, setup{server: server, depth: depth, before: before}, func(t *testing.T, h *harness) {
				start := time.Now()
				if err := h.readyWithin(2*time.Minute, good...); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); took > 20*time.Second {
					t.Errorf("the others were synced after %v", took)
				}
				time.Sleep(3 * time.Minute)
				h.refusals(symbols[:len(c.bad)])

				h.srv.Disconnect(0, "")
				again := time.Now()
				time.Sleep(time.Second)
				if err := h.readyWithin(2*time.Minute, good...); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(again); took > 10*time.Second {
					t.Errorf("after a reconnect the others were synced after %v", took)
				}
				h.syncer.Rotate()
				time.Sleep(time.Minute)
				if n := len(infos[binance.RotateInfo](h)); n != len(infos[binance.SubscribeInfo](h))/3 {
					t.Errorf("%d rotations", n)
				}

				// When the exchange lists the symbol, its book is synced.
				if c.bad[0] == "NOSUCHUSDT" {
					listed := server.Symbols[0]
					listed.Name = c.bad[0]
					if err := h.srv.List(listed); err != nil {
						t.Fatal(err)
					}
					time.Sleep(65 * time.Second)
					good = append(good, c.bad[0])
				}
				h.live(good...)
				if n := len(infos[binance.DisconnectInfo](h)); n != 2*len(infos[binance.SubscribeInfo](h))/3 {
					t.Errorf("%d connections ended", n)
				}
				h.wellBehaved()
			})
		})
	}
}

// readyWithin is Ready with a bound.
func (h *harness) readyWithin(d time.Duration, symbols ...string) error {
	ctx, cancel := context.WithTimeout(h.t.Context(), d)
	defer cancel()
	return h.syncer.Ready(ctx, symbols...)
}

// refusals checks that each of the symbols was refused alone, at growing distances, and no other.
func (h *harness) refusals(symbols []string) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	last := make(map[string]time.Time)
	retry := make(map[string]time.Duration)
	refused := make(map[string]bool)
	for _, e := range h.events {
		i, ok := e.info.(binance.RefuseInfo)
		if !ok {
			continue
		}
		var subscribe *binance.SubscribeError
		var answer *binance.APIError
		if !errors.As(i.Err, &subscribe) == (i.Stream != "") || !errors.As(i.Err, &answer) == (i.Stream == "") {
			h.t.Errorf("Refused hook: %+v", i)
		}
		key := fmt.Sprint(i.Instrument.Symbol, i.Stream)
		if wait := e.at.Sub(last[key]); i.Stream != "" && !last[key].IsZero() && wait < retry[key] || i.Retry < retry[key] {
			h.t.Errorf("%s: refused after %v, and %v before", key, wait, retry[key])
		}
		last[key], retry[key] = e.at, i.Retry
		refused[i.Instrument.Symbol] = true
	}
	for symbol := range refused {
		if !slices.Contains(symbols, symbol) && symbol != "SO LONG" {
			h.t.Errorf("%s was refused", symbol)
		}
	}
	for _, symbol := range symbols {
		if !refused[symbol] {
			h.t.Errorf("%s was not refused", symbol)
		}
	}
	if n := h.syncer.Stats().Refused; n == 0 || n > 7*2*uint64(len(symbols)+1) {
		h.t.Errorf("%d refusals", n)
	}
}
