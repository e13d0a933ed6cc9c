package binance_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

// listed returns the symbols of the exchange and of the DepthSyncer, sorted.
func (h *harness) listed() (exchange, syncer []string) {
	exchange, syncer = h.srv.Listed(), h.syncer.Symbols()
	slices.Sort(exchange)
	slices.Sort(syncer)
	return exchange, syncer
}

// One answer that is no listing, or a wrong one, changes nothing, and the next one comes soon.
func TestMisleadingListingChangesNothing(t *testing.T) {
	short.Skip(t)
	for _, way := range binancetest.ListingFaults() {
		for _, market := range []marketprism.Market{marketprism.Spot, marketprism.COINM} {
			t.Run(fmt.Sprintf("%s/%s", way, market), func(t *testing.T) {
				server := exchange(5)
				server.Market, server.Tick = market, time.Second
				depth := binance.DepthConfig{Symbols: names(1), AllTrading: &binance.SymbolFilter{}}
				bubble(t, setup{server: server, depth: depth, before: func(h *harness) { h.prepare(names(5)...) }}, func(t *testing.T, h *harness) {
					h.ready()
					h.live(names(5)...)
					if err := h.srv.MisleadListings(1, way); err != nil {
						t.Fatal(err)
					}
					time.Sleep(70 * time.Second)
					h.live(names(5)...)
					listings := infos[binance.ListingInfo](h)
					switch second := listings[1]; {
					case way == "types":
						if len(listings) != 2 || second.Err != nil || second.Symbols != 5 || second.Unread != 0 {
							t.Errorf("listings: %+v", listings)
						}
					case way == "broken rows":
						if len(listings) != 2 || second.Symbols != 5 || second.Unread != 6 {
							t.Errorf("listings: %+v", listings)
						}
					case len(listings) != 3 || second.Err == nil && second.Unread+second.Missing == 0 || listings[2].Symbols != 5:
						t.Errorf("listings: %+v", listings)
					}
					if s := h.syncer.Stats(); s.Gaps != 0 || s.Audits != 0 || len(infos[binance.StatusInfo](h)) != 0 || len(infos[binance.SymbolsInfo](h)) != 1 {
						t.Errorf("stats: %+v, %+v, %+v", s, infos[binance.StatusInfo](h), infos[binance.SymbolsInfo](h))
					}
					h.wellBehaved()
				})
			})
		}
	}
}

// A first answer that misleads is asked for again, and is neither the end of Run nor an empty market.
func TestFirstListingMisleads(t *testing.T) {
	for _, way := range binancetest.ListingFaults() {
		for _, all := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%t", way, all), func(t *testing.T) {
				s := setup{server: exchange(5), before: func(h *harness) {
					h.prepare(names(5)...)
					if err := h.srv.MisleadListings(1, way); err != nil {
						t.Error(err)
					}
				}}
				if all {
					s.depth = binance.DepthConfig{Symbols: []string{}, AllTrading: &binance.SymbolFilter{}}
				}
				bubble(t, s, func(t *testing.T, h *harness) {
					start := time.Now()
					h.ready()
					if d := time.Since(start); d > 5*time.Second {
						t.Errorf("ready after %v", d)
					}
					if all && way == "half" {
						time.Sleep(61 * time.Second) // the next listing has the others
						h.ready()
					}
					if exchange, syncer := h.listed(); !slices.Equal(exchange, syncer) {
						t.Errorf("%d symbols of %d", len(syncer), len(exchange))
					}
					h.live(names(5)...)
				})
			})
		}
	}
}

// A listing without symbols is not an empty market: the driver asks again in seconds, then backs off.
func TestFirstListingWithoutSymbolsIsAskedForAgain(t *testing.T) {
	depth := binance.DepthConfig{Symbols: []string{}, AllTrading: &binance.SymbolFilter{}}
	before := func(h *harness) {
		h.prepare(names(1)...)
		if err := h.srv.Delist(victim); err != nil {
			t.Error(err)
		}
	}
	bubble(t, setup{server: exchange(1), depth: depth, before: before}, func(t *testing.T, h *harness) {
		time.Sleep(10 * time.Second)
		if n := requests(h.srv, "/exchangeInfo"); n < 3 || n > 20 {
			t.Errorf("%d requests in ten seconds", n)
		}
		time.Sleep(10 * time.Minute)
		if n := requests(h.srv, "/exchangeInfo"); n > 100 {
			t.Errorf("%d requests in ten minutes", n)
		}
		if err := h.srv.List(exchange(1).Symbols[0]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(40 * time.Second)
		h.ready()
		h.live(victim)
		h.wellBehaved()
	})
}

// Symbols that two listings lack are removed, seconds after the first of them; when they are listed again, they return.
func TestSymbolsThatStayAwayAreRemoved(t *testing.T) {
	short.Skip(t)
	server := exchange(6)
	server.Tick = time.Second
	depth := binance.DepthConfig{Symbols: names(1), AllTrading: &binance.SymbolFilter{}, PollEvery: 5 * time.Minute}
	bubble(t, setup{server: server, depth: depth, before: func(h *harness) { h.prepare(names(6)...) }}, func(t *testing.T, h *harness) {
		h.ready()
		if err := h.srv.MisleadListings(2, "half"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5*time.Minute + 4*time.Second)
		synctest.Wait()
		// The named one stays.
		if _, have := h.listed(); !slices.Equal(have, []string{"T0000USDT", "T0001USDT", "T0003USDT", "T0005USDT"}) {
			t.Errorf("follows %v", have)
		}
		if gaps := h.at("T0002USDT").gaps; len(gaps) != 1 || gaps[0].Reason != orderbook.GapRemoved {
			t.Errorf("gaps: %v", gaps)
		}
		if s, _ := h.syncer.Status(victim); s.Listing != "" || s.State != orderbook.Synced {
			t.Errorf("status: %+v", s)
		}
		time.Sleep(5 * time.Minute)
		h.ready()
		h.live(names(6)...)
		if s, _ := h.syncer.Status(victim); s.Listing != "TRADING" {
			t.Errorf("status: %+v", s)
		}
		h.wellBehaved()
	})
}
