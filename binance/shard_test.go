package binance_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

const victim = "T0000USDT"

func exchange(symbols int) binancetest.Config {
	cfg := binancetest.Config{Symbols: binancetest.Symbols(names(symbols)...), History: 8192}
	for i := range cfg.Symbols {
		cfg.Symbols[i].Levels = 100
	}
	return cfg
}

// onlyGap checks that the symbol had one gap of that reason and no other symbol had any.
func (h *harness) onlyGap(symbol string, reason orderbook.GapReason) {
	h.t.Helper()
	for _, s := range h.srv.Listed() {
		gaps := h.at(s).gaps
		want := 0
		if s == symbol {
			want = 1
		}
		if len(gaps) != want || want == 1 && gaps[0].Reason != reason {
			h.t.Errorf("%s had the gaps %v", s, gaps)
		}
	}
}

func TestDroppedEventResyncsThatSymbolAlone(t *testing.T) {
	for _, market := range []marketprism.Market{marketprism.Spot, marketprism.USDM} {
		t.Run(string(market), func(t *testing.T) {
			server := exchange(5)
			server.Market = market
			bubble(t, setup{server: server}, func(t *testing.T, h *harness) {
				h.ready()
				before := requests(h.srv, "/depth")
				h.srv.DropDepth(victim, 1)
				h.live(h.srv.Listed()...)
				h.onlyGap(victim, orderbook.GapSequence)
				if n := requests(h.srv, "/depth") - before; n != 1 {
					t.Errorf("%d snapshots for one gap", n)
				}
				if n := h.srv.Stats().Connections; n != 1 {
					t.Errorf("%d connections", n)
				}
				gap := infos[binance.GapInfo](h)
				var seq *orderbook.SequenceError
				if len(gap) != 1 || gap[0].Instrument.Symbol != victim || !errors.As(gap[0].Gap.Err, &seq) {
					t.Errorf("Gap hook: %+v", gap)
				}
				if status, _ := h.syncer.Status(victim); status.LastGap.Reason != orderbook.GapSequence {
					t.Errorf("status: %+v", status)
				}
				h.wellBehaved()
			})
		})
	}
}

func TestStaleSnapshotsAreRetriedAndTheBufferKept(t *testing.T) {
	bubble(t, setup{server: exchange(3)}, func(t *testing.T, h *harness) {
		h.ready()
		h.srv.StaleSnapshots(victim, 3, 20)
		h.srv.DropDepth(victim, 1)
		h.live(h.srv.Listed()...)
		h.onlyGap(victim, orderbook.GapSequence)
		status, _ := h.syncer.Status(victim)
		if status.Sync.TooOld != 3 || status.Sync.Discarded != 0 {
			t.Errorf("stats: %+v", status.Sync)
		}
		synced := infos[binance.SyncInfo](h)
		if last := synced[len(synced)-1]; last.Instrument.Symbol != victim || last.Elapsed < 250*time.Millisecond {
			t.Errorf("the resync: %+v", last)
		}
		h.wellBehaved()
	})
}

