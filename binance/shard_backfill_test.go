package binance_test

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/orderbook"
)

// inOrder checks that every trade of every symbol came once, and in order.
func (h *harness) inOrder() {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for symbol, b := range h.books {
		if b.twice != 0 || b.skipped != 0 {
			h.t.Errorf("%s: %d trades came twice or late, %d never", symbol, b.twice, b.skipped)
		}
	}
	if h.trades == 0 {
		h.t.Error("no trades")
	}
}

// away ends the connections several times, mostly for many seconds.
func away(h *harness) {
	for range 3 {
		h.srv.Disconnect(0, "")
		time.Sleep(40 * time.Second)
	}
}

func TestMissingTradesAreFetched(t *testing.T) {
	dropped := func(h *harness) { h.srv.DropTrades(victim, 3) }
	for name, c := range map[string]struct {
		client binance.Config
		lose   func(*harness)
	}{
		"dropped":            {lose: dropped},
		"disconnected":       {lose: away},
		"repeated":           {lose: func(h *harness) { h.srv.DropTrades(victim, 2); h.srv.DuplicateTrades(victim, 2) }},
		"with a key, USD-M":  {client: binance.Config{Market: marketprism.USDM, APIKey: "key"}, lose: away},
		"with a key, COIN-M": {client: binance.Config{Market: marketprism.COINM, APIKey: "key"}, lose: dropped},
	} {
		t.Run(name, func(t *testing.T) {
			depth := binance.DepthConfig{Trades: true, ReconnectMin: 20 * time.Second}
			server := exchange(3)
			server.Market = c.client.Market
			bubble(t, setup{server: server, client: c.client, depth: depth}, func(t *testing.T, h *harness) {
				h.ready()
				time.Sleep(5 * time.Second)
				c.lose(h)
				time.Sleep(20 * time.Second)
				gaps := infos[binance.TradeGapInfo](h)
				if len(gaps) == 0 {
					t.Fatal("no trade was missing")
				}
				for _, g := range gaps {
					if g.Err != nil || g.Aggregate || int64(g.Backfilled) != g.LastID-g.FirstID+1 {
						t.Errorf("TradeGap hook: %+v", g)
					}
				}
				if s := h.syncer.Stats(); s.TradeGaps != uint64(len(gaps)) || s.TradesBackfilled == 0 {
					t.Errorf("stats: %+v", s)
				}
				h.inOrder()
				h.wellBehaved()
			})
		})
	}
}

func TestMissingAggregateTradesAreFetched(t *testing.T) {
	for _, market := range []marketprism.Market{marketprism.Spot, marketprism.USDM, marketprism.COINM} {
		server := exchange(3)
		server.Market = market
		depth := binance.DepthConfig{AggTrades: true, ReconnectMin: 20 * time.Second}
		bubble(t, setup{server: server, depth: depth}, func(t *testing.T, h *harness) {
			h.ready()
			time.Sleep(5 * time.Second)
			away(h)
			gaps := infos[binance.TradeGapInfo](h)
			for _, g := range gaps {
				if g.Err != nil || !g.Aggregate || int64(g.Backfilled) != g.LastID-g.FirstID+1 {
					t.Errorf("TradeGap hook: %+v", g)
				}
			}
			if len(gaps) == 0 {
				t.Error("no trade was missing")
			}
			h.inOrder()
			h.wellBehaved()
		})
	}
}

