package binance_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/internal/short"
)

// Fifty hostile names among those of a listing cost no other symbol anything, and are reported.
func TestHostileNamesInListing(t *testing.T) {
	short.Skip(t)
	const invalid = 40
	for _, market := range []marketprism.Market{marketprism.Spot, marketprism.USDM, marketprism.COINM} {
		t.Run(string(market), func(t *testing.T) {
			hostile := binancetest.HostileNames()
			if len(hostile) != 50 {
				t.Fatal(len(hostile))
			}
			server := exchange(20)
			server.Market, server.Tick = market, time.Second
			good := names(20)
			good = append(good, "币安人生USDT")
			server.Symbols = append(server.Symbols, binancetest.Symbol{Name: "币安人生USDT", Levels: 100})
			depth := binance.DepthConfig{Symbols: []string{}, AllTrading: &binance.SymbolFilter{}, Trades: true, Tickers: true}
			before := func(h *harness) {
				h.prepare(good...)
				h.prepare(hostile...)
				h.srv.ListNames(hostile...)
				h.srv.RefuseUnknownStreams(true)
			}
			bubble(t, setup{server: server, depth: depth, before: before}, func(t *testing.T, h *harness) {
				time.Sleep(time.Second)
				if err := h.readyWithin(time.Minute, good...); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Minute)
				h.live(good...)
				want := append(slices.Clone(good), hostile[invalid:]...)
				if have := h.syncer.Symbols(); !slices.Equal(have, want) {
					t.Errorf("follows %q", have)
				}
				listing := infos[binance.ListingInfo](h)[0]
				if !slices.Equal(listing.Invalid, hostile[1:9]) || listing.Unread != invalid || h.syncer.Stats().Unread != invalid {
					t.Errorf("%+v", listing)
				}
				if s := h.syncer.Stats(); s.Gaps != 0 || s.Disconnects != 0 {
					t.Errorf("stats: %+v", s)
				}
				h.refusals(hostile[invalid:])
				h.wellBehaved()
			})
		})
	}
}

// Fifty names that the exchange refuses, before or among the others, end no connection.
func TestManyRefusedNames(t *testing.T) {
	short.Skip(t)
	good, server := names(50), exchange(50)
	server.Tick = time.Second
	var first, among []string
	for i := range good {
		name := fmt.Sprintf("NOSUCH%dUSDT", i)
		first, among = append(first, name), append(among, name, good[i])
	}
	first = append(first, good...)
	for name, symbols := range map[string][]string{"first": first, "among": among} {
		t.Run(name, func(t *testing.T) {
			depth := binance.DepthConfig{Symbols: symbols, SkipSymbolCheck: true}
			before := func(h *harness) { h.srv.RefuseUnknownStreams(true) }
			bubble(t, setup{server: server, depth: depth, before: before}, func(t *testing.T, h *harness) {
				if err := h.readyWithin(2*time.Minute, good...); err != nil {
					t.Fatal(err)
				}
				if s := h.syncer.Stats(); s.Disconnects != 0 || s.Gaps != 0 {
					t.Errorf("stats: %+v", s)
				}
				h.wellBehaved()
			})
		})
	}
}

// A listing with more symbols than the filter's bound adds the first of them, says how many it leaves out, and takes others
// in their place when some leave.
func TestSymbolFilterBound(t *testing.T) {
	extra := make([]string, 6000)
	for i := range extra {
		extra[i] = fmt.Sprintf("X%dUSDT", i)
	}
	depth := binance.DepthConfig{Symbols: names(1), AllTrading: &binance.SymbolFilter{Max: 5}, PollEvery: 10 * time.Second}
	before := func(h *harness) {
		h.prepare(names(10)...)
		h.srv.ListNames(extra...)
	}
	bubble(t, setup{server: exchange(10), depth: depth, before: before}, func(t *testing.T, h *harness) {
		time.Sleep(25 * time.Second)
		h.live(names(6)...)
		changes := infos[binance.SymbolsInfo](h)
		if n := h.syncer.Stats().LeftOut; n != 6004 || len(changes) != 1 || changes[0].LeftOut != n || changes[0].Symbols != 6 {
			t.Errorf("%d left out, %+v", n, changes)
		}
		if err := h.srv.SetStatus("T0002USDT", "BREAK"); err != nil {
			t.Fatal(err)
		}
		h.srv.ListNames()
		time.Sleep(20 * time.Second)
		if have, want := h.syncer.Symbols(), []string{"T0000USDT", "T0001USDT", "T0003USDT", "T0004USDT", "T0005USDT", "T0006USDT"}; !slices.Equal(have, want) {
			t.Errorf("follows %v", have)
		}
		if s := h.syncer.Stats(); s.LeftOut != 3 {
			t.Errorf("%d left out", s.LeftOut)
		}
	})
}

// A listing with far more rows than a market has symbols changes nothing.
func TestEndlessListing(t *testing.T) {
	short.SkipWhole(t)
	depth := binance.DepthConfig{Symbols: []string{}, AllTrading: &binance.SymbolFilter{}, PollEvery: 10 * time.Second}
	bubble(t, setup{server: exchange(5), depth: depth, before: func(h *harness) { h.prepare(names(5)...) }}, func(t *testing.T, h *harness) {
		h.ready()
		h.srv.ListNames(make([]string, 50_000)...)
		time.Sleep(11 * time.Second)
		h.live(names(5)...)
		listings := infos[binance.ListingInfo](h)
		if last := listings[len(listings)-1]; last.Err == nil || !strings.Contains(last.Err.Error(), "more symbols than a market has") {
			t.Errorf("%+v", last)
		}
		if s := h.syncer.Stats(); s.Gaps != 0 || len(h.syncer.Symbols()) != 5 {
			t.Errorf("stats: %+v", s)
		}
	})
}