// Updates that waited for a snapshot keep the time at which they were received.
func TestBufferedUpdatesKeepTheirReceiveTime(t *testing.T) {
	bubble(t, setup{server: exchange(1), before: func(h *harness) { h.srv.DelaySnapshots(1, 3*time.Second) }}, func(t *testing.T, h *harness) {
		h.ready()
		synced := infos[binance.SyncInfo](h)[0]
		if synced.Applied < 20 {
			t.Fatalf("only %d updates waited", synced.Applied)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if lag := h.maxLag; lag > 100*time.Millisecond {
			t.Errorf("an update was received %v after its event time", lag)
		}
	})
}

func TestReconnectAndResyncAfterADisconnect(t *testing.T) {
	for name, disconnect := range map[string]func(*harness) (want error){
		"close frame": func(h *harness) error {
			h.srv.Disconnect(binancetest.CloseGoingAway, "going")
			return &websocket.CloseError{Code: websocket.CloseGoingAway, Text: "going"}
		},
		"cut":     func(h *harness) error { h.srv.Disconnect(0, ""); return nil },
		"silence": func(h *harness) error { h.srv.Silence(); return binance.ErrSilent },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, setup{server: exchange(5)}, func(t *testing.T, h *harness) {
				h.ready()
				want := disconnect(h)
				if errors.Is(want, binance.ErrSilent) {
					time.Sleep(time.Minute)
				}
				time.Sleep(2 * time.Second)
				h.ready()
				h.live(h.srv.Listed()...)
				for _, s := range h.srv.Listed() {
					if b := h.at(s); len(b.gaps) != 1 || b.gaps[0].Reason != orderbook.GapDisconnect || b.gaps[0].Err == nil {
						t.Errorf("%s had the gaps %v", s, b.gaps)
					}
				}
				down := infos[binance.DisconnectInfo](h)
				if len(down) != 1 || down[0].Symbols != 5 {
					t.Fatalf("Disconnected hook: %+v", down)
				}
				var closed *websocket.CloseError
				if errors.As(want, &closed) {
					if got := new(websocket.CloseError); !errors.As(down[0].Err, &got) || *got != *closed {
						t.Errorf("err = %v, want %v", down[0].Err, want)
					}
				} else if want != nil && !errors.Is(down[0].Err, want) {
					t.Errorf("err = %v, want %v", down[0].Err, want)
				}
				if s := h.syncer.Stats(); s.Connects != 2 || s.Disconnects != 1 {
					t.Errorf("stats: %+v", s)
				}
				h.wellBehaved()
			})
		})
	}
}

func TestReconnectBacksOff(t *testing.T) {
	depth := binance.DepthConfig{ReconnectMin: time.Second, ReconnectMax: 20 * time.Second}
	bubble(t, setup{server: exchange(1), depth: depth}, func(t *testing.T, h *harness) {
		h.ready()
		for range 300 {
			h.srv.Disconnect(0, "")
			time.Sleep(time.Second)
		}
		// A delay is 10 s on average once it has grown.
		if n := h.srv.Stats().Connections; n > 60 {
			t.Errorf("%d connections in 300 s", n)
		}
		attempts := 0
		for _, c := range infos[binance.ConnectInfo](h) {
			attempts = max(attempts, c.Attempt)
		}
		time.Sleep(time.Minute) // a connection that lasts resets the count
		h.srv.Disconnect(0, "")
		h.srv.Disconnect(0, "")
		time.Sleep(time.Minute)
		all := infos[binance.ConnectInfo](h)
		if last := all[len(all)-1].Attempt; attempts < 10 || last != 1 {
			t.Errorf("attempts were counted up to %d, then again from %d", attempts, last)
		}
		h.ready()
		h.wellBehaved()
	})
}

func TestRetryAfterIsKept(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusTeapot} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			// With one request at a time no other is on its way when the first is refused.
			client := binance.Config{Budget: newBudget(t, binance.BudgetConfig{Concurrent: 1})}
			bubble(t, setup{server: exchange(5), client: client}, func(t *testing.T, h *harness) {
				h.ready()
				const ban = 200 * time.Second
				h.srv.RejectREST(1, status, ban)
				for _, s := range h.srv.Listed() {
					h.srv.DropDepth(s, 1)
				}
				start := time.Now()
				before := requests(h.srv, "")
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if sent := requests(h.srv, "") - before; sent != 1 {
					t.Fatalf("%d requests", sent)
				}
				refused := h.refusedAt(start)
				h.srv.Disconnect(0, "")
				time.Sleep(time.Until(refused.Add(ban - time.Millisecond)))
				synctest.Wait()
				if n := h.srv.Stats().Connections; n != 1 {
					t.Errorf("connected %d times during the ban", n-1)
				}
				if n := requests(h.srv, "") - before; n != 1 {
					t.Errorf("%d requests during the ban", n-1)
				}
				time.Sleep(2 * time.Second)
				h.ready()
				// Requests from before the disconnect are cancelled, and their weight is not counted.
				if n := requests(h.srv, "") - before; n != 1+5 {
					t.Errorf("%d requests for 5 books", n-1)
				}
				if usage := h.client.Usage(); usage.Used != h.srv.Stats().WeightUsed {
					t.Errorf("usage %+v, the exchange counts %d", usage, h.srv.Stats().WeightUsed)
				}
				h.live(h.srv.Listed()...)

				var throttled []binance.ThrottleInfo
				for _, i := range infos[binance.ThrottleInfo](h) {
					if i.Status == status {
						throttled = append(throttled, i)
					}
				}
				if len(throttled) == 0 || !throttled[0].Until.Equal(refused.Add(ban)) {
					t.Errorf("Throttled hook: %+v, refused at %v", throttled, refused)
				}
				h.wellBehaved()
			})
		})
	}
}

