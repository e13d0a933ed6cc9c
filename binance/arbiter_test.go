package binance_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

// Either of two connections may end at any moment, in any way, while the other carries every stream: no
// book is interrupted, and each event comes once.
func TestRedundantConnectionsSurviveCuts(t *testing.T) {
	short.SkipWhole(t)
	for _, market := range []marketprism.Market{marketprism.Spot, marketprism.USDM, marketprism.COINM} {
		t.Run(string(market), func(t *testing.T) {
			server := mixed(market)
			server.AlternateBatches = true
			depth := binance.DepthConfig{Redundancy: 2, Trades: true, Tickers: true}
			bubble(t, setup{server: server, depth: depth}, func(t *testing.T, h *harness) {
				h.ready()
				time.Sleep(15 * time.Second) // both carry the silent symbol too
				rng := rand.New(rand.NewPCG(1, uint64(len(market))))
				for range 8 {
					conns := h.srv.Connections()
					if len(conns) != 2 {
						t.Fatalf("%d connections", len(conns))
					}
					id := conns[rng.IntN(2)].ID
					switch rng.IntN(3) {
					case 0:
						h.srv.DisconnectOne(id, 0, "")
					case 1:
						h.srv.DisconnectOne(id, binancetest.CloseGoingAway, "going")
					case 2:
						h.srv.SilenceOne(id) // it stays open until the driver gives it up
						time.Sleep(time.Duration(rng.IntN(4000)) * time.Millisecond)
						h.srv.DisconnectOne(id, 0, "")
					}
					// Back-off, connecting, subscribing, and the time until it carries the silent symbol.
					time.Sleep(45*time.Second + time.Duration(rng.IntN(1000))*time.Millisecond)
				}
				h.live(h.srv.Listed()[:4]...)
				if s := h.syncer.Stats(); s.Disconnects != 8 || s.Duplicates == 0 {
					t.Errorf("stats: %+v", s)
				}
				h.mu.Lock()
				for symbol, b := range h.books {
					if b.twice != 0 || b.skipped != 0 {
						t.Errorf("%s: %d trades came twice, %d never", symbol, b.twice, b.skipped)
					}
				}
				h.mu.Unlock()
				h.unbroken()
			})
		})
	}
}

// Both connections dying at once is a gap like any other.
func TestBothRedundantConnectionsEnd(t *testing.T) {
	bubble(t, setup{server: mixed(marketprism.Spot), depth: binance.DepthConfig{Redundancy: 2}}, func(t *testing.T, h *harness) {
		h.ready()
		synctest.Wait() // the books are synced over one connection; the other may still be opening
		h.srv.Disconnect(0, "")
		time.Sleep(2 * time.Second)
		h.ready()
		h.live(h.srv.Listed()[:4]...)
		for _, s := range h.srv.Listed() {
			if gaps := h.at(s).gaps; len(gaps) != 1 || gaps[0].Reason != orderbook.GapDisconnect {
				t.Errorf("%s had the gaps %v", s, gaps)
			}
		}
		down := infos[binance.DisconnectInfo](h)
		if len(down) != 2 || down[0].Symbols != 0 || down[1].Symbols != 6 || down[0].Conn == down[1].Conn {
			t.Errorf("Disconnected hook: %+v", down)
		}
		h.wellBehaved()
	})
}

// What both connections lose is a gap, at once; what one loses is none.
func TestLossOnRedundantConnections(t *testing.T) {
	bubble(t, setup{server: mixed(marketprism.Spot), depth: binance.DepthConfig{Redundancy: 2}}, func(t *testing.T, h *harness) {
		h.ready()
		h.live(h.srv.Listed()[:4]...)
		h.srv.SendRawOne(h.srv.Connections()[0].ID, `{"stream":"t0000usdt@depth@100ms","data":{"e":"depthUpdate"`)
		h.live(h.srv.Listed()[:4]...)
		h.unbroken()
		h.srv.DropDepth(victim, 1)
		h.live(h.srv.Listed()[:4]...)
		h.onlyGap(victim, orderbook.GapSequence)
		var seq *orderbook.SequenceError
		if gap := infos[binance.GapInfo](h)[0]; !errors.As(gap.Gap.Err, &seq) {
			t.Errorf("%+v", gap)
		}
		h.wellBehaved()
	})
}

// Where the exchange's ids go back, both connections bring old ids. They are no duplicates: the book notices,
// and starts over at the new ids.
func TestIDsGoBackOnRedundantConnections(t *testing.T) {
	depth := binance.DepthConfig{Redundancy: 2, MaxStale: 20}
	bubble(t, setup{server: mixed(marketprism.Spot), depth: depth}, func(t *testing.T, h *harness) {
		h.ready()
		h.live(h.srv.Listed()[:4]...)
		if err := h.srv.RestartIDs(victim, 1000); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		h.onlyGap(victim, orderbook.GapRegressed)
		h.live(h.srv.Listed()[:4]...)
		if s, _ := h.syncer.Status(victim); s.LastID > 100_000 {
			t.Errorf("the book is at %d", s.LastID)
		}
		h.wellBehaved()
	})
}

