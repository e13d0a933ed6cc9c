package binance_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

// stall blocks the handler for that time.
func (h *harness) stall(d time.Duration) {
	h.mu.Lock()
	h.block = make(chan struct{})
	h.mu.Unlock()
	time.Sleep(d)
	synctest.Wait()
	h.mu.Lock()
	close(h.block)
	h.block = nil
	h.mu.Unlock()
	synctest.Wait()
}

// A handler that stalls for less than the time of a pong costs nothing: what the queue does not take, the
// exchange holds.
func TestFullQueueWaits(t *testing.T) {
	short.Skip(t)
	for _, c := range []struct {
		market     marketprism.Market
		redundancy int
		stall      time.Duration
	}{
		{marketprism.Spot, 1, 48 * time.Second},
		{marketprism.Spot, 2, 48 * time.Second},
		{marketprism.USDM, 1, 100 * time.Second},
	} {
		server := exchange(2)
		server.Market = c.market
		depth := binance.DepthConfig{QueueFrames: 16, Redundancy: c.redundancy, Trades: true, Tickers: true, StreamTimeout: 20 * time.Second}
		bubble(t, setup{server: server, depth: depth}, func(t *testing.T, h *harness) {
			h.ready()
			time.Sleep(15 * time.Second)
			before := h.syncer.Stats()
			h.stall(c.stall)
			h.live(h.srv.Listed()...)
			s := h.syncer.Stats()
			if s.Gaps != 0 || s.Dropped != 0 || s.SnapshotRequests != before.SnapshotRequests || s.Connects != uint64(c.redundancy) || s.Watchdogs != 0 {
				t.Errorf("%+v: %+v", c, s)
			}
			if s.QueueWaits == 0 || s.Pauses == 0 || len(infos[time.Duration](h)) != int(s.Pauses) {
				t.Errorf("%+v: nothing shows the wait: %+v", c, s)
			}
			h.wellBehaved()
		})
	}
}

// When a ping could be late, the streams of a few symbols are given up, and all in the end. They start over
// when the connection has caught up, with one snapshot each.
func TestFewStreamsAreDropped(t *testing.T) {
	short.Skip(t)
	const symbols = 20
	for stall, most := range map[time.Duration]int{52 * time.Second: symbols / 2, 59 * time.Second: symbols} {
		bubble(t, setup{server: exchange(symbols), depth: binance.DepthConfig{QueueFrames: 16}}, func(t *testing.T, h *harness) {
			h.ready()
			before := h.syncer.Stats()
			h.stall(stall)
			time.Sleep(10 * time.Second)
			h.live(h.srv.Listed()...)
			lost := 0
			for _, symbol := range h.srv.Listed() {
				switch gaps := h.at(symbol).gaps; {
				case len(gaps) == 1 && gaps[0].Reason == orderbook.GapOverflow:
					lost++
				case len(gaps) != 0:
					t.Errorf("%s had the gaps %v", symbol, gaps)
				}
			}
			s := h.syncer.Stats()
			if lost < most/2 || lost > most || s.SnapshotRequests != before.SnapshotRequests+uint64(lost) || s.Connects != 1 {
				t.Errorf("after %v %d symbols are lost, want %d at most: %+v", stall, lost, most, s)
			}
			var reported uint64
			for _, i := range infos[binance.DropInfo](h) {
				reported += i.Frames
			}
			if reported != s.Dropped {
				t.Errorf("%d frames of %d are reported", reported, s.Dropped)
			}
			h.wellBehaved()
		})
	}
}

// The exchange cuts a reader whose unread bytes exceed its buffer.
func TestFullBufferOfTheExchangeCostsAReconnect(t *testing.T) {
	short.SkipWhole(t)
	server := exchange(4)
	server.SendBuffer = 64 << 10
	for i := range server.Symbols {
		server.Symbols[i].Rate = 500
	}
	bubble(t, setup{server: server, depth: binance.DepthConfig{QueueFrames: 16}}, func(t *testing.T, h *harness) {
		h.ready()
		h.stall(20 * time.Second)
		h.live(h.srv.Listed()...)
		if s := h.syncer.Stats(); s.Gaps != 4 || s.Connects != 2 || s.Dropped != 0 {
			t.Errorf("%+v", s)
		}
		if s := h.srv.Stats(); s.SlowConsumers != 1 || s.Violations() != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// A handler that is always too slow loses some symbols now and then; the others stay synced.
func TestHandlerThatIsAlwaysTooSlow(t *testing.T) {
	short.SkipWhole(t)
	synctest.Test(t, func(t *testing.T) {
		server := exchange(10)
		server.Network = binancetest.InMemory()
		srv, err := binancetest.New(server)
		if err != nil {
			t.Fatal(err)
		}
		defer srv.Close()
		books, err := binance.NewDepthSyncer(dial(t, srv, binance.Config{}), binance.DepthConfig{
			Symbols: srv.Listed(), QueueFrames: 64,
			Handler: func(context.Context, *marketprism.Record) error {
				time.Sleep(12 * time.Millisecond) // 83 of 100 records a second
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- books.Run(ctx) }()
		go srv.Run(ctx) //nolint:errcheck // ends with the test
		time.Sleep(8 * time.Minute)
		synced := 0
		for _, symbol := range srv.Listed() {
			if status, _ := books.Status(symbol); status.State == orderbook.Synced {
				synced++
			}
		}
		if st := books.Stats(); synced < 6 || st.Dropped == 0 || st.Connects != 1 || st.Gaps > 10 {
			t.Errorf("%d of 10 are synced: %+v", synced, st)
		}
		if st := srv.Stats(); st.Violations() != 0 {
			t.Errorf("%+v", st)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