// During a ban there are no requests, however the exchange says when it ends and whatever the local clock shows, and the
// first one comes within 5 s of the end.
func TestBanIsKeptInEveryForm(t *testing.T) {
	short.Skip(t)
	const ban = 9 * time.Second
	const never = 1000 * time.Hour
	for _, form := range binancetest.BanForms() {
		for _, skew := range []time.Duration{0, time.Hour, -time.Hour, never} {
			t.Run(fmt.Sprintf("%s/%v", form, skew), func(t *testing.T) {
				before := func(h *harness) {
					if skew != never {
						h.srv.SetClock(skew)
					}
				}
				server := exchange(5)
				server.Tick = 500 * time.Millisecond
				bubble(t, setup{server: server, before: before}, func(t *testing.T, h *harness) {
					h.ready()
					time.Sleep(1300 * time.Millisecond)
					if skew == never { // it was set while the driver runs: nothing is known of it but the Date of the answer
						if form == "undated" {
							return
						}
						h.srv.SetClock(time.Hour)
					}
					if err := h.srv.Ban(ban, form); err != nil {
						t.Fatal(err)
					}
					end := time.Now().Add(ban)
					for _, s := range h.srv.Listed() {
						h.srv.DropDepth(s, 1)
					}
					time.Sleep(3 * time.Second)
					synctest.Wait()
					before := requests(h.srv, "")
					switch blocked := h.client.Usage().BlockedUntil; {
					case form == "huge":
						if d := time.Until(blocked); d > 72*time.Hour || d < 71*time.Hour {
							t.Errorf("blocked for %v", d)
						}
						return
					case form == "nothing":
						if d := time.Until(blocked); d > 2*time.Minute || d < 117*time.Second {
							t.Errorf("blocked for %v", d)
						}
						end = blocked
					}
					time.Sleep(time.Until(end) - time.Millisecond)
					synctest.Wait()
					if n := requests(h.srv, "") - before; n != 0 {
						t.Errorf("%d requests during the ban", n)
					}
					time.Sleep(5 * time.Second)
					synctest.Wait()
					if n := requests(h.srv, "") - before; n == 0 {
						t.Error("no request within 5 s of the end")
					}
					h.ready()
					h.live(h.srv.Listed()...)
					h.wellBehaved()
				})
			})
		}
	}
}

// Where the exchange does not say when a ban ends, each refusal after another doubles the wait, also after a success.
func TestRepeatedBansBackOff(t *testing.T) {
	client := binance.Config{Budget: newBudget(t, binance.BudgetConfig{Concurrent: 1})}
	server := exchange(1)
	server.Symbols[0].Rate = 3
	bubble(t, setup{server: server, client: client, depth: binance.DepthConfig{PollEvery: -1}}, func(t *testing.T, h *harness) {
		h.ready()
		if err := h.srv.Ban(20*time.Minute, "nothing"); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		h.srv.DropDepth(victim, 1)
		time.Sleep(31 * time.Minute)
		h.live(victim)
		if err := h.srv.Ban(time.Minute, "nothing"); err != nil {
			t.Fatal(err)
		}
		h.srv.DropDepth(victim, 1)
		time.Sleep(33 * time.Minute)
		h.live(victim)
		var waits []time.Duration
		for _, i := range infos[binance.ThrottleInfo](h) {
			if wait := i.Until.Sub(start).Truncate(time.Minute); i.Status == http.StatusTeapot && i.Weight == 0 {
				waits, start = append(waits, wait), i.Until
			}
		}
		if !slices.Equal(waits, []time.Duration{2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 33 * time.Minute}) {
			t.Errorf("waits: %v", waits) // the last one began a minute later
		}
	})
}

