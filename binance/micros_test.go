package binance_test

import (
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
)

// With Microseconds every event has its microseconds. Trades that come twice, or that REST has by the
// millisecond, are still emitted once.
func TestMicroseconds(t *testing.T) {
	for _, micros := range []bool{false, true} {
		depth := binance.DepthConfig{Trades: true, Tickers: true, ReconnectMin: 20 * time.Second}
		finer := 0
		s := setup{server: exchange(2), client: binance.Config{Microseconds: micros}, depth: depth, before: func(h *harness) {
			// Off the millisecond.
			h.srv.SetClock(456 * time.Microsecond)
			h.each = func(rec *marketprism.Record) {
				if rec.Update != nil && rec.EventTime.Nanosecond()/1000%1000 == 456 {
					finer++
				}
				if rec.Update != nil && !rec.EventTime.Equal(rec.Update.EventTime) {
					t.Errorf("the record's time %v is not the update's %v", rec.EventTime, rec.Update.EventTime)
				}
			}
		}}
		bubble(t, s, func(t *testing.T, h *harness) {
			h.ready()
			h.srv.DropTrades(victim, 2)
			time.Sleep(5 * time.Second)
			away(h)
			h.live(h.srv.Listed()...)
			h.inOrder()
			h.srv.DuplicateTrades(victim, 2)
			time.Sleep(5 * time.Second)
			h.inOrder()
			h.mu.Lock()
			defer h.mu.Unlock()
			if (finer > 0) != micros {
				t.Errorf("Microseconds %v: %d updates with microseconds", micros, finer)
			}
		})
	}
	srv, err := binancetest.New(exchange(1))
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	srv.SetClock(456 * time.Microsecond)
	stream, err := dial(t, srv, binance.Config{Microseconds: true}).Dial(t.Context(), binance.StreamName(victim, "@depth@100ms"))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if _, err := srv.Apply(victim, nil, nil); err != nil {
		t.Fatal(err)
	}
	frame, _, err := stream.Read(nil)
	if text := string(frame); err != nil || len(text[strings.Index(text, `"E":`):strings.Index(text, `,"s"`)]) != len(`"E":1770000000000000`) {
		t.Errorf("streams in the URL: %s, %v", frame, err)
	}

	for _, market := range []marketprism.Market{marketprism.USDM, marketprism.COINM} {
		if _, err := binance.NewClient(binance.Config{Market: market, Microseconds: true}); err == nil || !strings.Contains(err.Error(), "milliseconds only") {
			t.Errorf("%s: %v", market, err)
		}
	}
}
