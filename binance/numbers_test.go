package binance_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/orderbook"
)

// casePath returns the path of an input beside the repository that once failed.
func casePath(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join("..", "..", "shared", "cases", name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		t.Skip("no cases beside the repository (../shared/cases)")
	}
	return path
}

// A snapshot and an update with quantities beyond MaxFixed make a book, in which they are MaxFixed.
func TestRecordedQuantityBeyondMaxFixed(t *testing.T) {
	server := binancetest.Config{Playback: &binancetest.Playback{
		Path: casePath(t, "spot-quantity-over-fixed.constructed.ndjson"), WaitFor: []string{"depth"},
	}}
	bubble(t, setup{server: server}, func(t *testing.T, h *harness) {
		<-h.srv.Played()
		h.ready()
		synctest.Wait()
		if err := errors.Join(h.srv.PlaybackErr(), h.syncer.View("BTTCUSDT", func(b *orderbook.Book, _ binance.Status) {
			text, _ := b.AppendText(nil)
			const want = "0.00000048 92233720368.54775807\n0.00000047 92233720368.54775807\n-\n0.00000049 1\n-\n"
			if string(text) != want || b.LastID() != 11 {
				t.Errorf("the book at %d is\n%s", b.LastID(), text)
			}
			if _, exact := b.DepthTo(orderbook.Bid, 0); exact || b.FillQuantity(orderbook.Bid, orderbook.One).Complete {
				t.Error("a sum of such levels claims to be exact")
			}
		})); err != nil {
			t.Fatal(err)
		}
		capped := infos[binance.CappedInfo](h)
		if s := h.syncer.Stats(); s.Capped != 2 || s.Gaps != 0 || s.Undecoded != 0 || len(capped) != 1 ||
			capped[0].Instrument.Symbol != "BTTCUSDT" || capped[0].Levels != 1 {
			t.Errorf("stats: %+v, Capped hook: %+v", s, capped)
		}
	})
}

// The book of an asset with few decimals is synced like any other, in every form; its quantities beyond MaxFixed are
// counted, and neither audits nor bookTickers find a difference.
func TestAssetOfFewDecimals(t *testing.T) {
	for name, s := range map[string]setup{
		"spot":  {server: binancetest.Config{}},
		"SBE":   {client: binance.Config{SBE: true, APIKey: "key"}},
		"usdm":  {server: binancetest.Config{Market: marketprism.USDM}},
		"coinm": {server: binancetest.Config{Market: marketprism.COINM}},
	} {
		t.Run(name, func(t *testing.T) {
			s.server.Seed, s.server.Symbols = 7, []binancetest.Symbol{
				{Name: "BTTCUSDT", Price: 48_000, TickSize: 1, BasePrecision: 1, Levels: 40},
				{Name: "PEPEUSDT", BasePrecision: 2, StepSize: orderbook.One / 100, Levels: 40}, {Name: "BTCUSDT", Levels: 40},
			}
			s.depth = binance.DepthConfig{Tickers: true, Trades: true, RefreshEvery: 5 * time.Second}
			bubble(t, s, func(t *testing.T, h *harness) {
				h.ready()
				time.Sleep(10 * time.Second)
				h.srv.VarySBEExponents(true)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				capped := infos[binance.CappedInfo](h)
				if st := h.syncer.Stats(); st.Checks < 100 || st.Mismatches+st.Differences+st.Gaps+st.Undecoded > 0 ||
					st.Audits < 6 || st.Unaudited > 0 || st.Trades < 10 || st.Capped < 20 || len(capped) != 2 {
					t.Errorf("stats: %+v, Capped hook: %+v", st, capped)
				}
				h.live(h.srv.Listed()...)
				h.wellBehaved()
			})
		})
	}
}

// The exchange caps a level of its depth streams at the largest quantity, "at max value or more", and may send another
// quantity of it in bookTicker. That is no mismatch; another price is.
func TestTickerOfACappedLevel(t *testing.T) {
	server := binancetest.Config{Tick: -1, Symbols: []binancetest.Symbol{{Name: victim, Rate: -1, Levels: 5}}}
	bubble(t, setup{server: server, depth: binance.DepthConfig{Tickers: true}}, func(t *testing.T, h *harness) {
		h.ready()
		best, err := h.srv.Book(victim)
		if err != nil {
			t.Fatal(err)
		}
		price := best.Bids[0].Price + 1
		id, err := h.srv.Apply(victim, []orderbook.Level{{Price: price, Quantity: orderbook.MaxFixed}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		h.srv.Tick()
		synctest.Wait()
		send := func(bid orderbook.Level) {
			ask := best.Asks[0]
			h.srv.SendRaw(fmt.Sprintf(`{"stream":"%s@bookTicker","data":{"u":%d,"s":"%s","b":"%v","B":"%v","a":"%v","A":"%v"}}`,
				strings.ToLower(victim), id, victim, bid.Price, bid.Quantity, ask.Price, ask.Quantity))
			synctest.Wait()
		}
		send(orderbook.Level{Price: price, Quantity: 5 * orderbook.One})
		if s := h.syncer.Stats(); s.Checks != 2 || s.Mismatches != 0 || s.Capped != 2 {
			t.Errorf("stats: %+v", s)
		}
		send(orderbook.Level{Price: price + 1, Quantity: orderbook.MaxFixed})
		if s := h.syncer.Stats(); s.Mismatches != 1 {
			t.Errorf("another price: %+v", s)
		}
	})
}

// Filters as the exchange writes them for assets of one and two decimals do not break the listing.
func TestListingOfAssetsOfFewDecimals(t *testing.T) {
	body, err := os.ReadFile(casePath(t, "exchangeinfo-baseprecision.json"))
	if err != nil {
		t.Fatal(err)
	}
	client := answering(t, marketprism.Spot, text(http.StatusOK, nil, string(body)))
	info, err := client.ExchangeInfo(t.Context())
	if err != nil || len(info.Symbols) != 9 {
		t.Fatalf("%+v, %v", info, err)
	}
	for symbol, want := range map[string]orderbook.Fixed{"BTTCUSDT": orderbook.One, "PEPEUSDT": orderbook.One, "BTCUSDT": orderbook.One / 100_000} {
		s, ok := info.Lookup(symbol)
		if !ok || !s.Trading() || s.StepSize != want || s.TickSize == 0 {
			t.Errorf("%s: %+v", symbol, s)
		}
	}
}