// Trades that cannot be fetched are reported as missing, once, and those after them are used.
func TestTradesThatStayMissing(t *testing.T) {
	for name, c := range map[string]struct {
		market marketprism.Market
		fill   int
		before func(*harness)
		want   func(binance.TradeGapInfo) bool
	}{
		"none are wanted": {fill: -1, want: func(g binance.TradeGapInfo) bool { return errors.Is(g.Err, binance.ErrTradesMissing) }},
		"too many":        {fill: 2, want: func(g binance.TradeGapInfo) bool { return errors.Is(g.Err, binance.ErrTradesMissing) }},
		"they do not exist": {before: func(h *harness) { h.srv.SkipTradeIDs(victim, 3) }, want: func(g binance.TradeGapInfo) bool {
			return errors.Is(g.Err, binance.ErrTradesMissing) && g.Backfilled == 0
		}},
		"a key is needed": {market: marketprism.USDM, want: func(g binance.TradeGapInfo) bool { return g.Err != nil }},
		"refused": {before: func(h *harness) { h.srv.DropTrades(victim, 3); h.srv.RejectREST(1, http.StatusForbidden, 0) },
			want: func(g binance.TradeGapInfo) bool { return errors.As(g.Err, new(*binance.APIError)) }},
	} {
		t.Run(name, func(t *testing.T) {
			server := exchange(2)
			server.Market = c.market
			bubble(t, setup{server: server, depth: binance.DepthConfig{Trades: true, MaxTradeBackfill: c.fill}}, func(t *testing.T, h *harness) {
				h.ready()
				time.Sleep(5 * time.Second)
				if c.before == nil {
					h.srv.DropTrades(victim, 3)
				} else {
					c.before(h)
				}
				time.Sleep(10 * time.Second)
				gaps := infos[binance.TradeGapInfo](h)
				if len(gaps) != 1 || !c.want(gaps[0]) || gaps[0].LastID-gaps[0].FirstID != 2 || gaps[0].Backfilled != 0 {
					t.Errorf("TradeGap hook: %+v", gaps)
				}
				h.mu.Lock()
				b := h.books[victim]
				if b.twice != 0 || b.skipped != 3 {
					t.Errorf("%d came twice, %d never", b.twice, b.skipped)
				}
				h.mu.Unlock()
				h.wellBehaved()
			})
		})
	}
}

// Futures trades of the insurance fund and of auto-deleveraging, and those of type NA, are no trades of the market: they
// are counted, and are neither records nor missing.
func TestTradesThatAreNoneOfTheMarket(t *testing.T) {
	for _, market := range []marketprism.Market{marketprism.USDM, marketprism.COINM} {
		server := exchange(2)
		server.Market = market
		depth := binance.DepthConfig{Trades: true, AggTrades: true, Redundancy: 2}
		bubble(t, setup{server: server, client: binance.Config{APIKey: "key"}, depth: depth}, func(t *testing.T, h *harness) {
			h.ready()
			time.Sleep(5 * time.Second)
			if err := h.srv.OtherTrades(victim, "NA", "INSURANCE_FUND", "NA", "ADL"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
			synctest.Wait()
			s := h.syncer.Stats()
			if n := s.OtherTrades; len(n) != 3 || n["NA"] != 2 || n["INSURANCE_FUND"] != 1 || n["ADL"] != 1 || s.Trades == 0 || s.TradeGaps != 0 {
				t.Errorf("%v, %d trades, %d gaps", n, s.Trades, s.TradeGaps)
			}
			if n := requests(h.srv, "/historicalTrades"); n != 0 {
				t.Errorf("%d requests", n)
			}
			h.mu.Lock()
			if b := h.books[victim]; b.twice != 0 || b.skipped != 4 {
				t.Errorf("%d came twice, %d never", b.twice, b.skipped)
			}
			h.mu.Unlock()
		})
	}
}

// The history of a futures market does not have them: where they were lost with trades of the market, all that is
// missing is fetched, once.
func TestMissingTradesAmongThoseThatAreNoneOfTheMarket(t *testing.T) {
	server := exchange(2)
	server.Market = marketprism.USDM
	bubble(t, setup{server: server, client: binance.Config{APIKey: "key"}, depth: binance.DepthConfig{Trades: true}}, func(t *testing.T, h *harness) {
		h.ready()
		time.Sleep(5 * time.Second)
		h.srv.SetRate(victim, -1)
		h.srv.DropTrades(victim, 5)
		for _, kind := range []string{"NA", "MARKET", "NA", "ADL", "MARKET", "MARKET"} {
			var err error
			if kind == "MARKET" {
				_, err = h.srv.Trade(victim, orderbook.One, orderbook.One, true)
			} else {
				err = h.srv.OtherTrades(victim, kind)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		gaps := infos[binance.TradeGapInfo](h)
		if len(gaps) != 1 || gaps[0].Err != nil || gaps[0].Backfilled != 2 || gaps[0].Others != 3 || gaps[0].LastID-gaps[0].FirstID != 4 {
			t.Errorf("TradeGap hook: %+v", gaps)
		}
		if n := requests(h.srv, "/historicalTrades"); n != 1 {
			t.Errorf("%d requests", n)
		}
		h.mu.Lock()
		if b := h.books[victim]; b.twice != 0 || b.skipped != 3 {
			t.Errorf("%d came twice, %d never", b.twice, b.skipped)
		}
		h.mu.Unlock()
	})
}
