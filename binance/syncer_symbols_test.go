package binance_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/orderbook"
)

// prepare makes the audited books of symbols that are added later. Those that run already stay as they are.
func (h *harness) prepare(symbols ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range symbols {
		if h.books[s] == nil {
			h.books[s] = &auditedBook{}
		}
	}
}

func TestSymbolsComeAndGo(t *testing.T) {
	for _, market := range []marketprism.Market{marketprism.Spot, marketprism.USDM} {
		t.Run(string(market), func(t *testing.T) {
			server := exchange(6)
			server.Market = market
			depth := binance.DepthConfig{Symbols: names(2), Trades: true, AggTrades: true, Tickers: true, StreamsPerConn: 12, TopLevels: 5}
			bubble(t, setup{server: server, depth: depth}, func(t *testing.T, h *harness) {
				all := names(6)
				h.prepare(all...)
				h.ready()
				if err := h.syncer.Add(t.Context(), append(all[1:], all[5])...); err != nil {
					t.Fatal(err)
				}
				h.ready()
				h.live(all...)
				if got := h.syncer.Symbols(); !slices.Equal(got, all) {
					t.Errorf("symbols: %v", got)
				}
				tops, err := h.syncer.Watch(t.Context(), victim)
				if err != nil {
					t.Fatal(err)
				}
				if err := h.syncer.Remove(all[:2]...); err != nil {
					t.Fatal(err)
				}
				for range tops { // ends with the symbol
				}
				synctest.Wait()
				for _, s := range all[:2] {
					if gaps := h.at(s).gaps; len(gaps) != 1 || gaps[0].Reason != orderbook.GapRemoved {
						t.Errorf("%s had the gaps %v", s, gaps)
					}
				}
				if _, ok := h.syncer.Status(victim); ok {
					t.Error("a removed symbol has a status")
				}
				time.Sleep(5 * time.Second) // the rate limit of requests
				synctest.Wait()
				for _, c := range h.srv.Connections() {
					for _, stream := range c.Streams {
						if stream[:5] == "t0000" || stream[:5] == "t0001" {
							t.Errorf("%s is still subscribed", stream)
						}
					}
				}
				h.live(all[2:]...)
				if err := h.syncer.Add(t.Context(), all[0]); err != nil {
					t.Fatal(err)
				}
				h.ready()
				h.live(append(all[2:], all[0])...)
				if s := h.syncer.Stats(); s.Gaps != 2 || s.Disconnects != 0 {
					t.Errorf("stats: %+v", s)
				}
				h.wellBehaved()
			})
		})
	}
}

func TestAddAndRemoveOfUnknownSymbols(t *testing.T) {
	bubble(t, setup{server: exchange(2)}, func(t *testing.T, h *harness) {
		h.ready()
		var unknown *binance.UnknownSymbolsError
		if err := h.syncer.Add(t.Context(), "NOPE"); !errors.As(err, &unknown) || !slices.Equal(unknown.Symbols, []string{"NOPE"}) {
			t.Errorf("Add = %v", err)
		}
		for _, symbol := range []string{"", strings.Repeat("A", 5000)} {
			if err := h.syncer.Add(t.Context(), symbol); err == nil {
				t.Errorf("a symbol of %d bytes was added", len(symbol))
			}
			if _, err := binance.NewDepthSyncer(h.client, binance.DepthConfig{Symbols: []string{symbol}}); err == nil {
				t.Errorf("a symbol of %d bytes was accepted", len(symbol))
			}
		}
		if err := h.syncer.Remove(victim, "NOPE"); !errors.Is(err, binance.ErrUnknownSymbol) {
			t.Errorf("Remove = %v", err)
		}
		h.live(h.srv.Listed()...)
	})
}

// Symbols that are added and removed while Run does not run count when it runs next.
func TestSymbolsChangeBetweenRuns(t *testing.T) {
	bubble(t, setup{server: exchange(3), depth: binance.DepthConfig{Symbols: names(2)}}, func(t *testing.T, h *harness) {
		h.prepare(names(3)...)
		h.ready()
		h.stop()
		if err := h.end(); err != nil {
			t.Errorf("Run = %v", err)
		}
		if err := h.syncer.Remove(victim); err != nil {
			t.Error(err)
		}
		if err := h.syncer.Add(t.Context(), "T0002USDT"); err != nil {
			t.Error(err)
		}
		h.run()
		synctest.Wait()
		h.ready()
		if got := h.syncer.Symbols(); !slices.Equal(got, []string{"T0001USDT", "T0002USDT"}) {
			t.Errorf("symbols: %v", got)
		}
		h.wellBehaved()
	})
}

