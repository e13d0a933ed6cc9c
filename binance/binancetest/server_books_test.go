package binancetest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/orderbook"
)

// statuses returns what exchangeInfo lists.
func statuses(t *testing.T, s *binancetest.Server, path string) string {
	t.Helper()
	var info struct {
		Symbols []struct{ Symbol, Status, ContractStatus string }
	}
	must(t, json.Unmarshal([]byte(get(t, s, path).body), &info))
	return fmt.Sprint(info.Symbols)
}

// TestSetStatus is F30: exchangeInfo shows it, BREAK stops the walk, CANCEL_ONLY only removes.
func TestSetStatus(t *testing.T) {
	s := newServer(t, binancetest.Config{Tick: -1, Symbols: []binancetest.Symbol{{Name: "BTCUSDT", Rate: 500, Levels: 50}}})
	size := func() (id int64, levels int) {
		must(t, s.Walk())
		snap, err := s.Book("BTCUSDT")
		must(t, err)
		return snap.LastID, len(snap.Bids) + len(snap.Asks)
	}
	must(t, s.SetStatus("BTCUSDT", "BREAK"))
	id, _ := size()
	equal(t, "walk in BREAK", id, 1_000_000)
	must(t, s.SetStatus("BTCUSDT", "HALT"))
	equal(t, "exchangeInfo", statuses(t, s, "/api/v3/exchangeInfo"), "[{BTCUSDT HALT }]")
	equal(t, "by status", statuses(t, s, "/api/v3/exchangeInfo?symbolStatus=TRADING"), "[]")
	equal(t, "by its status", get(t, s, "/api/v3/depth?symbol=BTCUSDT&symbolStatus=HALT").status, http.StatusOK)
	if id, _ = size(); id == 1_000_000 {
		t.Error("HALT stops the walk")
	}
	must(t, s.SetStatus("BTCUSDT", "CANCEL_ONLY"))
	for _, before := size(); before > 0; {
		_, after := size()
		if after > before {
			t.Fatalf("%d levels became %d", before, after)
		}
		if after == before {
			break // one side is empty
		}
		before = after
	}
	must(t, s.SetStatus("BTCUSDT", "NEVER_HEARD_OF"))
	equal(t, "unknown", statuses(t, s, "/api/v3/exchangeInfo"), "[{BTCUSDT NEVER_HEARD_OF }]")
	must(t, s.SetStatus("BTCUSDT", ""))
	equal(t, "default", statuses(t, s, "/api/v3/exchangeInfo"), "[{BTCUSDT TRADING }]")
}

// TestListAndDelist is the end of F30: symbols are listed, delisted, and listed again with other ids.
func TestListAndDelist(t *testing.T) {
	s := newServer(t, binancetest.Config{Market: marketprism.COINM, Tick: -1, Symbols: binancetest.Symbols("BTCUSD_PERP")})
	all := dial(t, s, "/ws/!contractInfo")
	c := dial(t, s, "/ws/ethusd_perp@depth@100ms")
	must(t, s.List(binancetest.Symbol{Name: "ETHUSD_PERP", LastID: 5_000_000}))
	if err := s.List(binancetest.Symbol{Name: "ETHUSD_PERP"}); !errors.Is(err, binancetest.ErrConfig) {
		t.Errorf("listed twice: %v", err)
	}
	equal(t, "listed", statuses(t, s, "/dapi/v1/exchangeInfo"), "[{BTCUSD_PERP  TRADING} {ETHUSD_PERP  TRADING}]")
	apply(t, s, "ETHUSD_PERP", nil, nil)
	s.Tick()
	equal(t, "subscribed before it was listed", *decodeLoosely[event](t, c.text()).Prev, 5_000_000)

	must(t, s.Delist("ETHUSD_PERP"))
	equal(t, "delisted", statuses(t, s, "/dapi/v1/exchangeInfo"), "[{BTCUSD_PERP  TRADING}]")
	equal(t, "REST", get(t, s, "/dapi/v1/depth?symbol=ETHUSD_PERP").status, http.StatusBadRequest)
	if err := s.Delist("ETHUSD_PERP"); !errors.Is(err, binancetest.ErrUnknownSymbol) {
		t.Error(err)
	}
	must(t, s.List(binancetest.Symbol{Name: "ETHUSD_PERP", LastID: 7}))
	equal(t, "ids", decodeLoosely[snapshot](t, get(t, s, "/dapi/v1/depth?symbol=ETHUSD_PERP").body).ID, 7)
	for _, want := range []string{"TRADING", "CLOSE", "TRADING"} {
		equal(t, "contractInfo", decodeLoosely[map[string]any](t, all.text())["cs"].(string), want)
	}
	must(t, s.Close())
	if err := s.List(binancetest.Symbol{Name: "X"}); !errors.Is(err, binancetest.ErrClosed) {
		t.Error(err)
	}
}

