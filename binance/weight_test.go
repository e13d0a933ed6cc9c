package binance_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

// An outage cuts every connection to the exchange, and refuses new ones while it lasts.
type outage struct {
	dial func(ctx context.Context, network, addr string) (net.Conn, error)

	mu    sync.Mutex
	down  bool
	conns []net.Conn
}

var errDown = errors.New("the network is down")

func (o *outage) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down {
		return nil, errDown
	}
	conn, err := o.dial(ctx, network, addr)
	if err == nil {
		o.conns = append(o.conns, conn)
	}
	return conn, err
}

// last makes the network fail for a time.
func (o *outage) last(d time.Duration) {
	o.mu.Lock()
	o.down = true
	for _, conn := range o.conns {
		conn.Close()
	}
	o.conns = nil
	o.mu.Unlock()
	time.Sleep(d)
	o.mu.Lock()
	o.down = false
	o.mu.Unlock()
}

// After an outage every book is live again within the least time that the request weight allows: the trades
// that were missed, and deeper snapshots of books that are live, do not use the weight before it.
func TestBooksAreLiveFirstAfterAnOutage(t *testing.T) {
	short.SkipWhole(t)
	const (
		books      = 300
		latency    = 100 * time.Millisecond // of REST
		concurrent = 8                      // requests
	)
	for name, c := range map[string]struct {
		limit int // weight a minute
		deep  int // RefreshDepth; -1 means that no deeper snapshots are fetched
	}{
		"all weight is free":                       {4000, -1},
		"deeper snapshots are fetched":             {4000, 0},
		"the weight of a minute is not enough":     {1000, -1},
		"that, while deeper snapshots are fetched": {1000, 0},
	} {
		t.Run(name, func(t *testing.T) {
			symbols := binancetest.Symbols(names(books)...)
			for i := range symbols {
				symbols[i].Levels, symbols[i].Rate = 110, 3
			}
			var net outage
			s := setup{
				server: binancetest.Config{Symbols: symbols, WeightLimit: c.limit, Tick: time.Second},
				client: binance.Config{DialContext: net.DialContext, Budget: newBudget(t, binance.BudgetConfig{Limit: c.limit})},
				depth:  binance.DepthConfig{Trades: true, AggTrades: true, Tickers: true, RefreshDepth: c.deep, ReconnectMax: 2 * time.Second},
				before: func(h *harness) { net.dial = h.srv.DialContext },
			}
			bubble(t, s, func(t *testing.T, h *harness) {
				h.srv.HangREST(1_000_000, latency)
				h.ready()
				time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(61 * time.Second)))
				net.last(45 * time.Second)
				back := time.Now()
				left := c.limit - h.client.Usage().Used
				h.ready()
				live := time.Now()
				synctest.Wait()

				requests := books
				least := lastOf[binance.SubscribeInfo](h).Sub(back)
				if need := books*5 - left; need > 0 {
					minutes := (need + c.limit - 1) / c.limit
					requests = (need - (minutes-1)*c.limit) / 5
					least = max(least, back.Truncate(time.Minute).Add(time.Duration(minutes)*time.Minute).Sub(back))
				}
				least += latency * time.Duration((requests+concurrent-1)/concurrent)
				if took := live.Sub(back); took > least*11/10 {
					t.Errorf("every book is live after %v, the weight allows it after %v", took, least)
				}
				if left < min(books*5/2, c.limit/2) {
					t.Errorf("the weight that is left for %d books is %d", books, left)
				}
				if c.limit > 2*books*5 && c.deep < 0 {
					h.lostBookIsLiveAtOnce()
				}
				h.allTradesCame()
				h.wellBehaved()
			})
		})
	}
}

// lostBookIsLiveAtOnce checks that a book that is lost while missed trades wait for weight does not.
func (h *harness) lostBookIsLiveAtOnce() {
	h.t.Helper()
	time.Sleep(2 * time.Second)
	gaps := len(h.at(victim).gaps)
	if err := h.srv.DropDepth(victim, 1); err != nil {
		h.t.Fatal(err)
	}
	for len(h.at(victim).gaps) == gaps {
		time.Sleep(100 * time.Millisecond)
	}
	lost := time.Now()
	h.ready()
	if took := time.Since(lost); took > time.Second {
		h.t.Errorf("a book was lost for %v while trades waited", took)
	}
}

