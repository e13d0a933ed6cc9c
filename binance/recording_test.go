package binance_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/internal/short"
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
	short.SkipWhole(t)
	for name, tc := range map[string]struct {
		market marketprism.Market
		trades string // the recorded stream of trades
	}{
		"binance-spot-20211012": {marketprism.Spot, "aggTrade"},
		"binance-usdm-20210722": {marketprism.USDM, "aggTrade"},
		"binance-usdm-20240808": {marketprism.USDM, "trade"},
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
			// A recording is played at one moment: the queue holds all of it, and the exchange all books.
			server := binancetest.Config{Market: tc.market, History: 1 << 14, Playback: &binancetest.Playback{
				Path: playable(t, path+".ndjson.gz"), WaitFor: []string{"depth", "bookTicker", tc.trades},
			}}
			depth := binance.DepthConfig{
				Tickers: true, AggTrades: tc.trades == "aggTrade", Trades: tc.trades == "trade",
				QueueFrames: 1 << 15,
			}
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

// playable returns a copy of a recording in which the fastest depth stream of futures has the name that
// the driver subscribes to: what was recorded as @depth@0ms is sent as @depth@100ms.
func playable(t *testing.T, path string) string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(unzipped)
	if err != nil {
		t.Fatal(err)
	}
	renamed := filepath.Join(t.TempDir(), "recording.ndjson")
	if err := os.WriteFile(renamed, bytes.ReplaceAll(text, []byte(`@depth@0ms"`), []byte(`@depth@100ms"`)), 0o600); err != nil {
		t.Fatal(err)
	}
	return renamed
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
