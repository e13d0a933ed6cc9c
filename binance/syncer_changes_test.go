package binance_test

import (
	"errors"

	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

// A thousand Removes and Adds, one by one, are no event for the other books: the requests are joined, and
// no subscription is given up because it has to wait for them.
func TestManyRemovesAndAddsDisturbNoOtherBook(t *testing.T) {
	short.SkipWhole(t)
	const busy, all = 20, 1020
	server := exchange(all)
	for i := range server.Symbols {
		server.Symbols[i].Levels, server.Symbols[i].Rate = 5, 5
		if i >= busy {
			server.Symbols[i].Rate = -1
		}
	}
	server.History = 256
	depth := binance.DepthConfig{SnapshotLimit: 5, RefreshDepth: -1, SkipSymbolCheck: true}
	bubble(t, setup{server: server, depth: depth}, func(t *testing.T, h *harness) {
		h.ready()
		many, others := h.srv.Listed()[busy:], h.srv.Listed()[:busy]
		sent := h.srv.Stats().Messages
		for _, s := range many {
			if err := h.syncer.Remove(s); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		for _, s := range many {
			if err := h.syncer.Add(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(20 * time.Second)
		h.ready()
		h.live(others...)
		if len(h.srv.Connections()[0].Streams) != all {
			t.Errorf("%d streams", len(h.srv.Connections()[0].Streams))
		}
		for _, s := range others {
			if b := h.at(s); b.gaps != nil || b.snapshots != 1 {
				t.Errorf("%s had the gaps %v and %d snapshots", s, b.gaps, b.snapshots)
			}
		}
		if s := h.syncer.Stats(); s.Gaps != all-busy || s.Disconnects != 0 {
			t.Errorf("stats: %+v", s)
		}
		// Pings are answered every 20 s.
		if n := h.srv.Stats().Messages - sent; n > 60 {
			t.Errorf("%d messages", n)
		}
		h.wellBehaved()
	})
}

// Connections without symbols are closed after a while, and opened again by the next Add. Symbols that
// come and go all the time cost no connection each time.
func TestConnectionsWithoutSymbolsAreClosed(t *testing.T) {
	for _, market := range []marketprism.Market{marketprism.Spot, marketprism.USDM} {
		server := exchange(6)
		server.Market, server.History = market, 256
		for i := range server.Symbols {
			server.Symbols[i].Levels, server.Symbols[i].Rate = 5, 2
		}
		depth := binance.DepthConfig{AggTrades: true, StreamsPerConn: 6, Redundancy: 2, SkipSymbolCheck: true}
		bubble(t, setup{server: server, depth: depth}, func(t *testing.T, h *harness) {
			h.ready()
			time.Sleep(time.Second)
			open := len(h.srv.Connections())
			all := h.srv.Listed()
			if err := h.syncer.Remove(all...); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Second)
			if n := len(h.srv.Connections()); n != open {
				t.Errorf("%s: %d connections of %d are left too soon", market, n, open)
			}
			h.srv.DisconnectOne(h.srv.Connections()[0].ID, 0, "") // is not opened again
			time.Sleep(15 * time.Second)
			synctest.Wait()
			if conns := h.srv.Connections(); len(conns) != 0 {
				t.Errorf("%s: %d connections are left", market, len(conns))
			}
			for _, i := range infos[binance.DisconnectInfo](h) {
				if !errors.Is(i.Err, binance.ErrClosed) || i.Symbols != 0 {
					t.Errorf("Disconnected hook: %+v", i)
				}
			}
			if err := h.syncer.Add(t.Context(), all[0]); err != nil {
				t.Fatal(err)
			}
			h.ready()
			h.live(all[0])
			if n, want := len(h.srv.Connections()), map[marketprism.Market]int{marketprism.Spot: 2, marketprism.USDM: 4}[market]; n != want {
				t.Errorf("%s: %d connections for one symbol, want %d", market, n, want)
			}
			if err := h.syncer.Add(t.Context(), all[1:3]...); err != nil {
				t.Fatal(err)
			}
			h.ready()
			before := h.srv.Stats().Connections
			for i := range 40 {
				if err := h.syncer.Remove(all[:3]...); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Duration(i) * 700 * time.Millisecond)
				if err := h.syncer.Add(t.Context(), all[:3]...); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Second)
			}
			if n := h.srv.Stats().Connections - before; n != 0 {
				t.Errorf("%s: %d connections were opened for 40 changes", market, n)
			}
			h.ready()
			h.live(all[:3]...)
			h.wellBehaved()
		})
	}
}

// pass lets the record that waits in the handler pass; with more, the next one waits.
func (h *harness) pass(more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.block != nil {
		close(h.block)
	}
	if h.block = nil; more {
		h.block = make(chan struct{})
	}
}

// A symbol that is removed and added again may get another connection, since others have taken its place.
// Its new book begins after the last record of the old one, however far behind that one's shard is.
func TestSymbolAddedAgainFollowsItsOldBook(t *testing.T) {
	for _, market := range []marketprism.Market{marketprism.Spot, marketprism.USDM} {
		server := exchange(5)
		server.Market = market
		depth := binance.DepthConfig{Symbols: names(2), AggTrades: true, StreamsPerConn: 4, SkipSymbolCheck: true}
		if market == marketprism.USDM {
			depth.StreamsPerConn = 2
		}
		bubble(t, setup{server: server, depth: depth}, func(t *testing.T, h *harness) {
			h.prepare(names(5)...)
			h.ready()
			h.pass(true)
			time.Sleep(10 * time.Second) // the frames of both symbols queue up
			steps := []error{
				h.syncer.Remove(victim), h.syncer.Add(t.Context(), "T0002USDT"), h.syncer.Add(t.Context(), victim),
				h.syncer.Remove(victim), h.syncer.Add(t.Context(), "T0003USDT", "T0004USDT"), h.syncer.Add(t.Context(), victim),
			}
			if err := errors.Join(steps...); err != nil {
				t.Fatal(err)
			}
			for range 1000 {
				h.pass(true)
				time.Sleep(time.Millisecond)
			}
			h.pass(false)
			h.ready()
			h.live(names(5)...)
			b := h.at(victim)
			if len(b.gaps) != 1 || b.gaps[0].Reason != orderbook.GapRemoved || b.snapshots != 2 {
				t.Errorf("%s: gaps %v, %d snapshots", market, b.gaps, b.snapshots)
			}
			if n := len(h.srv.Connections()); n < 2 {
				t.Errorf("%s: %d connections", market, n)
			}
			h.wellBehaved()
		})
	}
}

// What Run could not carry out before its end is carried out by the next one.
func TestSymbolAddedAgainAtTheEndOfRun(t *testing.T) {
	depth := binance.DepthConfig{Symbols: names(2), StreamsPerConn: 2, SkipSymbolCheck: true}
	bubble(t, setup{server: exchange(4), depth: depth}, func(t *testing.T, h *harness) {
		h.prepare(names(4)...)
		h.ready()
		h.pass(true)
		time.Sleep(time.Second)
		steps := []error{
			h.syncer.Remove(victim), h.syncer.Add(t.Context(), "T0002USDT"), h.syncer.Add(t.Context(), victim),
			h.syncer.Remove("T0001USDT"), h.syncer.Add(t.Context(), "T0003USDT", "T0001USDT"), h.syncer.Remove("T0001USDT"),
		}
		if err := errors.Join(steps...); err != nil {
			t.Fatal(err)
		}
		h.stop()
		h.pass(false)
		if err := h.end(); err != nil {
			t.Errorf("Run = %v", err)
		}
		for _, s := range names(4) {
			if b := h.at(s); b.synced {
				t.Errorf("%s did not end", s)
			}
		}
		go h.srv.Run(h.run()) //nolint:errcheck // ends with the server
		synctest.Wait()
		h.ready()
		h.live(victim, "T0002USDT", "T0003USDT")
		streams := 0
		for _, c := range h.srv.Connections() {
			streams += len(c.Streams)
		}
		if streams != 3 {
			t.Errorf("%d streams for 3 symbols", streams)
		}
		h.wellBehaved()
	})
}

// An acknowledgement that was in time ends no connection, however late a slow Handler lets the shard see it.
func TestAcknowledgementBehindASlowHandler(t *testing.T) {
	server := exchange(61)
	server.History = 256
	for i := range server.Symbols {
		server.Symbols[i].Levels = 5
	}
	depth := binance.DepthConfig{Symbols: names(60), AckTimeout: 5 * time.Second, SkipSymbolCheck: true}
	bubble(t, setup{server: server, depth: depth}, func(t *testing.T, h *harness) {
		h.prepare(names(61)...)
		h.ready()
		h.srv.DelayAcks(1, 4*time.Second)
		if err := h.syncer.Add(t.Context(), "T0060USDT"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		for range 2000 { // three hundred records a second, of the six hundred that come
			h.pass(true)
			time.Sleep(3 * time.Millisecond)
		}
		if status, _ := h.syncer.Status("T0060USDT"); status.State != orderbook.Offline {
			t.Errorf("the acknowledgement was handled too soon: %v", status.State)
		}
		h.pass(false)
		h.ready()
		if s := h.syncer.Stats(); s.Disconnects != 0 || s.Gaps != 0 {
			t.Errorf("stats: %+v", s)
		}
		h.wellBehaved()
	})
}

// COIN-M's pages give two numbers of streams. The smaller one is kept unless the program trusts the other.
func TestStreamsOfACOINMConnection(t *testing.T) {
	for limit, want := range map[int]int{0: 2, 1024: 1} {
		server := exchange(300)
		server.Market, server.StreamLimit = marketprism.COINM, limit
		for i := range server.Symbols {
			server.Symbols[i].Levels, server.Symbols[i].Rate = 5, -1
		}
		depth := binance.DepthConfig{StreamsPerConn: limit, SnapshotLimit: 5, RefreshDepth: -1}
		bubble(t, setup{server: server, depth: depth}, func(t *testing.T, h *harness) {
			h.ready()
			if n := len(h.srv.Connections()); n != want {
				t.Errorf("%d connections, want %d", n, want)
			}
			h.wellBehaved()
		})
	}
	client, err := binance.NewClient(binance.Config{Market: marketprism.COINM})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := binance.NewDepthSyncer(client, binance.DepthConfig{Symbols: names(1), StreamsPerConn: 1025}); err == nil {
		t.Error("1,025 streams were accepted")
	}
}
