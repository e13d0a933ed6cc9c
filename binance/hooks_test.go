package binance_test

import (
	"errors"
	"net/http"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/internal/hook/hooktest"
	"github.com/marketprism/marketprism/orderbook"
)

func TestHooksAreComplete(t *testing.T) { hooktest.Complete(t, binance.TeeHooks, binance.LogHooks) }

// The goroutines that call hooks, by a function on their stack.
const (
	runGoroutine     = ".(*DepthSyncer).firstListing("
	pollGoroutine    = ".(*DepthSyncer).poll("
	connGoroutine    = ".(*shard).connect("
	shardGoroutine   = ".(*shard).run("
	requestGoroutine = ".(*snapshotFetcher).do("
)

// Each hook runs on the goroutine that its documentation names.
func TestHooksRunOnTheirGoroutines(t *testing.T) {
	want := map[string][]string{
		"ListingDone":    {runGoroutine, pollGoroutine},
		"StatusChanged":  {runGoroutine, pollGoroutine},
		"SymbolsChanged": {runGoroutine, pollGoroutine},
		"ConnectDone":    {connGoroutine},
		"Subscribed":     {shardGoroutine},
		"Refused":        {shardGoroutine},
		"Rotated":        {shardGoroutine},
		"Watchdog":       {shardGoroutine},
		"TradeGap":       {shardGoroutine},
		"Disconnected":   {shardGoroutine},
		"SnapshotDone":   {requestGoroutine},
		"RequestDone":    nil, // any
		"Synced":         {shardGoroutine},
		"Audited":        {shardGoroutine},
		"Mismatch":       {shardGoroutine},
		"Capped":         {shardGoroutine},
		"Gap":            {shardGoroutine},
		"Dropped":        {shardGoroutine},
		"Paused":         {shardGoroutine},
		"Throttled":      nil, // any
		"DecodeFailed":   {shardGoroutine},
	}
	var mu sync.Mutex
	seen := make(map[string][]string)
	hooks := new(binance.Hooks)
	fields := reflect.ValueOf(hooks).Elem()
	for i := range fields.NumField() {
		name := fields.Type().Field(i).Name
		fields.Field(i).Set(reflect.MakeFunc(fields.Field(i).Type(), func([]reflect.Value) []reflect.Value {
			stack := make([]byte, 64<<10)
			stack = stack[:runtime.Stack(stack, false)]
			mu.Lock()
			defer mu.Unlock()
			where := slices.IndexFunc(want[name], func(f string) bool { return strings.Contains(string(stack), f) })
			switch {
			case want[name] == nil:
				seen[name] = nil
			case where < 0:
				t.Errorf("%s was called on\n%s", name, stack)
			case !slices.Contains(seen[name], want[name][where]):
				seen[name] = append(seen[name], want[name][where])
			}
			return nil
		}))
	}
	bubble(t, everyHook(hooks), provokeHooks)
	for i := range fields.NumField() {
		name := fields.Type().Field(i).Name
		goroutines, called := seen[name]
		documented, known := want[name]
		slices.Sort(goroutines)
		slices.Sort(documented)
		if name == "StatusChanged" {
			documented = []string{pollGoroutine} // the first listing of a run changes no status of a first run
		}
		if !called || !known || !slices.Equal(goroutines, documented) {
			t.Errorf("%s: called %v, on %q, want %q", name, called, goroutines, documented)
		}
	}
}

// everyHook is a setup in which provokeHooks makes every hook run.
func everyHook(hooks *binance.Hooks) setup {
	return setup{
		server: exchange(3), client: binance.Config{Hooks: hooks},
		depth: binance.DepthConfig{
			Symbols: names(1), AllTrading: &binance.SymbolFilter{}, PollEvery: 30 * time.Second,
			Trades: true, Tickers: true, QueueFrames: 128, MaxStale: -1,
		},
		before: func(h *harness) { h.prepare(names(3)...) },
	}
}

// provokeHooks makes every hook run in some four minutes.
func provokeHooks(t *testing.T, h *harness) {
	h.ready()
	for len(infos[binance.MismatchInfo](h)) == 0 {
		h.forge(`[["` + bidAbove(t, h.srv) + `","7.00000000"]]`) // Mismatch, and then Audited
		time.Sleep(time.Minute)
	}
	h.mu.Lock()
	h.forged = ""
	h.mu.Unlock()
	h.srv.RejectCommands(17, 2, "Invalid request: invalid stream") // Refused: the request of 9 streams, and its parts
	h.syncer.Rotate()
	time.Sleep(50 * time.Second)
	if _, err := h.srv.Apply(victim, []orderbook.Level{{Price: 1, Quantity: orderbook.MaxFixed}}, nil); err != nil { // Capped
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	h.srv.SendRaw(`{"stream":"t0000usdt@depth@100ms","data":{"e":"depthUpdate"`) // DecodeFailed, Gap
	h.srv.DropTrades(victim, 3)                                                  // TradeGap
	time.Sleep(20 * time.Second)
	h.srv.RejectREST(1, http.StatusTooManyRequests, time.Second) // Throttled
	h.srv.DropDepth(victim, 300)                                 // Watchdog
	time.Sleep(time.Minute)
	if err := errors.Join(h.srv.SetStatus(victim, "HALT"), h.srv.SetStatus(names(2)[1], "BREAK")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Minute)
	h.mu.Lock()
	h.block = make(chan struct{}) // Dropped, Paused
	h.mu.Unlock()
	time.Sleep(70 * time.Second)
	h.mu.Lock()
	close(h.block)
	h.block = nil
	h.mu.Unlock()
	h.srv.Disconnect(binancetest.CloseGoingAway, "")
	time.Sleep(time.Second)
	synctest.Wait()
}

// bidAbove returns a price between the victim's best prices, which the walk does not change.
func bidAbove(t *testing.T, srv *binancetest.Server) string {
	t.Helper()
	book, err := srv.Book(victim)
	if err != nil {
		t.Fatal(err)
	}
	return (book.Bids[0].Price + 1).String()
}