// Ids that go back by less than MaxStale events rise above the book's again before that many have come. The
// exchange's clock shows it: a lower id of a later time on one connection is none that is repeated.
func TestIDsGoBackALittle(t *testing.T) {
	for _, redundancy := range []int{1, 2} {
		server := exchange(2)
		server.Symbols[0].LastID = -1
		bubble(t, setup{server: server, depth: binance.DepthConfig{Redundancy: redundancy}}, func(t *testing.T, h *harness) {
			h.ready()
			time.Sleep(2 * time.Second)
			if err := h.syncer.Refresh(victim); err != nil {
				t.Fatal(err)
			}
			h.live(h.srv.Listed()...)
			if err := h.srv.Wipe(); err != nil {
				t.Fatal(err)
			}
			before := h.at(victim)
			time.Sleep(200 * time.Millisecond)
			synctest.Wait()
			after := h.at(victim)
			if len(after.gaps) != 1 || after.gaps[0].Reason != orderbook.GapRegressed || after.lastID >= before.lastID {
				t.Errorf("the book went from %d to %d, gaps: %v", before.lastID, after.lastID, after.gaps)
			}
			h.live(h.srv.Listed()...)
			h.wellBehaved()
		})
	}
}

// A slow handler makes both connections drop frames; the books start over and are correct.
func TestOverflowOfRedundantConnections(t *testing.T) {
	depth := binance.DepthConfig{Redundancy: 2, QueueFrames: 16}
	bubble(t, setup{server: exchange(3), depth: depth}, func(t *testing.T, h *harness) {
		h.ready()
		h.mu.Lock()
		h.block = make(chan struct{})
		h.mu.Unlock()
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		h.mu.Lock()
		close(h.block)
		h.block = nil
		h.mu.Unlock()
		h.live(h.srv.Listed()...)
		for _, s := range h.srv.Listed() {
			if gaps := h.at(s).gaps; len(gaps) == 0 || gaps[0].Reason != orderbook.GapOverflow && gaps[0].Reason != orderbook.GapSequence {
				t.Errorf("%s had the gaps %v", s, gaps)
			}
		}
		h.wellBehaved()
	})
}

// However connections end, no more than 300 are opened in five minutes.
func TestStormOfDisconnectsKeepsTheConnectLimit(t *testing.T) {
	short.SkipWhole(t)
	server := exchange(40)
	for i := range server.Symbols {
		server.Symbols[i].Rate, server.Symbols[i].Levels = 1, 5
	}
	depth := binance.DepthConfig{
		Redundancy: 2, StreamsPerConn: 1, SnapshotLimit: 100,
		ReconnectMin: 10 * time.Millisecond, ReconnectMax: 20 * time.Millisecond,
	}
	bubble(t, setup{server: server, depth: depth}, func(t *testing.T, h *harness) {
		h.ready()
		for range 150 {
			h.srv.Disconnect(0, "")
			time.Sleep(2 * time.Second)
		}
		if n := h.srv.Stats().Connections; n < 300 || n > 600 {
			t.Errorf("%d connections in %v", n, 150*2*time.Second)
		}
		waited := 0
		for _, i := range infos[binance.ThrottleInfo](h) {
			if i.Status == 0 && i.Weight == 0 {
				waited++
			}
		}
		if waited == 0 {
			t.Error("no ThrottleInfo of a connection that waits")
		}
		h.wellBehaved()
		time.Sleep(6 * time.Minute)
		h.ready()
		h.wellBehaved()
	})
}

// The exchange is wiped while no connection is open, as Binance's testnet is about once a month. Each kind of record goes
// on with the new ids, and a Gap has the time of the first update with them.
func TestWipeWhileDisconnected(t *testing.T) {
	for _, redundancy := range []int{1, 2} {
		for _, outage := range []time.Duration{time.Second, time.Minute} {
			t.Run(fmt.Sprintf("%d/%s", redundancy, outage), func(t *testing.T) {
				var wiped time.Time
				var gap, first marketprism.Record
				var trades, tickers, repeated int
				var last int64
				record := func(_ context.Context, rec *marketprism.Record) error {
					switch {
					case rec.Instrument.Symbol != victim || wiped.IsZero():
					case rec.Trade != nil:
						if trades++; rec.Trade.ID <= last {
							repeated++
						}
						last = rec.Trade.ID
					case rec.Ticker != nil:
						tickers++
					case rec.Update != nil && first.Update == nil:
						first = rec.Clone()
					case rec.Gap != nil && rec.Gap.Reason == orderbook.GapRegressed:
						gap = rec.Clone()
					}
					return nil
				}
				depth := binance.DepthConfig{Redundancy: redundancy, Trades: true, Tickers: true, Handler: record}
				bubble(t, setup{server: mixed(marketprism.Spot), depth: depth}, func(t *testing.T, h *harness) {
					h.ready()
					h.live(h.srv.Listed()[:4]...)
					h.srv.RejectStreams(1000, 503)
					h.srv.Disconnect(0, "")
					time.Sleep(outage)
					if err := h.srv.Wipe(); err != nil {
						t.Fatal(err)
					}
					h.mu.Lock()
					wiped, h.books[victim].lastTrade = time.Now(), [2]int64{}
					h.mu.Unlock()
					h.srv.RejectStreams(0, 503)
					time.Sleep(2 * time.Minute)
					h.live(h.srv.Listed()[:4]...)
					h.mu.Lock()
					defer h.mu.Unlock()
					if trades < 10 || tickers < 10 || repeated > 0 {
						t.Errorf("%d trades, %d of an old id, %d tickers since the wipe", trades, repeated, tickers)
					}
					if gap.Gap == nil || gap.EventTime.Before(wiped) || gap.EventTime.After(first.EventTime) {
						t.Errorf("%+v at %v, the first update was at %v", gap.Gap, gap.EventTime, first.EventTime)
					}
				})
			})
		}
	}
}
