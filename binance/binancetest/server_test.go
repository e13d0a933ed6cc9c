package binancetest_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance/binancetest"
)

// TestBothNetworks runs the same on loopback and, in a bubble, in memory.
func TestBothNetworks(t *testing.T) {
	exchange := func(t *testing.T, n binancetest.Network) {
		cfg := manual(t)
		cfg.Network = n
		s := newServer(t, cfg)
		c := dial(t, s, "/ws/btcusdt@depth@100ms")
		if err := s.Subscribed(t.Context(), "btcusdt@depth@100ms"); err != nil {
			t.Fatal(err)
		}
		apply(t, s, "BTCUSDT", levels(t, "10 7"), nil)
		s.Tick()
		e := c.next()
		equal(t, "U", e.First, 101)
		equal(t, "snapshot id", getSnapshot(t, s, "/api/v3/depth?symbol=BTCUSDT").ID, 101)
	}
	t.Run("loopback", func(t *testing.T) { exchange(t, binancetest.Loopback()) })
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { exchange(t, binancetest.InMemory()) })
	})
}

// TestCloseLeavesNothing relies on synctest: a remaining goroutine fails the test.
func TestCloseLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := binancetest.New(inMemory("BTCUSDT"))
		if err != nil {
			t.Fatal(err)
		}
		ws, _, err := tryDial(s, "/ws/btcusdt@depth@100ms")
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 2)
		go func() { ended <- s.Run(t.Context()) }()
		s.DelaySnapshots(1, time.Hour)
		go func() {
			_, err := s.HTTPClient().Get(s.RESTURL() + "/api/v3/depth?symbol=BTCUSDT")
			ended <- err
		}()
		for range 20 {
			if _, _, err := ws.ReadMessage(); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := <-ended; err == nil {
				t.Error("Run or a delayed request ended without an error")
			}
		}
		if _, _, err := ws.ReadMessage(); err == nil {
			for err == nil { // buffered messages
				_, _, err = ws.ReadMessage()
			}
		}
		if err := s.Close(); err != nil {
			t.Error("second Close:", err)
		}
		if _, err := s.Apply("BTCUSDT", nil, nil); !errors.Is(err, binancetest.ErrClosed) {
			t.Error("Apply on a closed server:", err)
		}
		if _, _, err := tryDial(s, "/ws"); !errors.Is(err, binancetest.ErrClosed) {
			t.Error("dial of a closed server:", err)
		}
		if err := s.Subscribed(t.Context(), "x@trade"); !errors.Is(err, binancetest.ErrClosed) {
			t.Error("Subscribed on a closed server:", err)
		}
	})
}

func TestConfigErrors(t *testing.T) {
	for name, cfg := range map[string]binancetest.Config{
		"no symbols":       {},
		"unknown market":   {Market: "options", Symbols: binancetest.Symbols("A")},
		"twice":            {Symbols: binancetest.Symbols("A", "A")},
		"lower case":       {Symbols: binancetest.Symbols("btcusdt")},
		"empty name":       {Symbols: binancetest.Symbols("")},
		"stream separator": {Symbols: binancetest.Symbols("A/B")},
		"negative price":   {Symbols: []binancetest.Symbol{{Name: "A", Price: -1}}},
		"price off tick":   {Symbols: []binancetest.Symbol{{Name: "A", Price: 3, TickSize: 2}}},
		"zero quantity":    {Symbols: []binancetest.Symbol{{Name: "A", Bids: levels(t, "1 0")}}},
		"backwards":        {Playback: &binancetest.Playback{Speed: -1}},
		"no queue":         {Symbols: binancetest.Symbols("A"), SendBuffer: -1},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := binancetest.New(cfg)
			if !errors.Is(err, binancetest.ErrConfig) {
				t.Errorf("got %v, want ErrConfig", err)
			}
			if s != nil {
				t.Error("a server beside an error")
			}
		})
	}
}

func TestUnknownSymbolIsAnError(t *testing.T) {
	s := newServer(t, manual(t))
	_, apply := s.Apply("NONE", nil, nil)
	_, trade := s.Trade("NONE", 1, 1, true)
	_, book := s.Book("NONE")
	_, bookAt := s.BookAt("NONE", 1)
	for name, err := range map[string]error{
		"Apply": apply, "Trade": trade, "Book": book, "BookAt": bookAt,
		"DropDepth": s.DropDepth("NONE", 1), "DuplicateDepth": s.DuplicateDepth("NONE", 1), "StaleSnapshots": s.StaleSnapshots("NONE", 1, 1),
	} {
		if !errors.Is(err, binancetest.ErrUnknownSymbol) || !strings.Contains(err.Error(), "NONE") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSubscribedEndsWithItsContext(t *testing.T) {
	s := newServer(t, manual(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Subscribed(ctx, "btcusdt@trade"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestBookAt(t *testing.T) {
	cfg := manual(t)
	cfg.History = 2
	s := newServer(t, cfg)
	want := map[int64]string{}
	for i, qty := range []string{"5", "6", "0", "8"} {
		apply(t, s, "BTCUSDT", levels(t, "10 "+qty), nil)
		id := apply(t, s, "BTCUSDT", nil, levels(t, "11."+string(rune('1'+i))+" 1"))
		want[id] = qty
		s.Tick()
	}
	for id, qty := range want {
		snap, err := s.BookAt("BTCUSDT", id)
		if id < 104 { // two intervals back from 108
			if !errors.Is(err, binancetest.ErrNoBook) {
				t.Errorf("at %d, beyond the history: %v", id, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "id", snap.LastID, id)
		equal(t, "asks", len(snap.Asks), 2+int(id-100)/2)
		best := snap.Bids[0]
		if qty == "0" {
			equal(t, "best bid after removal", best.Price, fixed(t, "9.5"))
		} else {
			equal(t, "best bid quantity", best.Quantity, fixed(t, qty))
		}
	}
	if _, err := s.BookAt("BTCUSDT", 107); !errors.Is(err, binancetest.ErrNoBook) {
		t.Error("an id inside an interval:", err)
	}
	id := apply(t, s, "BTCUSDT", nil, nil)
	if _, err := s.BookAt("BTCUSDT", id); err != nil {
		t.Error("the current id:", err)
	}
}

func TestMarketsHaveTheirPaths(t *testing.T) {
	for market, prefix := range map[marketprism.Market]string{marketprism.Spot: "/api/v3", marketprism.USDM: "/fapi/v1", marketprism.COINM: "/dapi/v1"} {
		s := newServer(t, binancetest.Config{Market: market, Symbols: binancetest.Symbols("BTCUSDT")})
		equal(t, "ping", get(t, s, prefix+"/ping").body, "{}")
		equal(t, "other path", get(t, s, "/api/v9/ping").status, http.StatusNotFound)
		type clock struct {
			ServerTime int64 `json:"serverTime"`
		}
		server := decode[clock](t, get(t, s, prefix+"/time").body)
		if server.ServerTime == 0 {
			t.Error("no server time")
		}
	}
}