// TestRestartIDs is the part of F30 and F31 about ids: they restart far below, in every market, and the true
// book continues from there.
func TestRestartIDs(t *testing.T) {
	for _, market := range []marketprism.Market{marketprism.Spot, marketprism.COINM} {
		s := newServer(t, binancetest.Config{Market: market, Tick: -1, Symbols: binancetest.Symbols("BTCUSDT", "ETHUSDT")})
		c := dial(t, s, "/ws/btcusdt@depth@100ms")
		apply(t, s, "BTCUSDT", levels(t, "1 1"), nil)
		must(t, s.RestartIDs("BTCUSDT", 500))
		id := apply(t, s, "BTCUSDT", levels(t, "2 1"), nil)
		if other := apply(t, s, "ETHUSDT", nil, nil); id < 501 || id > 1000 || other < 1_000_000 {
			t.Errorf("%s: ids %d, of another symbol %d", market, id, other)
		}
		s.Tick()
		e := decodeLoosely[event](t, c.text())
		equal(t, "event", fmt.Sprint(e.First, e.Last, len(e.Bids)), fmt.Sprint(id, id, 1))
		_, err := s.BookAt("BTCUSDT", 1_000_001)
		if !errors.Is(err, binancetest.ErrNoBook) {
			t.Errorf("an id of before: %v", err)
		}
		snap, err := s.BookAt("BTCUSDT", id)
		must(t, err)
		equal(t, "the book goes on", snap.Bids[len(snap.Bids)-1].Price, fixed(t, "1"))
		if err := s.RestartIDs("BTCUSDT", -1); !errors.Is(err, binancetest.ErrConfig) {
			t.Error(err)
		}
	}
}

// TestWipe is F31.
func TestWipe(t *testing.T) {
	s := newServer(t, manual(t))
	c := dial(t, s, "/ws/btcusdt@depth@100ms/btcusdt@trade")
	apply(t, s, "BTCUSDT", levels(t, "10 9"), nil)
	_, err := s.Trade("BTCUSDT", fixed(t, "10"), fixed(t, "1"), true)
	must(t, err)
	c.text()
	must(t, s.Wipe())
	equal(t, "trades", get(t, s, "/api/v3/trades?symbol=BTCUSDT").body, "[]")
	id, err := s.Trade("BTCUSDT", fixed(t, "10"), fixed(t, "1"), true)
	must(t, err)
	equal(t, "trade id", id, 1)
	c.text()
	interval(t, s)
	equal(t, "update id", c.next().First, 1)
	equal(t, "book", getSnapshot(t, s, "/api/v3/depth?symbol=BTCUSDT").Bids[0][1], "1.00000000")
	must(t, s.Close())
	if err := s.Wipe(); !errors.Is(err, binancetest.ErrClosed) {
		t.Error(err)
	}
}

func fingerprint(t *testing.T, s *binancetest.Server, symbol string) string {
	t.Helper()
	snap, err := s.Book(symbol)
	if err != nil {
		t.Fatal(err)
	}
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, snap.LastID, snap.Bids, snap.Asks)
	return fmt.Sprintf("%x", h.Sum64())
}

// TestWalkIsDeterministic: equal seeds make equal exchanges, a symbol's walk does not depend on the
// others, and another seed makes a different exchange.
func TestWalkIsDeterministic(t *testing.T) {
	walk := func(seed uint64, symbols ...string) string {
		s := newServer(t, binancetest.Config{Tick: -1, Seed: seed, Symbols: binancetest.Symbols(symbols...)})
		for range 100 {
			must(t, s.Walk())
			s.Tick()
		}
		return fingerprint(t, s, "BTCUSDT")
	}
	first := walk(1, "BTCUSDT")
	equal(t, "same seed", walk(1, "BTCUSDT"), first)
	equal(t, "beside another symbol", walk(1, "ETHUSDT", "BTCUSDT"), first)
	if walk(2, "BTCUSDT") == first {
		t.Error("another seed made the same book")
	}
}

