package binancetest_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/orderbook"
)

// After a fault a test waits for the gap and for the next sync with one call each. The addresses of the fake are one value.
func TestObserver(t *testing.T) {
	srv := newServer(t, binancetest.Config{Symbols: binancetest.Symbols("BTCUSDT", "ETHUSDT"), Tick: 5 * time.Millisecond})
	client, err := binance.NewClient(binance.Config{Endpoints: srv.Endpoints()})
	must(t, err)
	var seen binancetest.Observer
	var mu sync.Mutex
	var quoting bool // of the bot
	bot := marketprism.On{
		Synced: func(context.Context, *marketprism.Record) error { mu.Lock(); quoting = true; mu.Unlock(); return nil },
		Gap:    func(context.Context, *marketprism.Record) error { mu.Lock(); quoting = false; mu.Unlock(); return nil },
	}
	books, err := binance.NewDepthSyncer(client, binance.DepthConfig{
		Symbols: []string{"BTCUSDT"}, Handler: seen.Handler(bot.Handler()), ReconnectMin: time.Millisecond, ReconnectMax: time.Millisecond,
	})
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- books.Run(ctx) }()
	check := func(want bool, err error) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if err != nil || quoting != want {
			t.Fatalf("the bot quotes: %t, want %t; err %v", quoting, want, err)
		}
	}
	_, err = seen.Synced(t.Context(), "BTCUSDT")
	check(true, err)
	for range 3 {
		srv.RejectStreams(1, 0) // so that the sync is not there before the test looks at the gap
		srv.Disconnect(binancetest.CloseGoingAway, "")
		gap, err := seen.Gap(t.Context(), "BTCUSDT")
		if err != nil || gap.Reason != orderbook.GapDisconnect {
			t.Fatalf("gap %+v, %v", gap, err)
		}
		id, err := seen.Synced(t.Context(), "BTCUSDT")
		check(true, err)
		if id < gap.After {
			t.Errorf("synced at %d after a gap at %d", id, gap.After)
		}
	}

	none, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if _, err := seen.Gap(none, "BTCUSDT"); err == nil || err.Error() != "binancetest: no gap of BTCUSDT: enough" {
		t.Errorf("a gap is found twice: %v", err)
	}
	if _, err := seen.Synced(none, "ETHUSDT"); err == nil {
		t.Error("a symbol that is not there is synced")
	}
	must(t, books.Refresh("BTCUSDT"))
	stop()
	must(t, <-ended)
	if _, err := seen.Gap(t.Context(), "BTCUSDT"); err != nil {
		t.Error(err)
	}
	check(false, nil)
}

// The error of the bot's Handler ends Run, as without an Observer.
func TestObserverPassesErrorsOn(t *testing.T) {
	broken := errors.New("broken")
	var seen binancetest.Observer
	handler := seen.Handler(func(context.Context, *marketprism.Record) error { return broken })
	if err := handler(t.Context(), &marketprism.Record{Gap: &orderbook.Gap{}}); !errors.Is(err, broken) {
		t.Errorf("err = %v", err)
	}
	handler = seen.Handler(func(_ context.Context, rec *marketprism.Record) error {
		if rec.Gap != nil {
			return broken
		}
		return nil
	})
	snapshot := &marketprism.Record{Instrument: marketprism.Instrument{Symbol: "A"}, Snapshot: &orderbook.Snapshot{LastID: 1}}
	for range 2 { // Runs, of which each ends with an error in place of its Gaps
		must(t, handler(t.Context(), snapshot))
		if id, err := seen.Synced(t.Context(), "A"); err != nil || id != 1 {
			t.Errorf("synced at %d: %v", id, err)
		}
		_ = handler(t.Context(), &marketprism.Record{Gap: &orderbook.Gap{}})
	}
	if err := seen.Handler(nil)(t.Context(), &marketprism.Record{}); err != nil {
		t.Errorf("without a Handler: %v", err)
	}
}

// A test breaks the connection of a bot, and waits for what that does to its book.
func ExampleObserver() {
	srv, err := binancetest.New(binancetest.Config{Symbols: binancetest.Symbols("BTCUSDT"), Tick: -1})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = srv.Close() }()
	client, err := binance.NewClient(binance.Config{Endpoints: srv.Endpoints()})
	if err != nil {
		log.Fatal(err)
	}
	var seen binancetest.Observer
	books, err := binance.NewDepthSyncer(client, binance.DepthConfig{
		Symbols: []string{"BTCUSDT"},
		Handler: seen.Handler(nil), // or the bot's Handler
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- books.Run(ctx) }()
	id, err := seen.Synced(ctx, "BTCUSDT")
	fmt.Println("synced at", id, err)

	srv.Disconnect(binancetest.CloseGoingAway, "")
	gap, err := seen.Gap(ctx, "BTCUSDT")
	fmt.Println("lost after", gap.After, gap.Reason, err)
	id, err = seen.Synced(ctx, "BTCUSDT")
	fmt.Println("synced at", id, err)
	stop()
	fmt.Println("stopped", <-ended)
	// Output:
	// synced at 1000000 <nil>
	// lost after 1000000 disconnect <nil>
	// synced at 1000000 <nil>
	// stopped <nil>
}
