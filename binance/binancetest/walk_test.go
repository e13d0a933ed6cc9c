package binancetest_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/orderbook"
)

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
// others, and another seed makes another exchange.
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

// TestWalkIsRealistic holds the walk to what matters for a book under test: it never crosses, keeps its
// depth, moves its price, removes levels, reaches far levels, and trades at the touch.
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

// TestRun: the walk goes on by the clock and its events come at the borders.
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