// TestWalkIsRealistic checks what matters to a book under test: the walk never crosses, keeps its depth, moves
// the price, removes levels, reaches far levels, and trades at the touch.
func TestWalkIsRealistic(t *testing.T) {
	s := newServer(t, binancetest.Config{Tick: -1, Seed: 7, History: -1, Symbols: []binancetest.Symbol{{Name: "BTCUSDT", Rate: 500, Levels: 300}}})
	c := dial(t, s, "/stream?streams=btcusdt@depth@100ms/btcusdt@trade/btcusdt@bookTicker")
	type counts struct{ events, levels, removed, trades, tickers int }
	got := make(chan counts)
	go func() {
		var n counts
		for text := c.text(); text != `{"stream":"end","data":{}}`; text = c.text() {
			f := decodeLoosely[struct {
				Stream string         `json:"stream"`
				Data   map[string]any `json:"data"`
			}](t, text)
			switch f.Stream {
			case "btcusdt@trade":
				n.trades++
			case "btcusdt@bookTicker":
				n.tickers++
			default:
				n.events++
				for _, side := range []string{"b", "a"} {
					for _, l := range f.Data[side].([]any) {
						n.levels++
						if l.([]any)[1] == "0.00000000" {
							n.removed++
						}
					}
				}
			}
		}
		got <- n
	}()
	prices := map[orderbook.Fixed]bool{}
	for range 1000 {
		must(t, s.Walk())
		s.Tick()
		snap, err := s.Book("BTCUSDT")
		must(t, err)
		if len(snap.Bids) < 50 || len(snap.Asks) < 50 || len(snap.Bids) > 1500 || len(snap.Asks) > 1500 {
			t.Fatalf("%d bids and %d asks at %d", len(snap.Bids), len(snap.Asks), snap.LastID)
		}
		if snap.Bids[0].Price >= snap.Asks[0].Price {
			t.Fatalf("crossed at %d: %v %v", snap.LastID, snap.Bids[0], snap.Asks[0])
		}
		prices[snap.Bids[0].Price] = true
	}
	s.SendRaw(`{"stream":"end","data":{}}`)
	n := <-got
	t.Logf("%+v, %d best bids", n, len(prices))
	if n.events < 990 || n.levels < 20*n.events || n.levels > 60*n.events {
		t.Errorf("%d events of %d levels", n.events, n.levels)
	}
	if n.removed < n.levels/5 || n.removed > n.levels/2 {
		t.Errorf("%d of %d levels are removals", n.removed, n.levels)
	}
	if n.trades < 1000 || n.tickers < 1000 || len(prices) < 20 {
		t.Errorf("%d trades, %d tickers, %d best bids", n.trades, n.tickers, len(prices))
	}
}

// TestRun: the walk follows the clock and its events are sent at the borders.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := inMemory("BTCUSDT", "QUIETUSDT")
		cfg.Symbols[1].Rate = -1
		s := newServer(t, cfg)
		c := dial(t, s, "/ws/btcusdt@depth@100ms/quietusdt@depth@100ms")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		start, last := time.Now(), int64(1_000_000)
		for time.Since(start) < 10*time.Second {
			e := c.next()
			equal(t, "symbol", e.Symbol, "BTCUSDT")
			equal(t, "U", e.First, last+1)
			equal(t, "on the grid", time.Now().UnixNano()%int64(tick), 0)
			last = e.Last
		}
		if changes := last - 1_000_000; changes < 400 || changes > 600 {
			t.Errorf("%d changes in 10 s at 50 a second", changes)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestRunNeedsAClock(t *testing.T) {
	s := newServer(t, manual(t))
	if err := s.Run(t.Context()); !errors.Is(err, binancetest.ErrConfig) {
		t.Error(err)
	}
}

// TestWalkFillsAnEmptyBook: a book without levels gets some.
func TestWalkFillsAnEmptyBook(t *testing.T) {
	s := newServer(t, binancetest.Config{Tick: -1, Symbols: []binancetest.Symbol{{Name: "NEWUSDT", Levels: -1, Rate: 1000}}})
	for range 50 {
		must(t, s.Walk())
		s.Tick()
	}
	snap, err := s.Book("NEWUSDT")
	must(t, err)
	if len(snap.Bids) < 5 || len(snap.Asks) < 5 || snap.Bids[0].Price >= snap.Asks[0].Price {
		t.Errorf("%v %v", snap.Bids, snap.Asks)
	}
}

// Ids of trades and of aggregates begin where the symbol says: a server that is started again repeats none.
func TestFirstTradeID(t *testing.T) {
	cfg := manual(t)
	cfg.Symbols[0].TradeID = 500
	s := newServer(t, cfg)
	c := dial(t, s, "/ws/btcusdt@aggTrade")
	id, err := s.Trade("BTCUSDT", fixed(t, "10"), fixed(t, "1"), true)
	must(t, err)
	equal(t, "trade id", id, 500)
	if got := c.text(); !strings.Contains(got, `"a":500,`) || !strings.Contains(got, `"f":500,"l":500`) {
		t.Error(got)
	}
	cfg.Symbols[0].TradeID = -1
	if _, err := binancetest.New(cfg); !errors.Is(err, binancetest.ErrConfig) {
		t.Error(err)
	}
}
