package binance_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/orderbook"
)

func TestTopEqualsTheBook(t *testing.T) {
	bubble(t, setup{server: exchange(3), depth: binance.DepthConfig{TopLevels: 20}}, func(t *testing.T, h *harness) {
		h.ready()
		kept, err := h.syncer.Top(victim)
		if err != nil {
			t.Fatal(err)
		}
		bids, asks, id := slices.Clone(kept.Bids), slices.Clone(kept.Asks), kept.LastID
		for range 20 {
			time.Sleep(250 * time.Millisecond)
			synctest.Wait()
			top, err := h.syncer.Top(victim)
			if err != nil {
				t.Fatal(err)
			}
			err = h.syncer.View(victim, func(b *orderbook.Book, s binance.Status) {
				if top.State != orderbook.Synced || top.LastID != b.LastID() || !top.UpdatedAt.Equal(s.UpdatedAt) || time.Since(top.UpdatedAt) > time.Second ||
					!slices.Equal(top.Bids, b.AppendBids(nil, 20)) || !slices.Equal(top.Asks, b.AppendAsks(nil, 20)) {
					t.Errorf("top at %d, book at %d", top.LastID, b.LastID())
				}
			})
			if err != nil {
				t.Error(err)
			}
		}
		if now, _ := h.syncer.Top(victim); now.LastID == id || kept.LastID != id || !slices.Equal(kept.Bids, bids) || !slices.Equal(kept.Asks, asks) {
			t.Error("a kept top has changed, or no new one came")
		}
		h.srv.Silence()
		h.srv.Disconnect(0, "")
		synctest.Wait()
		if top, _ := h.syncer.Top(victim); top.State != orderbook.Offline || top.Bids != nil || top.Asks != nil {
			t.Errorf("top of a book that is not synced: %+v", top)
		}
		if _, err := h.syncer.Top("NOPE"); !errors.Is(err, binance.ErrUnknownSymbol) {
			t.Errorf("err = %v", err)
		}
	})
}

func TestWatchKeepsTheLatestOnly(t *testing.T) {
	var slow <-chan *binance.Top
	var stop context.CancelFunc
	before := func(h *harness) {
		var ctx context.Context
		ctx, stop = context.WithCancel(context.Background())
		var err error
		if slow, err = h.syncer.Watch(ctx, victim); err != nil {
			t.Fatal(err)
		}
		if top := <-slow; top.State != orderbook.Offline {
			t.Errorf("before Run: %+v", top)
		}
	}
	bubble(t, setup{server: exchange(1), depth: binance.DepthConfig{TopLevels: 5}, before: before}, func(t *testing.T, h *harness) {
		h.ready()
		for range 10 {
			time.Sleep(3*time.Second + 50*time.Millisecond)
			synctest.Wait()
			now, _ := h.syncer.Top(victim)
			if top := <-slow; top != now {
				t.Errorf("the slow reader got id %d, the book is at %d", top.LastID, now.LastID)
			}
		}
		h.srv.Disconnect(0, "")
		synctest.Wait()
		if top := <-slow; top.State != orderbook.Offline {
			t.Errorf("the end of the connection was missed: %+v", top)
		}
		other, err := h.syncer.Watch(t.Context(), victim)
		if err != nil {
			t.Fatal(err)
		}
		h.ready()
		synctest.Wait()
		stop()
		synctest.Wait()
		<-slow // the value it held
		if _, open := <-slow; open {
			t.Error("the channel is open after the end of its context")
		}
		h.live(victim)
		if top := <-other; top.State != orderbook.Synced || len(top.Bids) != 5 {
			t.Errorf("the other watcher got %+v", top)
		}
	})
}

func TestTopsAreOff(t *testing.T) {
	bubble(t, setup{server: exchange(1)}, func(t *testing.T, h *harness) {
		if _, err := h.syncer.Top(victim); !errors.Is(err, binance.ErrNoTop) {
			t.Errorf("err = %v", err)
		}
		if _, err := h.syncer.Watch(t.Context(), victim); !errors.Is(err, binance.ErrNoTop) {
			t.Errorf("err = %v", err)
		}
	})
}
