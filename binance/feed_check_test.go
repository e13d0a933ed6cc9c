package binance_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/orderbook"
)

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
		// A bid that is not there, between the touch and the levels the walk will change.
		price := book.Bids[0].Price + 1
		h.forge(`[["` + price.String() + `","7.00000000"]]`)
		time.Sleep(time.Minute)
		synctest.Wait()
		told := infos[binance.MismatchInfo](h)
		if len(told) == 0 || told[0].Instrument.Symbol != victim || told[0].Ticker.UpdateID != told[0].LastID ||
			told[0].Bid != (orderbook.Level{Price: price, Quantity: 7 * orderbook.One}) {
			t.Fatalf("Mismatch hook: %+v", told)
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
