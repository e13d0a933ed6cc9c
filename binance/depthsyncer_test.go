package binance_test

import (
	"slices"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/orderbook"
)

func TestBooksEqualTheExchanges(t *testing.T) {
	for _, market := range []marketprism.Market{marketprism.Spot, marketprism.USDM, marketprism.COINM} {
		t.Run(string(market), func(t *testing.T) {
			server := binancetest.Config{Market: market, Symbols: binancetest.Symbols(names(20)...)}
			depth := binance.DepthConfig{Trades: true, AggTrades: true, Tickers: true}
			bubble(t, setup{server: server, depth: depth}, func(t *testing.T, h *harness) {
				h.ready()
				h.live(h.srv.Listed()...)
				for _, symbol := range h.srv.Listed() {
					err := h.syncer.View(symbol, func(b *orderbook.Book, s binance.Status) {
						if s.State != orderbook.Synced || s.LastID != b.LastID() || s.Age() > time.Second {
							t.Errorf("%s: status %+v", symbol, s)
						}
						if _, ok := b.BestBid(); !ok || b.Crossed() {
							t.Errorf("%s: empty or crossed", symbol)
						}
					})
					if err != nil {
						t.Error(err)
					}
				}
				h.mu.Lock()
				if h.trades == 0 || h.ticks == 0 {
					t.Errorf("%d trades, %d tickers", h.trades, h.ticks)
				}
				h.mu.Unlock()
				if s := h.syncer.Stats(); s.Gaps != 0 || s.Snapshots != 20 || s.Undecoded != 0 || s.Dropped != 0 || s.Unknown != 0 {
					t.Errorf("stats: %+v", s)
				}
				if s := h.syncer.Stats(); s.DepthEvents < s.Updates || s.TradeEvents < s.Trades || s.TickerEvents < s.Tickers || s.Trades == 0 ||
					s.Bytes < s.Frames || s.LastEvent.IsZero() || s.Queued > s.QueueFrames || s.QueueFrames == 0 {
					t.Errorf("stats: %+v", s)
				}
				var paths []string
				for _, c := range h.srv.Connections() {
					paths = append(paths, c.Path)
				}
				want := []string{"/stream"}
				if market == marketprism.USDM {
					want = []string{"/market/stream", "/public/stream"}
				}
				if slices.Sort(paths); !slices.Equal(paths, want) {
					t.Errorf("connections of %v", paths)
				}
				h.wellBehaved()
			})
		})
	}
}

func TestEventsThatStraddleTheSnapshot(t *testing.T) {
	for _, market := range []marketprism.Market{marketprism.Spot, marketprism.USDM} {
		t.Run(string(market), func(t *testing.T) {
			server := exchange(50)
			server.Market, server.MidBatchSnapshots = market, true
			bubble(t, setup{server: server, depth: binance.DepthConfig{StreamsPerConn: 10}}, func(t *testing.T, h *harness) {
				h.ready()
				for _, s := range h.srv.Listed() {
					h.srv.DuplicateDepth(s, 2)
				}
				h.live(h.srv.Listed()...)
				if s := h.syncer.Stats(); s.Gaps != 0 || s.Connects != 5 {
					t.Errorf("stats: %+v", s)
				}
				h.wellBehaved()
			})
		})
	}
}
