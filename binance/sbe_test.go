package binance_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

// sbe returns a setup on the binary streams, with diffs at the exchange's interval.
func sbe(symbols int) setup {
	server := exchange(symbols)
	server.Tick = 20 * time.Millisecond
	return setup{
		server: server, client: binance.Config{SBE: true, APIKey: "key"},
		depth: binance.DepthConfig{Trades: true, Tickers: true, ReconnectMin: 20 * time.Second},
	}
}

// Books, trades and tickers of the binary streams equal those of the exchange at every update id.
func TestSBE(t *testing.T) {
	bubble(t, sbe(3), func(t *testing.T, h *harness) {
		h.ready()
		time.Sleep(10 * time.Second)
		if _, err := h.srv.TradeFills(victim, orderbook.One, true, orderbook.One, 2*orderbook.One, 3*orderbook.One); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		h.inOrder()
		h.mu.Lock()
		defer h.mu.Unlock()
		if b := h.books[victim]; len(b.gaps) > 0 || b.updates < 100 || h.trades < 10 || h.ticks < 100 {
			t.Errorf("%d gaps, %d updates, %d trades, %d tickers", len(b.gaps), b.updates, h.trades, h.ticks)
		}
		if s := h.syncer.Stats(); s.Undecoded+s.Unknown+s.TradeGaps > 0 {
			t.Errorf("%d undecoded, %d unknown, %d gaps of trades", s.Undecoded, s.Unknown, s.TradeGaps)
		}
	})
}

// F37: additions of a newer schema version are skipped, each message has its own exponents, and a message that is cut
// short is a visible gap of its book.
func TestSBEFaults(t *testing.T) {
	short.SkipWhole(t)
	bubble(t, sbe(2), func(t *testing.T, h *harness) {
		h.ready()
		h.srv.LengthenSBE(true)
		time.Sleep(2 * time.Second)
		h.srv.VarySBEExponents(true)
		time.Sleep(2 * time.Second)
		h.srv.LengthenSBE(false)
		h.srv.UnknownSBE(20)
		time.Sleep(2 * time.Second)
		empty, many := []orderbook.Level(nil), make([]orderbook.Level, 30_000)
		for i := range many {
			many[i] = orderbook.Level{Price: orderbook.Fixed(i+1) * orderbook.One / 100_000, Quantity: orderbook.One}
		}
		for _, side := range [][]orderbook.Level{empty, many} {
			if _, err := h.srv.Apply(victim, side, nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		h.inOrder()
		h.mu.Lock()
		for symbol, b := range h.books {
			if len(b.gaps) > 0 {
				t.Errorf("%s: %v", symbol, b.gaps)
			}
		}
		h.mu.Unlock()
		if s := h.syncer.Stats(); s.Undecoded > 0 || s.Unknown != 20 {
			t.Errorf("%d undecoded, %d unknown", s.Undecoded, s.Unknown)
		}

		h.srv.TruncateSBE(40)
		time.Sleep(2 * time.Second)
		h.live(h.srv.Listed()...)
		h.inOrder()
		if s := h.syncer.Stats(); s.Undecoded != 40 || s.Gaps == 0 {
			t.Errorf("%d undecoded, %d gaps", s.Undecoded, s.Gaps)
		}
		reported := 0
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, n := range h.events {
			var undecoded *binance.DecodeError
			if i, ok := n.info.(binance.DecodeInfo); ok && errors.As(i.Err, &undecoded) && undecoded.Kind == "truncated" {
				reported++
			}
		}
		if reported != 40 {
			t.Errorf("%d of 40 were reported", reported)
		}
	})
}

func TestSBERefuses(t *testing.T) {
	recorder, err := binance.NewRecorder(binance.RecorderConfig{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for want, cfg := range map[string]binance.Config{
		"usdm has JSON only": {SBE: true, APIKey: "key", Market: marketprism.USDM},
		"without an APIKey":  {SBE: true},
		"with a Recorder":    {SBE: true, APIKey: "key", Recorder: recorder},
	} {
		if _, err := binance.NewClient(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	client, err := binance.NewClient(binance.Config{SBE: true, APIKey: "key"})
	if err != nil {
		t.Fatal(err)
	}
	for want, cfg := range map[string]binance.DepthConfig{
		"AggTrades":       {AggTrades: true},
		"spot has [20ms]": {Interval: 100 * time.Millisecond},
	} {
		cfg.Symbols = []string{victim}
		if _, err := binance.NewDepthSyncer(client, cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
