package binance_test

import (
	"errors"
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

// shallow is an exchange of many quiet symbols with deep books.
func shallow(symbols, levels int) binancetest.Config {
	cfg := binancetest.Config{Symbols: binancetest.Symbols(names(symbols)...)}
	for i := range cfg.Symbols {
		cfg.Symbols[i].Levels, cfg.Symbols[i].Rate = levels, 0.1
	}
	return cfg
}

// eventually waits until done, looked at each second, and returns how long that took since start.
func eventually(t *testing.T, start time.Time, atMost time.Duration, done func() bool) time.Duration {
	t.Helper()
	for !done() {
		if time.Since(start) > atMost {
			t.Fatalf("not done after %v", time.Since(start))
		}
		time.Sleep(time.Second)
		synctest.Wait()
	}
	return time.Since(start)
}

// A minute of the exchange's clock allows a weight of 6000: the books need two.
func TestColdStartOfAWholeExchange(t *testing.T) {
	short.SkipWhole(t)
	const symbols = 1300 // of weight 5, and 20 for exchangeInfo
	depth := binance.DepthConfig{RefreshDepth: -1}
	bubble(t, setup{server: shallow(symbols, 110), depth: depth}, func(t *testing.T, h *harness) {
		start := time.Now()
		h.ready()
		if took, least := time.Since(start), time.Minute; took < least || took > least*11/10 {
			t.Errorf("all synced after %v, the limit allows %v", took, least)
		}
		if n := requests(h.srv, "/depth"); n != symbols {
			t.Errorf("%d snapshots", n)
		}
		h.wellBehaved()
	})
}

// A cold start costs weight 5 and 50 for each symbol, and 20 for exchangeInfo, of 6,000 a minute.
func TestDeepeningTakesTheLeastTime(t *testing.T) {
	short.SkipWhole(t)
	t.Run("300", func(t *testing.T) { coldStart(t, 300, 150, 0, 2*time.Minute) })             // weight 16,520
	t.Run("1300", func(t *testing.T) { coldStart(t, 1300, 20, time.Minute, 11*time.Minute) }) // weight 71,520, of it 6,520 until all are synced
}

// coldStart checks that all symbols are synced, and then deep, within 10 % of the least time that the limit
// allows. Where that is 0, they have ten seconds.
func coldStart(t *testing.T, symbols, levels int, leastSynced, leastDeep time.Duration) {
	bubble(t, setup{server: shallow(symbols, levels), depth: binance.DepthConfig{FirstLimit: levels * 2 / 3}}, func(t *testing.T, h *harness) {
		start := time.Now()
		h.ready()
		if took := time.Since(start); took > max(leastSynced*11/10, 10*time.Second) {
			t.Errorf("all synced after %v", took)
		}
		time.Sleep(time.Second)
		if q := h.client.Usage().Queued; q[binance.PriorityDeepen] == 0 || q[binance.PriorityGap]+q[binance.PriorityFirst]+q[binance.PriorityRefresh] != 0 {
			t.Errorf("queue: %v", q)
		}
		// The resync of a lost book goes before the deepening of all others.
		time.Sleep(time.Until(start.Add(90 * time.Second)))
		h.srv.DropDepth(victim, 1)
		deep := func() bool {
			for _, symbol := range h.srv.Listed() {
				if !h.knows(symbol, levels) {
					return false
				}
			}
			return true
		}
		took := eventually(t, start, time.Hour, deep)
		if took < leastDeep || took > leastDeep*11/10 {
			t.Errorf("all deep after %v, the limit allows %v", took, leastDeep)
		}
		s := h.syncer.Stats()
		if s.Differences != 0 || s.Unaudited != 0 || s.Audits < uint64(symbols) || s.Gaps > 1 {
			t.Errorf("stats: %+v", s)
		}
		h.wellBehaved()
	})
}

// knows reports whether the symbol's book is known to so many levels on both sides.
func (h *harness) knows(symbol string, levels int) (ok bool) {
	err := h.syncer.View(symbol, func(b *orderbook.Book, _ binance.Status) {
		_, bids := b.Known(orderbook.Bid)
		_, asks := b.Known(orderbook.Ask)
		ok = (!bids || b.KnowsTop(orderbook.Bid, levels)) && (!asks || b.KnowsTop(orderbook.Ask, levels))
	})
	return err == nil && ok
}

func TestFewSymbolsAreDeepAtOnce(t *testing.T) {
	for _, market := range []marketprism.Market{marketprism.Spot, marketprism.USDM} {
		server := shallow(20, 600)
		server.Market = market
		bubble(t, setup{server: server, depth: binance.DepthConfig{SnapshotLimit: 500}}, func(t *testing.T, h *harness) {
			h.ready()
			for _, i := range infos[binance.SnapshotInfo](h) {
				if i.Limit != 500 || i.Priority != binance.PriorityFirst {
					t.Errorf("%+v", i)
				}
			}
		})
	}
}

// forge makes the victim's book wrong without a gap: a forged event sets levels, and the next true one
// overlaps it. It is sent between two ticks of the exchange, when the books have caught up: a true event that waits
// in a queue, behind a slow callback, would come before it.
func (h *harness) forge(bids string) {
	h.t.Helper()
	h.mu.Lock()
	h.forged = victim
	h.mu.Unlock()
	const tick = 100 * time.Millisecond
	var status binance.Status
	for behind := true; behind; {
		time.Sleep(time.Until(time.Now().Truncate(tick).Add(tick + tick/2)))
		synctest.Wait()
		status, _ = h.syncer.Status(victim)
		behind = h.syncer.Stats().Queued > 0 || time.Since(status.UpdatedAt) > tick
	}
	id, gaps := status.LastID+1, status.Sync.Gaps
	h.srv.SendRaw(fmt.Sprintf(`{"stream":"t0000usdt@depth@100ms","data":{"e":"depthUpdate","E":%d,"s":%q,"U":%d,"u":%d,"b":%s,"a":[]}}`,
		time.Now().UnixMilli(), victim, id, id, bids))
	time.Sleep(time.Second)
	synctest.Wait()
	if status, _ := h.syncer.Status(victim); status.State != orderbook.Synced || status.Sync.Gaps != gaps {
		h.t.Fatalf("the forgery was noticed: %+v", status)
	}
}

func TestAuditFindsAndMendsAWrongBook(t *testing.T) {
	bubble(t, setup{server: exchange(2)}, func(t *testing.T, h *harness) {
		h.ready()
		h.forge(`[["1.00000000","7.00000000"]]`)
		for range 2 {
			if err := h.syncer.Refresh(victim); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		audits := infos[binance.AuditInfo](h)
		want := orderbook.Difference{Side: orderbook.Bid, Price: orderbook.One, Had: 7 * orderbook.One}
		if len(audits) != 1 || audits[0].Instrument.Symbol != victim || audits[0].Different != 1 || audits[0].Differences[0] != want ||
			!audits[0].Swapped || audits[0].Compared < 100 || audits[0].Err != nil {
			t.Fatalf("Audited hook: %+v", audits)
		}
		h.mu.Lock()
		h.forged = "" // from here on it is correct again
		h.mu.Unlock()
		h.live(h.srv.Listed()...)
		if s := h.syncer.Stats(); s.Gaps != 0 || s.Audits != 1 || s.Differences != 1 || s.Snapshots != 3 || len(infos[binance.SyncInfo](h)) != 2 {
			t.Errorf("stats: %+v", s)
		}
		h.wellBehaved()
	})
}

func TestPeriodicAudit(t *testing.T) {
	short.SkipWhole(t)
	for _, market := range []marketprism.Market{marketprism.Spot, marketprism.USDM, marketprism.COINM} {
		t.Run(string(market), func(t *testing.T) {
			server := exchange(5)
			server.Market, server.MidBatchSnapshots = market, true
			depth := binance.DepthConfig{RefreshEvery: time.Minute}
			bubble(t, setup{server: server, depth: depth}, func(t *testing.T, h *harness) {
				h.ready()
				h.srv.RejectREST(2, 503, 0)
				time.Sleep(5*time.Minute + 30*time.Second)
				synctest.Wait()
				for _, i := range infos[binance.AuditInfo](h) {
					if i.Err != nil || i.Different != 0 || i.Compared == 0 {
						t.Errorf("Audited hook: %+v", i)
					}
				}
				if s := h.syncer.Stats(); s.Audits != 25 || s.Gaps != 0 || s.Snapshots != 5 {
					t.Errorf("stats: %+v", s)
				}
				h.wellBehaved()
			})
		})
	}
}

// A price that moves towards the end of the known depth causes a refresh before it gets there.
func TestRefreshBeforeThePriceLeavesTheKnownRange(t *testing.T) {
	server := exchange(1)
	server.Symbols[0].Levels = 400
	bubble(t, setup{server: server, depth: binance.DepthConfig{SnapshotLimit: 100}}, func(t *testing.T, h *harness) {
		h.ready()
		start, _ := h.srv.Book(victim)
		for range 10 {
			book, err := h.srv.Book(victim)
			if err != nil {
				t.Fatal(err)
			}
			var gone []orderbook.Level
			for _, l := range book.Bids[:20] {
				gone = append(gone, orderbook.Level{Price: l.Price})
			}
			if _, err := h.srv.Apply(victim, gone, nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(40 * time.Second)
			synctest.Wait()
			if !h.knows(victim, 25) {
				t.Error("the price left the known depth")
			}
		}
		now, _ := h.srv.Book(victim)
		if s := h.syncer.Stats(); now.Bids[0].Price >= start.Bids[99].Price || s.Gaps != 0 || s.Audits < 3 || s.Audits > 12 || s.Differences != 0 {
			t.Errorf("stats: %+v", s)
		}
		h.wellBehaved()
	})
}

func TestRefreshOfABookThatIsNotKnown(t *testing.T) {
	bubble(t, setup{server: exchange(1), before: func(h *harness) { h.srv.DelaySnapshots(1, time.Minute) }}, func(t *testing.T, h *harness) {
		synctest.Wait()
		if err := h.syncer.Refresh(victim); !errors.Is(err, binance.ErrNotSynced) {
			t.Errorf("err = %v", err)
		}
		if err := h.syncer.Refresh("NOPE"); !errors.Is(err, binance.ErrUnknownSymbol) {
			t.Errorf("err = %v", err)
		}
	})
}

// Requests that wait for weight when Run ends, or when their book is lost, leave the queue.
func TestRefreshesAreCancelledWithTheirBooks(t *testing.T) {
	client := binance.Config{Budget: newBudget(t, binance.BudgetConfig{Limit: 200})}
	depth := binance.DepthConfig{FirstLimit: 1000}
	bubble(t, setup{server: exchange(3), client: client, depth: depth}, func(t *testing.T, h *harness) {
		h.ready()
		for _, s := range h.srv.Listed() {
			if err := h.syncer.Refresh(s); err != nil {
				t.Error(err)
			}
		}
		if q := h.client.Usage().Queued; q[binance.PriorityRefresh] != 3 {
			t.Errorf("queue: %v", q)
		}
		h.srv.DropDepth(victim, 1)
		time.Sleep(time.Second)
		synctest.Wait()
		if q := h.client.Usage().Queued; q[binance.PriorityRefresh] != 2 || q[binance.PriorityGap] != 1 {
			t.Errorf("queue: %v", q)
		}
		h.stop()
		if err := h.end(); err != nil {
			t.Errorf("Run = %v", err)
		}
		if u := h.client.Usage(); slices.Max(u.Queued) != 0 || u.Sending != 0 {
			t.Errorf("usage: %+v", u)
		}
	})
}

// A refresh that got its weight while the handler was slow is not sent after the exchange asked to wait.
func TestRefreshWaitsForABanThatCameMeanwhile(t *testing.T) {
	bubble(t, setup{server: exchange(2)}, func(t *testing.T, h *harness) {
		h.ready()
		slow := make(chan struct{})
		h.mu.Lock()
		h.block = slow
		h.mu.Unlock()
		time.Sleep(time.Second) // the handler waits
		if err := h.syncer.Refresh(victim); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // it has its weight
		h.srv.RejectREST(1, 418, time.Minute)
		if _, err := h.client.Time(t.Context()); err == nil {
			t.Fatal("no ban")
		}
		time.Sleep(time.Second) // beyond requests that were on their way
		h.mu.Lock()
		h.block = nil
		h.mu.Unlock()
		close(slow)
		time.Sleep(50 * time.Second)
		if s := h.srv.Stats(); s.EarlyRequests > 0 || h.syncer.Stats().Audits > 0 {
			t.Errorf("%d requests during the ban", s.EarlyRequests)
		}
		time.Sleep(20 * time.Second)
		if n := h.syncer.Stats().Audits; n != 1 {
			t.Errorf("%d audits after the ban", n)
		}
		if u := h.client.Usage(); u.Sending != 0 {
			t.Errorf("%d requests are on their way", u.Sending)
		}
		h.wellBehaved()
	})
}

func TestBooksAgreeWithTheTickers(t *testing.T) {
	for _, market := range []marketprism.Market{marketprism.Spot, marketprism.USDM, marketprism.COINM} {
		t.Run(string(market), func(t *testing.T) {
			server := exchange(10)
			server.Market = market
			bubble(t, setup{server: server, depth: binance.DepthConfig{Tickers: true}}, func(t *testing.T, h *harness) {
				h.ready()
				time.Sleep(20 * time.Second)
				synctest.Wait()
				if s := h.syncer.Stats(); s.Checks < 200 || s.Mismatches != 0 || s.Audits != 0 {
					t.Errorf("stats: %+v", s)
				}
			})
		})
	}
}

func TestMismatchWithATickerIsMended(t *testing.T) {
	bubble(t, setup{server: exchange(2), depth: binance.DepthConfig{Tickers: true}}, func(t *testing.T, h *harness) {
		h.ready()
		book, err := h.srv.Book(victim)
		if err != nil {
			t.Fatal(err)
		}
		// A bid that does not exist, between the touch and the levels that the walk changes.
		price := book.Bids[0].Price + 1
		h.forge(`[["` + price.String() + `","7.00000000"]]`)
		time.Sleep(time.Minute)
		synctest.Wait()
		mismatches := infos[binance.MismatchInfo](h)
		if len(mismatches) == 0 || mismatches[0].Instrument.Symbol != victim || mismatches[0].Ticker.UpdateID != mismatches[0].LastID ||
			mismatches[0].Bid != (orderbook.Level{Price: price, Quantity: 7 * orderbook.One}) {
			t.Fatalf("Mismatch hook: %+v", mismatches)
		}
		h.mu.Lock()
		h.forged = ""
		h.mu.Unlock()
		h.live(h.srv.Listed()...)
		audits := infos[binance.AuditInfo](h)
		if s := h.syncer.Stats(); len(audits) != 1 || audits[0].Different != 1 || !audits[0].Swapped || s.Gaps != 0 || s.Mismatches == 0 {
			t.Errorf("Audited hook: %+v, stats: %+v", audits, s)
		}
		h.wellBehaved()
	})
}

// The first event of a new instrument is lost, and no id shows it. The book claims to know nothing until a refresh,
// which comes although it changes no more and no depth is promised.
func TestFirstEventOfANewInstrumentIsLost(t *testing.T) {
	for _, market := range []marketprism.Market{marketprism.Spot, marketprism.USDM} {
		server := exchange(1)
		server.Market = market
		server.Symbols[0].LastID, server.Symbols[0].Rate = -1, -1
		bubble(t, setup{server: server, depth: binance.DepthConfig{RefreshDepth: -1}}, func(t *testing.T, h *harness) {
			h.ready()
			h.srv.DropDepth(victim, 1)
			for i := range orderbook.Fixed(2) {
				bids := []orderbook.Level{{Price: (90 + i) * orderbook.One, Quantity: orderbook.One}}
				if _, err := h.srv.Apply(victim, bids, nil); err != nil {
					t.Fatal(err)
				}
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
			}
			knows := func() (known bool, bids int) {
				if err := h.syncer.View(victim, func(b *orderbook.Book, _ binance.Status) { known, bids = b.KnowsTop(orderbook.Ask, 1), b.BidCount() }); err != nil {
					t.Fatal(err)
				}
				return known, bids
			}
			if known, bids := knows(); known || bids != 1 {
				t.Errorf("%s: known: %t, %d bids", market, known, bids)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if known, bids := knows(); !known || bids != 2 {
				t.Errorf("%s: after the refresh: known: %t, %d bids", market, known, bids)
			}
			if b := h.at(victim); len(b.gaps) != 0 || b.snapshots != 2 {
				t.Errorf("%s: %d snapshots, gaps: %v", market, b.snapshots, b.gaps)
			}
		})
	}
}