// allTradesCame waits until the missing trades were fetched, and checks that they were.
func (h *harness) allTradesCame() {
	h.t.Helper()
	time.Sleep(5 * time.Second)
	for _, symbol := range h.srv.Listed() {
		if err := h.srv.SetRate(symbol, 0); err != nil {
			h.t.Fatal(err)
		}
	}
	for range 60 {
		time.Sleep(time.Minute)
	}
	gaps := infos[binance.TradeGapInfo](h)
	for _, g := range gaps {
		if g.Err != nil {
			h.t.Fatalf("TradeGap hook: %+v", g)
		}
	}
	if len(gaps) == 0 {
		h.t.Error("no trade was missing")
	}
}

// lastOf returns when the last hook call of a kind was.
func lastOf[T any](h *harness) (at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if _, ok := e.info.(T); ok {
			at = e.at
		}
	}
	return at
}

// Adds use the latest listing. Symbols that it lacks cost one request for all calls that wait for it.
func TestAddsShareAListing(t *testing.T) {
	server := binancetest.Config{Symbols: binancetest.Symbols(names(120)...), Tick: time.Second}
	for i := range server.Symbols {
		server.Symbols[i].Levels, server.Symbols[i].Rate = 5, 4
	}
	depth := binance.DepthConfig{Symbols: names(1)}
	bubble(t, setup{server: server, depth: depth}, func(t *testing.T, h *harness) {
		all := names(120)
		h.prepare(append(all[1:], "NEWUSDT")...)
		h.ready()
		listings := func(want int, when string) {
			t.Helper()
			if n := requests(h.srv, "/exchangeInfo"); n > want {
				t.Errorf("%d listings %s, want at most %d", n, when, want)
			}
		}
		for _, symbol := range all[:100] {
			if err := h.syncer.Add(t.Context(), symbol); err != nil {
				t.Fatal(err)
			}
		}
		listings(1, "after Adds of listed symbols")
		h.ready()
		if s, _ := h.syncer.Status(all[50]); s.Listing != "TRADING" {
			t.Errorf("status: %+v", s)
		}

		add := func(n int, ctx context.Context, symbol func(i int) string) (errs []error) {
			errs = make([]error, n)
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() { errs[i] = h.syncer.Add(ctx, symbol(i)) })
			}
			wg.Wait()
			return errs
		}
		h.srv.HangREST(1, time.Second)
		if err := h.srv.List(binancetest.Symbol{Name: "NEWUSDT", Levels: 5}); err != nil {
			t.Fatal(err)
		}
		for i, err := range add(200, t.Context(), func(i int) string { return []string{"NEWUSDT", "NOPE"}[i%2] }) {
			if known := err == nil; known != (i%2 == 0) || !known && !errors.As(err, new(*binance.UnknownSymbolsError)) {
				t.Errorf("Add %d = %v", i, err)
			}
		}
		listings(3, "after 200 calls for symbols that were not listed") // one may have begun before some calls

		// The call that asks gives up: one of the others asks.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		h.srv.HangREST(1, time.Minute)
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := h.syncer.Add(ctx, "NOPE1"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Add = %v", err)
			}
		})
		synctest.Wait()
		h.srv.HangREST(1, time.Second)
		for _, err := range add(100, t.Context(), func(int) string { return "NOPE2" }) {
			if !errors.As(err, new(*binance.UnknownSymbolsError)) {
				t.Errorf("Add = %v", err)
			}
		}
		wg.Wait()
		listings(6, "after a call has given up")

		h.ready()
		h.live(append(all[:100], "NEWUSDT")...)
		time.Sleep(4 * time.Minute) // a poll
		listings(7, "after a poll")
		for _, symbol := range all[100:] {
			if err := h.syncer.Add(t.Context(), symbol); err != nil {
				t.Fatal(err)
			}
		}
		listings(7, "after more Adds")
		h.wellBehaved()
	})
}

