package binance_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

func TestRunNamesSymbolsThatAreNotListed(t *testing.T) {
	s := setup{server: exchange(2), depth: binance.DepthConfig{Symbols: []string{"T0000USDT", "NOPE", "t0001usdt"}}}
	bubble(t, s, func(t *testing.T, h *harness) {
		err := h.end()
		var unknown *binance.UnknownSymbolsError
		if !errors.As(err, &unknown) || !slices.Equal(unknown.Symbols, []string{"NOPE", "t0001usdt"}) {
			t.Errorf("Run: %v", err)
		}
		if err := h.syncer.Ready(t.Context()); !errors.Is(err, binance.ErrStopped) || !errors.As(err, &unknown) {
			t.Errorf("Ready: %v", err)
		}
	})
}

func TestRunWaitsForAnExchangeThatIsBusy(t *testing.T) {
	s := setup{server: exchange(1), before: func(h *harness) { h.srv.RejectREST(3, http.StatusServiceUnavailable, 0) }}
	bubble(t, s, func(t *testing.T, h *harness) {
		h.ready()
		listings := infos[binance.ListingInfo](h)
		if n := requests(h.srv, "/exchangeInfo"); n != 4 || len(listings) != 4 || listings[2].Err == nil || listings[3].Symbols != 1 {
			t.Errorf("%d requests for exchangeInfo, hook: %+v", n, listings)
		}
	})
}

