package binance_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/orderbook"
)

// An expectedBook is what an independent oracle computed from a recording.
type expectedBook struct {
	Applied       uint64 `json:"applied"`
	Dropped       uint64 `json:"dropped"`
	FinalUpdateID int64  `json:"finalUpdateId"`
	SHA256        string `json:"sha256"`
	BookTickers   int    `json:"bookTickers"`
}

// Real traffic of the exchange, through websockets and REST, gives the books the oracle expects.
func TestRecordings(t *testing.T) {
	for name, market := range map[string]marketprism.Market{
		"binance-spot-20211012": marketprism.Spot,
		"binance-usdm-20210722": marketprism.USDM,
		"binance-usdm-20240808": marketprism.USDM,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("..", "..", "shared", "recordings", name)
			text, err := os.ReadFile(path + ".expected.json")
			if os.IsNotExist(err) {
				t.Skip("the recordings are not on this machine")
			}
			if err != nil {
				t.Fatal(err)
			}
			var want map[string]expectedBook
			if err := json.Unmarshal(text, &want); err != nil {
				t.Fatal(err)
			}
			server := binancetest.Config{Market: market, Playback: &binancetest.Playback{
				Path: path + ".ndjson.gz", WaitFor: []string{"depth", "bookTicker", "aggTrade"},
			}}
			depth := binance.DepthConfig{Tickers: true, AggTrades: true}
			bubble(t, setup{server: server, depth: depth}, func(t *testing.T, h *harness) {
				<-h.srv.Played()
				synctest.Wait()
				if err := h.srv.PlaybackErr(); err != nil {
					t.Fatal(err)
				}
				h.ready()
				tickers := 0
				for symbol, want := range want {
					compareWithOracle(t, h, symbol, want)
					tickers += want.BookTickers
				}
				if s := h.syncer.Stats(); s.Tickers != uint64(tickers) || s.Trades == 0 || s.Gaps != 0 || s.Undecoded != 0 || s.Unknown != 0 {
					t.Errorf("%d tickers wanted, stats: %+v", tickers, s)
				}
			})
		})
	}
}

func compareWithOracle(t *testing.T, h *harness, symbol string, want expectedBook) {
	t.Helper()
	err := h.syncer.View(symbol, func(b *orderbook.Book, s binance.Status) {
		text, _ := b.AppendText(nil)
		sum := sha256.Sum256(text)
		if hash := hex.EncodeToString(sum[:]); hash != want.SHA256 || b.LastID() != want.FinalUpdateID {
			t.Errorf("%s: book %s at %d, want %s at %d", symbol, hash, b.LastID(), want.SHA256, want.FinalUpdateID)
		}
		if s.Sync.Applied != want.Applied || s.Sync.Dropped != want.Dropped {
			t.Errorf("%s: %+v, want %d applied, %d dropped", symbol, s.Sync, want.Applied, want.Dropped)
		}
	})
	if err != nil {
		t.Error(err)
	}
}
