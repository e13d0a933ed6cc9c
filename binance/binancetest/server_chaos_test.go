package binancetest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance/binancetest"
)

// chaos runs faults for a minute of virtual time, with clients that read, and returns the log.
func chaos(t *testing.T, market marketprism.Market, cfg binancetest.ChaosConfig) (log []binancetest.ChaosEvent) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := inMemory("BTCUSDT", "ETHUSDT")
		c.Market = market
		s := newServer(t, c)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go func() { _ = s.Run(ctx) }()
		for range 3 {
			go keepReading(ctx, s)
		}
		cfg.Log = func(e binancetest.ChaosEvent) { log = append(log, e) }
		must(t, s.RunChaos(ctx, cfg))
		synctest.Wait()
		calm(t, s)
	})
	return log
}

// keepReading reads a stream and reopens it whenever it ends.
func keepReading(ctx context.Context, s *binancetest.Server) {
	for ctx.Err() == nil {
		if ws, _, err := tryDial(s, "/ws/btcusdt@depth@100ms"); err == nil {
			stop := context.AfterFunc(ctx, func() { _ = ws.Close() })
			for err == nil {
				_, _, err = ws.ReadMessage()
			}
			stop()
			_ = ws.Close()
		}
	}
}

// calm fails the test if a fault is still on.
func calm(t *testing.T, s *binancetest.Server) {
	t.Helper()
	path := "/api/v3"
	if get(t, s, path+"/ping").status != 200 {
		path = "/fapi/v1"
	}
	info := statuses(t, s, path+"/exchangeInfo")
	if strings.Count(info, "TRADING") != 2 {
		t.Error(info)
	}
	c := dial(t, s, "/ws/btcusdt@depth@100ms")
	for range 3 {
		id := apply(t, s, "BTCUSDT", levels(t, "1 1"), nil)
		e := decode[event](t, c.text())
		equal(t, "last id", e.Last, id)
		equal(t, "E", e.Time, time.Now().UnixMilli())
	}
	equal(t, "answer", c.ask(list), `{"result":["btcusdt@depth@100ms"],"id":1}`)
	snap, err := s.Book("ETHUSDT")
	must(t, err)
	for range 10 { // one interval may bring no change
		must(t, s.Walk())
	}
	if after, err := s.Book("ETHUSDT"); err != nil || after.LastID == snap.LastID {
		t.Error("the symbol is still quiet")
	}
}

// TestChaosRepeats: equal seeds choose equal faults at equal times, another seed others.
func TestChaosRepeats(t *testing.T) {
	for _, market := range []marketprism.Market{marketprism.Spot, marketprism.USDM} {
		run := func(seed uint64) string {
			log := chaos(t, market, binancetest.ChaosConfig{Seed: seed, Every: 100 * time.Millisecond})
			if n := len(log); n < 400 || n > 800 {
				t.Errorf("%d faults in a minute", n)
			}
			var lines strings.Builder
			for _, e := range log {
				action, _, _ := strings.Cut(e.Action, " on connection") // the connection depends on the clients
				action, _, _ = strings.Cut(action, ": ")                // the id on the walk
				if e.Fault == "F13" {
					action = "MovePrice"
				}
				fmt.Fprintln(&lines, e.After, e.Fault, action)
			}
			return lines.String()
		}
		first := run(1)
		equal(t, "same seed", run(1), first)
		if run(2) == first {
			t.Error("another seed made the same faults")
		}
	}
}

// TestChaosThrowsEverything: RunChaos switches on every fault, or only the named ones.
func TestChaosThrowsEverything(t *testing.T) {
	seen := make(map[string]bool)
	for _, e := range chaos(t, marketprism.Spot, binancetest.ChaosConfig{Faults: binancetest.ChaosFaults(), Every: 50 * time.Millisecond}) {
		seen[e.Fault] = true
		if !strings.HasPrefix(e.String(), e.After.String()+" "+e.Fault+" ") {
			t.Error(e)
		}
	}
	for _, name := range binancetest.ChaosFaults() {
		if !seen[name] {
			t.Errorf("%s did not come", name)
		}
	}
	log := chaos(t, marketprism.Spot, binancetest.ChaosConfig{Faults: []string{"F30", "F9"}, Longest: 20 * time.Second})
	if len(log) == 0 || slices.ContainsFunc(log, func(e binancetest.ChaosEvent) bool { return e.Fault != "F30" && e.Fault != "F9" }) {
		t.Error(log)
	}
}

// TestCalmEndsChaos: RunChaos returns, whoever calls Calm.
func TestCalmEndsChaos(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, inMemory("BTCUSDT", "ETHUSDT"))
		done := make(chan error)
		go func() { done <- s.RunChaos(t.Context(), binancetest.ChaosConfig{Every: time.Millisecond}) }()
		time.Sleep(10 * time.Second)
		s.Calm()
		must(t, <-done)
		calm(t, s)

		go func() { done <- s.RunChaos(t.Context(), binancetest.ChaosConfig{}) }()
		synctest.Wait()
		must(t, s.Close())
		if err := <-done; !errors.Is(err, binancetest.ErrClosed) {
			t.Error(err)
		}
	})
	s := newServer(t, manual(t))
	for _, cfg := range []binancetest.ChaosConfig{{Every: -1}, {Longest: -1}, {Faults: []string{}}, {Faults: []string{"F99"}}} {
		if err := s.RunChaos(t.Context(), cfg); !errors.Is(err, binancetest.ErrConfig) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}