func TestRunFailsWhereTheExchangeRefuses(t *testing.T) {
	s := setup{server: exchange(1), before: func(h *harness) { h.srv.RejectREST(1, http.StatusForbidden, 0) }}
	bubble(t, s, func(t *testing.T, h *harness) {
		var refused *binance.APIError
		if err := h.end(); !errors.As(err, &refused) || refused.Status != http.StatusForbidden {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestHandlerErrorStopsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := exchange(3)
		server.Network = binancetest.InMemory()
		srv, err := binancetest.New(server)
		if err != nil {
			t.Fatal(err)
		}
		defer srv.Close()
		client := dial(t, srv, binance.Config{})
		broken := errors.New("no room")
		calls := 0
		d, err := binance.NewDepthSyncer(client, binance.DepthConfig{
			Symbols:        srv.Listed(),
			StreamsPerConn: 1,
			Handler: func(context.Context, *marketprism.Record) error {
				if calls++; calls == 2 {
					return broken
				}
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		var failed *marketprism.HandlerError
		if err := d.Run(t.Context()); !errors.As(err, &failed) || failed.Err != broken || failed.Key == "" {
			t.Errorf("Run = %v", err)
		}
		if calls != 2 {
			t.Errorf("the handler was called %d times", calls)
		}
		if err := d.Ready(t.Context()); !errors.Is(err, broken) {
			t.Errorf("Ready = %v", err)
		}
	})
}

func TestRunCanBeRepeated(t *testing.T) {
	bubble(t, setup{server: exchange(2)}, func(t *testing.T, h *harness) {
		h.ready()
		if err := h.syncer.Run(t.Context()); err != binance.ErrRunning {
			t.Errorf("a second Run = %v", err)
		}
		h.stop()
		if err := h.end(); err != nil {
			t.Errorf("Run = %v", err)
		}
		if status, _ := h.syncer.Status(victim); status.State != orderbook.Offline || status.LastGap.Reason != orderbook.GapDisconnect {
			t.Errorf("after Run: %+v", status)
		}
		h.run()
		synctest.Wait()
		h.ready()
	})
}

// The Gap of each book reaches the handler though Run's context has ended.
func TestHandlerOutlivesRunsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := exchange(2)
		server.Network = binancetest.InMemory()
		srv, err := binancetest.New(server)
		if err != nil {
			t.Fatal(err)
		}
		defer srv.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		gaps, ended := 0, 0
		d, err := binance.NewDepthSyncer(dial(t, srv, binance.Config{}), binance.DepthConfig{
			Symbols: srv.Listed(),
			Handler: func(handling context.Context, rec *marketprism.Record) error {
				if rec.Gap != nil {
					gaps++
					if gaps == 1 && handling.Err() != nil {
						t.Error("the handler's context ended with Run's")
					}
					<-handling.Done()
					ended++
				}
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- d.Run(ctx) }()
		if err := d.Ready(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
		start := time.Now()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
		if took := time.Since(start); gaps != 2 || ended != 2 || took > 10*time.Second {
			t.Errorf("%d gaps, %d seen to the end, Run took %v", gaps, ended, took)
		}
	})
}

func TestReadsOfABookThatIsNotSynced(t *testing.T) {
	s := setup{server: exchange(1), before: func(h *harness) { h.srv.DelaySnapshots(1, 10*time.Second) }}
	bubble(t, s, func(t *testing.T, h *harness) {
		time.Sleep(5 * time.Second)
		err := h.syncer.View(victim, func(*orderbook.Book, binance.Status) { t.Error("View showed a book") })
		var not *binance.NotSyncedError
		if !errors.Is(err, binance.ErrNotSynced) || !errors.As(err, &not) || not.State != orderbook.Buffering {
			t.Errorf("View = %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.syncer.Ready(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, binance.ErrNotSynced) {
			t.Errorf("Ready = %v", err)
		}
		if err := h.syncer.View("NOPE", nil); !errors.Is(err, binance.ErrUnknownSymbol) {
			t.Errorf("View of an unknown symbol = %v", err)
		}
		if err := h.syncer.Ready(ctx, victim, "NOPE"); !errors.Is(err, binance.ErrUnknownSymbol) {
			t.Errorf("Ready of an unknown symbol = %v", err)
		}
		if _, ok := h.syncer.Status("NOPE"); ok {
			t.Error("Status of an unknown symbol")
		}
		h.ready()
	})
}

// A snapshot that takes too long is requested again; its late answer is not used.
func TestSnapshotTimeout(t *testing.T) {
	s := setup{
		server: exchange(1),
		depth:  binance.DepthConfig{SnapshotTimeout: 2 * time.Second},
		before: func(h *harness) { h.srv.DelaySnapshots(1, 5*time.Second) },
	}
	bubble(t, s, func(t *testing.T, h *harness) {
		h.ready()
		done := infos[binance.SnapshotInfo](h)
		if len(done) != 2 || !errors.Is(done[0].Err, context.DeadlineExceeded) || done[0].Elapsed != 2*time.Second || done[1].Err != nil {
			t.Errorf("SnapshotDone hook: %+v", done)
		}
		h.live(victim)
	})
}

func TestSymbolsThatAreNotASCII(t *testing.T) {
	server := binancetest.Config{Symbols: binancetest.Symbols("这是测试币456", "币安人生USDT")}
	bubble(t, setup{server: server}, func(t *testing.T, h *harness) {
		h.ready()
		h.live(h.srv.Listed()...)
		h.wellBehaved()
	})
}

func TestOverRealSockets(t *testing.T) {
	short.SkipWhole(t)
	server := exchange(20)
	h := newHarness(t, setup{server: server, depth: binance.DepthConfig{Trades: true, Tickers: true}})
	defer h.close()
	h.ready()
	updated := func(at int) bool {
		for _, s := range h.srv.Listed() {
			if h.at(s).updates < at {
				return false
			}
		}
		return true
	}
	seen := make(chan struct{}, 1)
	h.mu.Lock()
	h.seen = seen
	h.mu.Unlock()
	for !updated(5) {
		<-seen
	}
	reading, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for reading.Err() == nil {
				h.syncer.View(victim, func(b *orderbook.Book, s binance.Status) { //nolint:errcheck // it is not synced all the time
					if b.LastID() != s.LastID || b.Crossed() {
						t.Error("the book changed in a View")
					}
				})
				h.syncer.Status(victim)
				h.syncer.Stats()
			}
		})
	}
	defer readers.Wait()
	defer stop()
	h.srv.DropDepth(victim, 1)
	h.srv.Disconnect(binancetest.CloseGoingAway, "")
	for h.syncer.Stats().Disconnects == 0 {
		<-seen
	}
	h.ready()
	h.wellBehaved()
}

func TestDepthConfigIsChecked(t *testing.T) {
	client, err := binance.NewClient(binance.Config{})
	if err != nil {
		t.Fatal(err)
	}
	one := []string{"BTCUSDT"}
	for want, cfg := range map[string]binance.DepthConfig{
		"Symbols is empty":    {},
		"named twice":         {Symbols: []string{"A", "B", "A"}},
		"depth interval 3s":   {Symbols: one, Interval: 3 * time.Second},
		"depth limit 5001":    {Symbols: one, SnapshotLimit: 5001},
		"QueueFrames -1":      {Symbols: one, QueueFrames: -1},
		"StreamsPerConn 1025": {Symbols: one, StreamsPerConn: 1025},
		"StreamsPerConn 1:":   {Symbols: one, StreamsPerConn: 1, Trades: true},
		"ReconnectMin 5s":     {Symbols: one, ReconnectMin: 5 * time.Second, ReconnectMax: time.Second},
		"AckTimeout -1":       {Symbols: one, AckTimeout: -1},
		"RetryMin":            {Symbols: one, RetryMin: time.Hour, RetryMax: time.Second},
	} {
		if _, err := binance.NewDepthSyncer(client, cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
	books, err := binance.NewDepthSyncer(nil, binance.DepthConfig{Symbols: one}) // on the real spot market
	if err != nil {
		t.Fatal(err)
	}
	bid, ask, err := books.Best("BTCUSDT")
	if !errors.Is(err, binance.ErrNotSynced) || bid != (orderbook.Level{}) || ask != bid {
		t.Errorf("Best before Run = %v, %v, %v", bid, ask, err)
	}
	if _, _, err := books.Best("X"); !errors.Is(err, binance.ErrUnknownSymbol) {
		t.Errorf("Best of no symbol: %v", err)
	}
}

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
						bid, _ := b.BestBid()
						ask, _ := b.BestAsk()
						if gotBid, gotAsk, err := h.syncer.Best(symbol); err != nil || gotBid != bid || gotAsk != ask {
							t.Errorf("%s: Best = %v, %v, %v; want %v, %v", symbol, gotBid, gotAsk, err, bid, ask)
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

// A Handler that fails when the books end, as one does whose destination has ended before, makes Run fail: the error counts
// what was not delivered.
func TestHandlerErrorAtTheEndIsReported(t *testing.T) {
	gone := errors.New("gone")
	var failing atomic.Bool
	s := setup{server: exchange(3), depth: binance.DepthConfig{Handler: func(context.Context, *marketprism.Record) error {
		if failing.Load() {
			return gone
		}
		return nil
	}}}
	bubble(t, s, func(t *testing.T, h *harness) {
		h.ready()
		synctest.Wait() // the Handler has had the last of the snapshots
		failing.Store(true)
		h.stop()
		err := h.end()
		var failed *marketprism.HandlerError
		if !errors.As(err, &failed) || failed.Err != gone || failed.Undelivered != 2 {
			t.Fatalf("Run = %v", err)
		}
		for _, b := range h.books {
			b.synced = false // the Gap never came
		}
	})
}
