package binance

import (
	"testing"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// deepSyncer returns a DepthSyncer of one symbol whose book has 5,000 levels a side.
func deepSyncer(tb testing.TB) *DepthSyncer {
	tb.Helper()
	c, err := NewClient(Config{})
	if err != nil {
		tb.Fatal(err)
	}
	d, err := NewDepthSyncer(c, DepthConfig{Symbols: []string{"BTCUSDT"}, TopLevels: 20})
	if err != nil {
		tb.Fatal(err)
	}
	snap := &orderbook.Snapshot{LastID: 100}
	for i := range orderbook.Fixed(5000) {
		snap.Bids = append(snap.Bids, orderbook.Level{Price: (100_000 - i) * orderbook.One, Quantity: orderbook.One})
		snap.Asks = append(snap.Asks, orderbook.Level{Price: (100_001 + i) * orderbook.One, Quantity: orderbook.One})
	}
	now := time.Now()
	y := d.books.Get("BTCUSDT")
	fetch := y.syncer.Connected(now).Fetch
	y.change(now, func(s *orderbook.Syncer) orderbook.Output { return s.Snapshot(now, fetch, snap) })
	return d
}

// A reader reuses its memory, as a program that reads often does.
type reader struct {
	bids, asks []orderbook.Level
	view       func(b *orderbook.Book, s Status)
}

func newReader() *reader {
	r := &reader{}
	r.view = func(b *orderbook.Book, s Status) {
		r.bids, r.asks = b.AppendBids(r.bids[:0], 20), b.AppendAsks(r.asks[:0], 20)
	}
	return r
}

func TestReadsDoNotAllocate(t *testing.T) {
	d, r := deepSyncer(t), newReader()
	view := func() {
		if err := d.View("BTCUSDT", r.view); err != nil {
			t.Fatal(err)
		}
	}
	view()
	if n := testing.AllocsPerRun(100, view); n != 0 || len(r.bids) != 20 || len(r.asks) != 20 {
		t.Errorf("%v allocations for View of %d and %d levels", n, len(r.bids), len(r.asks))
	}
	top := func() {
		if top, err := d.Top("BTCUSDT"); err != nil || len(top.Bids) != 20 || len(top.Asks) != 20 {
			t.Fatal(top, err)
		}
	}
	if n := testing.AllocsPerRun(100, top); n != 0 {
		t.Errorf("%v allocations for Top", n)
	}
}

func BenchmarkReadTop20(b *testing.B) {
	d, r := deepSyncer(b), newReader()
	b.Run("View", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := d.View("BTCUSDT", r.view); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Top", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := d.Top("BTCUSDT"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// The program may remove a symbol that AllTrading is about to remove: the filter's func calls Remove.
func TestRemovalOfASymbolTwice(t *testing.T) {
	c, err := NewClient(Config{})
	if err != nil {
		t.Fatal(err)
	}
	var d *DepthSyncer
	keep := func(s *SymbolInfo) bool {
		if s.Symbol != "NEW" {
			return true
		}
		if err := d.Remove("OLD"); err != nil {
			t.Error(err)
		}
		return false
	}
	if d, err = NewDepthSyncer(c, DepthConfig{AllTrading: &SymbolFilter{Keep: keep}}); err != nil {
		t.Fatal(err)
	}
	listing := func(symbols ...string) *ExchangeInfo {
		info := &ExchangeInfo{}
		for _, symbol := range symbols {
			info.Symbols = append(info.Symbols, SymbolInfo{Symbol: symbol, Status: "TRADING"})
		}
		return info
	}
	for _, info := range []*ExchangeInfo{listing("OLD", "OLDER"), listing("NEW"), listing("NEW")} { // what is missing once is not believed
		if _, err := d.applyListing(d.listingOf(info)); err != nil {
			t.Fatal(err)
		}
	}
	if left := d.books.Keys(); len(left) != 0 {
		t.Errorf("%v are left", left)
	}
}

// Calls of Rotate do not pile up: before a Run they do nothing, and in one they ask once until the shard has rotated.
func TestRotateIsQueuedOnce(t *testing.T) {
	d := deepSyncer(t)
	s := d.allShards()[0]
	for range 3 {
		d.Rotate()
	}
	if n := len(s.tasks.take()); n != 0 {
		t.Errorf("%d tasks without a Run", n)
	}
	d.launch = func(*shard) {}
	s.begin(time.Now())
	for range 3 {
		d.Rotate()
	}
	queued := s.tasks.take()
	if len(queued) != 1 {
		t.Fatalf("%d tasks of a shard that is busy", len(queued))
	}
	if err := queued[0](t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if d.Rotate(); len(s.tasks.take()) != 1 {
		t.Error("no task after the first one was done")
	}
}