func TestAllTradingFollowsTheListing(t *testing.T) {
	server := binancetest.Config{Symbols: binancetest.Symbols("AUSDT", "BUSDT", "币USDT", "ABTC", "CUSDT"), History: 8192}
	server.Symbols[4].Status = "BREAK"
	filter := &binance.SymbolFilter{QuoteAssets: []string{"USDT"}}
	depth := binance.DepthConfig{Symbols: []string{}, AllTrading: filter}
	before := func(h *harness) { h.prepare("AUSDT", "BUSDT", "币USDT", "CUSDT", "DUSDT") }
	bubble(t, setup{server: server, depth: depth, before: before}, func(t *testing.T, h *harness) {
		h.ready()
		follows := func(want ...string) {
			t.Helper()
			have := h.syncer.Symbols()
			slices.Sort(have)
			if slices.Sort(want); !slices.Equal(have, want) {
				t.Errorf("follows %v, want %v", have, want)
			}
			h.live(want...)
		}
		follows("AUSDT", "BUSDT", "币USDT")
		// The book of a halted symbol was removed, with one Gap.
		if err := errors.Join(h.srv.SetStatus("AUSDT", "HALT"), h.srv.SetStatus("CUSDT", "TRADING"),
			h.srv.Delist("BUSDT"), h.srv.List(binancetest.Symbol{Name: "DUSDT"})); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		h.ready()
		follows("CUSDT", "DUSDT", "币USDT")
		for _, s := range []string{"AUSDT", "BUSDT"} {
			if gaps := h.at(s).gaps; len(gaps) != 1 || gaps[0].Reason != orderbook.GapRemoved {
				t.Errorf("%s had the gaps %v", s, gaps)
			}
		}
		changes := infos[binance.SymbolsInfo](h)
		if len(changes) != 2 || changes[1].Symbols != 3 || !slices.Equal(changes[1].Added, []string{"CUSDT", "DUSDT"}) || len(changes[1].Removed) != 2 {
			t.Errorf("SymbolsChanged hook: %+v", changes)
		}
		status := infos[binance.StatusInfo](h)
		if len(status) != 2 || status[0].From != "TRADING" || status[0].To != "HALT" || status[1].To != "" {
			t.Errorf("StatusChanged hook: %+v", status)
		}
		h.wellBehaved()
	})
}

// A symbol that was named stays through a halt in which its book is emptied. Where orders are not matched a
// book may be crossed or have one side: it is synced and correct all the same.
func TestCrossedBookInAHalt(t *testing.T) {
	for _, market := range []marketprism.Market{marketprism.Spot, marketprism.USDM, marketprism.COINM} {
		server := exchange(2)
		server.Market = market
		bubble(t, setup{server: server, depth: binance.DepthConfig{Tickers: true, PollEvery: time.Minute}}, func(t *testing.T, h *harness) {
			h.ready()
			if err := errors.Join(h.srv.SetRate(victim, 0), h.srv.SetStatus(victim, "BREAK")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Minute)
			bid := []orderbook.Level{{Price: 1_000_000 * orderbook.One, Quantity: orderbook.One}}
			if _, err := h.srv.Apply(victim, bid, nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			err := h.syncer.View(victim, func(b *orderbook.Book, s binance.Status) {
				if !b.Crossed() || s.State != orderbook.Synced || s.Listing != "BREAK" {
					t.Errorf("%s: crossed %v, %+v", market, b.Crossed(), s)
				}
			})
			if err != nil {
				t.Error(err)
			}
			if s := h.syncer.Stats(); s.Gaps != 0 || s.Mismatches != 0 || s.Undecoded != 0 {
				t.Errorf("%s: %+v", market, s)
			}
			h.wellBehaved()
		})
	}
}

// Where no orders are matched, a ticker may differ from a correct book: there is no mismatch and no refresh.
func TestTickersOfAHaltAreNoMismatch(t *testing.T) {
	bubble(t, setup{server: exchange(2), depth: binance.DepthConfig{Tickers: true, PollEvery: time.Minute}}, func(t *testing.T, h *harness) {
		h.ready()
		if err := h.srv.SetStatus(victim, "HALT"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		book, err := h.srv.Book(victim)
		if err != nil {
			t.Fatal(err)
		}
		price := book.Bids[0].Price + 1
		h.forge(`[["` + price.String() + `","7.00000000"]]`)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if s := h.syncer.Stats(); s.Mismatches != 0 || s.Audits != 0 || s.Gaps != 0 || s.Checks == 0 {
			t.Errorf("stats: %+v", s)
		}
	})
}

func TestHaltOfANamedSymbol(t *testing.T) {
	depth := binance.DepthConfig{Tickers: true, PollEvery: time.Minute}
	bubble(t, setup{server: exchange(2), depth: depth}, func(t *testing.T, h *harness) {
		h.ready()
		if err := h.srv.SetStatus(victim, "HALT"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := h.srv.SetRate(victim, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := h.srv.EmptyBook(victim); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		err := h.syncer.View(victim, func(b *orderbook.Book, s binance.Status) {
			if s.Listing != "HALT" || b.BidCount()+b.AskCount() != 0 {
				t.Errorf("%d levels, status %+v", b.BidCount()+b.AskCount(), s)
			}
		})
		if err != nil {
			t.Error(err)
		}
		if err := errors.Join(h.srv.SetStatus(victim, "TRADING"), h.srv.SetRate(victim, 50)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(90 * time.Second)
		h.live(h.srv.Listed()...)
		if s := h.syncer.Stats(); s.Gaps != 0 || s.Mismatches != 0 || s.Audits != 1 || s.Differences != 0 {
			t.Errorf("stats: %+v", s)
		}
		if status := infos[binance.StatusInfo](h); len(status) != 2 || status[1].To != "TRADING" {
			t.Errorf("StatusChanged hook: %+v", status)
		}
		h.wellBehaved()
	})
}

func TestSymbolFilter(t *testing.T) {
	btc := &binance.SymbolInfo{Symbol: "BTCUSDT", Status: "TRADING", QuoteAsset: "USDT"}
	for want, filters := range map[bool][]binance.SymbolFilter{
		true: {{}, {QuoteAssets: []string{"EUR", "USDT"}}, {Statuses: []string{"TRADING"}},
			{Keep: func(s *binance.SymbolInfo) bool { return s == btc }}},
		false: {{QuoteAssets: []string{"EUR"}}, {Statuses: []string{"HALT"}}, {Keep: func(*binance.SymbolInfo) bool { return false }}},
	} {
		for i, f := range filters {
			if f.Match(btc) != want {
				t.Errorf("filter %d: want %v", i, want)
			}
		}
	}
	if (&binance.SymbolFilter{}).Match(&binance.SymbolInfo{Status: "BREAK"}) {
		t.Error("the zero filter takes what does not trade")
	}
}