// A call of the program does not go before a lost book, unless it says so.
func TestCallsGoAfterLostBooks(t *testing.T) {
	s := setup{server: exchange(2), client: binance.Config{Budget: newBudget(t, binance.BudgetConfig{Limit: 380, Concurrent: 1, BookReserve: -1})}}
	bubble(t, s, func(t *testing.T, h *harness) {
		h.ready()
		if _, err := h.client.Depth(t.Context(), victim, 5000); err != nil { // uses up the minute
			t.Fatal(err)
		}
		h.srv.HangREST(100, time.Second)
		var mu sync.Mutex
		var order []string
		note := func(what string) {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, what)
		}
		var wg sync.WaitGroup
		call := func(ctx context.Context, what string) {
			wg.Go(func() {
				if _, err := h.client.Depth(ctx, "T0001USDT", 5000); err != nil {
					t.Error(err)
				}
				note(what)
			})
			synctest.Wait()
		}
		call(t.Context(), "call")
		h.srv.DropDepth(victim, 1)
		time.Sleep(time.Second)
		if err := h.syncer.Refresh("T0001USDT"); err != nil {
			t.Error(err)
		}
		wg.Go(func() {
			if err := h.syncer.Add(t.Context(), "NOPE"); !errors.As(err, new(*binance.UnknownSymbolsError)) {
				t.Errorf("Add = %v", err)
			}
			note("add")
		})
		call(binance.Urgent(t.Context()), "urgent")
		if q := h.client.Usage().Queued; q[binance.PriorityGap] != 2 || q[binance.PriorityCall] != 2 || q[binance.PriorityRefresh] != 1 {
			t.Errorf("queue: %v", q)
		}
		h.ready()
		note("book")
		wg.Wait()
		if want := []string{"urgent", "book", "add", "call"}; !slices.Equal(order, want) {
			t.Errorf("order: %v, want %v", order, want)
		}
		h.wellBehaved()
	})
}

// After an outage of a whole exchange half of the books are back within 15 seconds, and those that the program
// reads before the others.
func TestHalfOfTheBooksAreBackSoon(t *testing.T) {
	short.SkipWhole(t)
	for market, books := range map[marketprism.Market]int{marketprism.Spot: 1300, marketprism.USDM: 790} {
		t.Run(string(market), func(t *testing.T) {
			symbols := binancetest.Symbols(names(books)...)
			for i := range symbols {
				symbols[i].Levels, symbols[i].Rate = 120, 0.1
			}
			var net outage
			s := setup{
				server: binancetest.Config{Market: market, Symbols: symbols, Tick: time.Second},
				client: binance.Config{DialContext: net.DialContext},
				depth:  binance.DepthConfig{TopLevels: 1, ReconnectMax: 2 * time.Second},
				before: func(h *harness) { net.dial = h.srv.DialContext },
			}
			bubble(t, s, func(t *testing.T, h *harness) {
				h.ready()
				h.srv.HangREST(1_000_000, 100*time.Millisecond)
				time.Sleep(90 * time.Second)
				wanted := names(books)[books-30:]
				for i, symbol := range wanted {
					var err error
					switch i % 3 {
					case 0:
						err = h.syncer.View(symbol, func(*orderbook.Book, binance.Status) {})
					case 1:
						_, err = h.syncer.Top(symbol)
					case 2:
						_, err = h.syncer.Watch(t.Context(), symbol)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				net.last(70 * time.Second)
				back := time.Now()
				time.Sleep(15 * time.Second)
				synctest.Wait()
				h.mu.Lock()
				defer h.mu.Unlock()
				var order []string
				for _, e := range h.events {
					if i, ok := e.info.(binance.SyncInfo); ok && !e.at.Before(back) {
						order = append(order, i.Instrument.Symbol)
					}
				}
				if len(order) < books/2 {
					t.Errorf("%d of %d books are back after 15 s", len(order), books)
				}
				last := 0
				for _, symbol := range wanted {
					last = max(last, slices.Index(order, symbol))
				}
				if last > books/4 || !slices.Contains(order, wanted[0]) {
					t.Errorf("the last book that the program reads was the %dth", last+1)
				}
			})
		})
	}
}
