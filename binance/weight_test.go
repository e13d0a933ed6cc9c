package binance_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/internal/short"
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
	short.Skip(t)
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
