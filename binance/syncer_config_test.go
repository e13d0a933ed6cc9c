package binance_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
)

func ExampleRouteSymbols() {
	say := func(name string) binance.Handler {
		return func(_ context.Context, rec *marketprism.Record) error {
			fmt.Println(name, rec.Instrument.Symbol)
			return nil
		}
	}
	handler := binance.RouteSymbols(map[string]binance.Handler{"BTCUSDT": say("bitcoin:")}, say("other:"))

	for _, symbol := range []string{"BTCUSDT", "ETHUSDT"} {
		rec := marketprism.Record{Instrument: marketprism.Instrument{Symbol: symbol}}
		if err := handler(context.Background(), &rec); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// bitcoin: BTCUSDT
	// other: ETHUSDT
}

func TestRouteSymbols(t *testing.T) {
	failed := errors.New("failed")
	calls := 0
	routes := map[string]binance.Handler{
		"A": func(context.Context, *marketprism.Record) error { calls++; return failed },
		"B": nil,
	}
	rest := func(context.Context, *marketprism.Record) error { calls += 100; return nil }
	h := binance.RouteSymbols(routes, rest)
	delete(routes, "A")
	for _, c := range []struct {
		symbol string
		calls  int
		err    error
	}{{"A", 1, failed}, {"B", 0, nil}, {"C", 100, nil}} {
		rec := marketprism.Record{Instrument: marketprism.Instrument{Symbol: c.symbol}}
		calls = 0
		if err := h(t.Context(), &rec); err != c.err || calls != c.calls {
			t.Errorf("%s: %d calls, %v", c.symbol, calls, err)
		}
		if n := testing.AllocsPerRun(100, func() { h(t.Context(), &rec) }); n != 0 {
			t.Errorf("%s: %v allocations", c.symbol, n)
		}
	}
	rec := marketprism.Record{Instrument: marketprism.Instrument{Symbol: "A"}}
	if err := binance.RouteSymbols(nil, nil)(t.Context(), &rec); err != nil {
		t.Error(err)
	}
}

// A book that is pruned to fewer levels than RefreshDepth would be refreshed after each pruning.
func TestMaxDepthIsMoreThanRefreshDepth(t *testing.T) {
	client, err := binance.NewClient(binance.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for want, cfgs := range map[bool][]binance.DepthConfig{
		true:  {{MaxDepth: 50}, {MaxDepth: 1}, {MaxDepth: 51, RefreshDepth: 50}, {MaxDepth: -1, RefreshDepth: 1000}, {MaxDepth: 50, RefreshDepth: -1}},
		false: {{MaxDepth: 50, RefreshDepth: 50}, {MaxDepth: 50, RefreshDepth: 1000}},
	} {
		for _, cfg := range cfgs {
			cfg.Symbols = []string{"A"}
			if _, err := binance.NewDepthSyncer(client, cfg); (err == nil) != want {
				t.Errorf("MaxDepth %d, RefreshDepth %d: %v", cfg.MaxDepth, cfg.RefreshDepth, err)
			}
		}
	}
}