// A futures diff without pu does not say what it follows: it is an error with a Gap, not an overlap.
func TestFuturesDiffWithoutPredecessor(t *testing.T) {
	server := exchange(2)
	server.Market = marketprism.USDM
	bubble(t, setup{server: server}, func(t *testing.T, h *harness) {
		h.ready()
		book, err := h.srv.Book(victim)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now().UnixMilli()
		h.srv.SendRaw(fmt.Sprintf(`{"stream":"t0000usdt@depth@100ms","data":{"e":"depthUpdate","E":%d,"T":%d,"s":"T0000USDT","U":%d,"u":%d,"b":[["1.00","7"]],"a":[]}}`,
			now, now, book.LastID+1, book.LastID+1))
		time.Sleep(time.Second)
		h.ready()
		h.live(h.srv.Listed()...)
		var undecoded *binance.DecodeError
		if bad := infos[binance.DecodeInfo](h); len(bad) != 1 || !errors.As(bad[0].Err, &undecoded) || undecoded.Kind != "missing" {
			t.Errorf("DecodeFailed hook: %+v", bad)
		}
		if gaps := h.at(victim).gaps; len(gaps) != 1 || gaps[0].Reason != orderbook.GapInvalid {
			t.Errorf("gaps: %v", gaps)
		}
	})
}

// refusedAt returns when the first snapshot request after start was refused with a wait.
func (h *harness) refusedAt(start time.Time) time.Time {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		var refused *binance.APIError
		if i, ok := e.info.(binance.SnapshotInfo); ok && e.at.After(start) && errors.As(i.Err, &refused) && refused.RetryAfter > 0 {
			return e.at
		}
	}
	h.t.Fatal("no request was refused")
	return time.Time{}
}

func TestRequestWeightIsNeverExceeded(t *testing.T) {
	// 200 snapshots of weight 50 take two minutes' worth.
	server := exchange(200)
	for i := range server.Symbols {
		server.Symbols[i].Levels, server.Symbols[i].Rate = 20, 5
	}
	bubble(t, setup{server: server, depth: binance.DepthConfig{FirstLimit: 1000}}, func(t *testing.T, h *harness) {
		start := time.Now()
		h.ready()
		if d := time.Since(start); d < time.Minute || d > 70*time.Second {
			t.Errorf("synced after %v", d)
		}
		if usage := h.client.Usage(); usage.Used != h.srv.Stats().WeightUsed || usage.Limit != 6000 {
			t.Errorf("usage %+v, the exchange counts %d", usage, h.srv.Stats().WeightUsed)
		}
		h.wellBehaved()
	})
}

func TestHTMLErrorIsAnAPIErrorAndRetried(t *testing.T) {
	bubble(t, setup{server: exchange(1)}, func(t *testing.T, h *harness) {
		h.ready()
		h.srv.RejectREST(2, http.StatusForbidden, 0)
		h.srv.DropDepth(victim, 1)
		h.live(victim)
		var refused []*binance.APIError
		for _, i := range infos[binance.SnapshotInfo](h) {
			var e *binance.APIError
			if errors.As(i.Err, &e) {
				refused = append(refused, e)
			}
		}
		if len(refused) != 2 || refused[0].Status != 403 || refused[0].Code != 0 ||
			refused[0].Message == "" || strings.ContainsAny(refused[0].Message, "<>") || len(refused[0].Message) > 300 {
			t.Errorf("refused: %+v", refused)
		}
	})
}

func TestMalformedFrameResyncsItsBook(t *testing.T) {
	bubble(t, setup{server: exchange(3)}, func(t *testing.T, h *harness) {
		h.ready()
		h.srv.SendRaw(`no JSON at all`)
		h.srv.SendRaw(`{"stream":"t0000usdt@depth@100ms","data":{"e":"depthUpdate","E":1,"s":"T0000USDT","U":1,"u":2,"b":[["1.123456789","1"]],"a":[]}}`)
		h.srv.SendRaw(`{"stream":"t0001usdt@kline_1m","data":{"e":"kline","E":1}}`)
		h.srv.SendRaw(`{"stream":"zzz@depth@100ms","data":{"e":"depthUpdate","E":1,"s":"ZZZ","U":1,"u":2,"b":[],"a":[]}}`)
		h.live(h.srv.Listed()...)
		h.onlyGap(victim, orderbook.GapInvalid)
		if gap := h.at(victim).gaps[0]; !errors.Is(gap.Err, orderbook.ErrPrecision) {
			t.Errorf("Gap: %+v", gap)
		}
		failed := infos[binance.DecodeInfo](h)
		var de *binance.DecodeError
		if len(failed) != 2 || !errors.As(failed[1].Err, &de) || de.Stream != "t0000usdt@depth@100ms" || !errors.Is(de, orderbook.ErrPrecision) {
			t.Errorf("DecodeFailed hook: %+v", failed)
		}
		if s := h.syncer.Stats(); s.Undecoded != 2 || s.Unknown != 2 || s.Connects != 1 {
			t.Errorf("stats: %+v", s)
		}
	})
}

func TestSubscriptionThatIsNotAcknowledged(t *testing.T) {
	var h *harness
	client := binance.Config{Hooks: &binance.Hooks{ConnectDone: func(i binance.ConnectInfo) {
		if i.Attempt == 1 {
			h.srv.Silence()
		}
	}}}
	s := setup{server: exchange(1), client: client, before: func(made *harness) { h = made }}
	bubble(t, s, func(t *testing.T, h *harness) {
		h.ready()
		down := infos[binance.DisconnectInfo](h)
		if len(down) != 1 || !errors.Is(down[0].Err, binance.ErrNoAck) || down[0].Uptime != 10*time.Second {
			t.Errorf("Disconnected hook: %+v", down)
		}
	})
}

func TestSubscriptionThatIsRefused(t *testing.T) {
	bubble(t, setup{server: exchange(1)}, func(t *testing.T, h *harness) {
		h.ready()
		h.srv.SendRaw(`{"error":{"code":2,"msg":"Invalid request: too many parameters"},"id":1}`)
		h.live(victim)
		down := infos[binance.DisconnectInfo](h)
		var refused *binance.SubscribeError
		if len(down) != 1 || !errors.As(down[0].Err, &refused) || !strings.Contains(refused.Error(), "too many parameters") {
			t.Errorf("Disconnected hook: %+v", down)
		}
	})
}

func TestSlowHandlerNeverStallsPings(t *testing.T) {
	depth := binance.DepthConfig{QueueFrames: 16}
	bubble(t, setup{server: exchange(3), depth: depth}, func(t *testing.T, h *harness) {
		h.ready()
		h.mu.Lock()
		h.block = make(chan struct{})
		h.mu.Unlock()
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if s := h.srv.Stats(); s.Connections != 1 || s.PongTimeouts != 0 || s.SlowConsumers != 0 {
			t.Errorf("the exchange lost us: %+v", s)
		}
		// A View does not wait for the handler.
		if err := h.syncer.View(victim, func(*orderbook.Book, binance.Status) {}); err != nil {
			t.Error(err)
		}
		h.mu.Lock()
		close(h.block)
		h.block = nil
		h.mu.Unlock()

		h.live(h.srv.Listed()...)
		for _, s := range h.srv.Listed() {
			if gaps := h.at(s).gaps; len(gaps) != 1 || gaps[0].Reason != orderbook.GapOverflow {
				t.Errorf("%s had the gaps %v", s, gaps)
			}
		}
		stats := h.syncer.Stats()
		var reported uint64
		for _, i := range infos[binance.DropInfo](h) {
			reported += i.Frames
		}
		if stats.Dropped == 0 || reported != stats.Dropped || stats.Connects != 1 {
			t.Errorf("%d frames reported as dropped, stats: %+v", reported, stats)
		}
		h.wellBehaved()
	})
}

func TestManySymbolsAreSpreadOverConnections(t *testing.T) {
	short.SkipWhole(t)
	server := binancetest.Config{Symbols: binancetest.Symbols(names(1100)...)}
	for i := range server.Symbols {
		server.Symbols[i].Levels, server.Symbols[i].Rate = 5, 0.5
	}
	bubble(t, setup{server: server, depth: binance.DepthConfig{SnapshotLimit: 100}}, func(t *testing.T, h *harness) {
		h.ready()
		conns := h.srv.Connections()
		if len(conns) != 2 || len(conns[0].Streams) != 550 || len(conns[1].Streams) != 550 {
			t.Errorf("%d connections", len(conns))
		}
		time.Sleep(time.Minute)
		if s := h.syncer.Stats(); s.Gaps != 0 || s.Snapshots != 1100 {
			t.Errorf("stats: %+v", s)
		}
		h.wellBehaved()
	})
}
