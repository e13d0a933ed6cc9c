package binancetest_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/orderbook"
)

// TestUnknownFieldsAndEvents is F24.
func TestUnknownFieldsAndEvents(t *testing.T) {
	s := newServer(t, manual(t))
	raw, combined := dial(t, s, "/ws/btcusdt@depth@100ms"), dial(t, s, "/stream?streams=btcusdt@depth@100ms")
	s.ExtraFields(true)
	interval(t, s)
	for _, c := range []*client{raw, combined} {
		text := c.text()
		fields := decodeLoosely[map[string]any](t, text)
		if c == combined {
			fields = fields["data"].(map[string]any)
		}
		equal(t, "known", fields["u"].(float64), 101)
		if fields["zz"] == nil {
			t.Error(text)
		}
	}
	s.ExtraFields(false)
	must(t, s.SendEvent("btcusdt@depth@100ms", `{"e":"newest","x":1}`))
	equal(t, "raw", raw.text(), `{"e":"newest","x":1}`)
	equal(t, "combined", combined.text(), `{"stream":"btcusdt@depth@100ms","data":{"e":"newest","x":1}}`)
	for _, wrong := range []string{"", "null", "[]", "{"} {
		if err := s.SendEvent("x", wrong); !errors.Is(err, binancetest.ErrConfig) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

// TestSetSteps is F29: futures write prices with more decimals from one event to the next.
func TestSetSteps(t *testing.T) {
	s := newServer(t, binancetest.Config{Market: marketprism.COINM, Tick: -1, Symbols: []binancetest.Symbol{
		{Name: "BTCUSD_PERP", TickSize: fixed(t, "0.1"), StepSize: orderbook.One, Bids: levels(t, "10 1")},
	}})
	c := dial(t, s, "/ws/btcusd_perp@depth@100ms")
	change := func() string {
		apply(t, s, "BTCUSD_PERP", levels(t, "9.5 2"), nil)
		s.Tick()
		return fmt.Sprint(decodeLoosely[event](t, c.text()).Bids)
	}
	equal(t, "before", change(), "[[9.5 2]]")
	must(t, s.SetSteps("BTCUSD_PERP", fixed(t, "0.001"), fixed(t, "0.1")))
	equal(t, "after", change(), "[[9.500 2.0]]")
	info := get(t, s, "/dapi/v1/exchangeInfo").body
	if !strings.Contains(info, `"tickSize":"0.001"`) || !strings.Contains(info, `"pricePrecision":3`) {
		t.Error(info)
	}
	if err := s.SetSteps("BTCUSD_PERP", 0, 1); !errors.Is(err, binancetest.ErrConfig) {
		t.Error(err)
	}
}

// TestThirdElements is F32.
func TestThirdElements(t *testing.T) {
	s := newServer(t, manual(t))
	c := dial(t, s, "/ws/btcusdt@depth@100ms")
	s.ThirdElements(true)
	apply(t, s, "BTCUSDT", levels(t, "9 1"), nil)
	s.Tick()
	if text := c.text(); !strings.Contains(text, `"b":[["9.00000000","1.00000000",[]]]`) {
		t.Error(text)
	}
	if body := get(t, s, "/api/v3/depth?symbol=BTCUSDT&limit=1").body; !strings.Contains(body, `"asks":[["11.00000000","3.00000000",[]]]`) {
		t.Error(body)
	}
	s.Calm()
	equal(t, "calm", len(getSnapshot(t, s, "/api/v3/depth?symbol=BTCUSDT").Bids), 3)
}

// TestAllMarketStreams is F35: a stream of all symbols tells of this market's, and of the other's when it
// is made to.
func TestAllMarketStreams(t *testing.T) {
	s := newServer(t, binancetest.Config{Market: marketprism.USDM, Symbols: binancetest.Symbols("BTCUSDT")})
	c, quotes := dial(t, s, "/market/ws/!contractInfo"), dial(t, s, "/public/ws/!bookTicker")
	must(t, s.SetStatus("BTCUSDT", "TRADING_HALT"))
	must(t, s.SendEvent("!contractInfo", `{"e":"contractInfo","s":"BTCUSD_PERP","st":2}`))
	must(t, s.SendEvent("!bookTicker", `{"e":"bookTicker","s":"BTCUSD_PERP","st":2}`))
	type contract struct {
		Type, Symbol, Pair, Status string
		Instrument                 int
	}
	read := func(c *client) contract {
		f := decodeLoosely[map[string]any](t, c.text())
		v := contract{Type: f["e"].(string), Symbol: f["s"].(string), Instrument: int(f["st"].(float64))}
		v.Pair, _ = f["ps"].(string)
		v.Status, _ = f["cs"].(string)
		return v
	}
	equal(t, "this market's", read(c), contract{"contractInfo", "BTCUSDT", "BTCUSDT", "TRADING_HALT", 1})
	equal(t, "the other's", read(c), contract{"contractInfo", "BTCUSD_PERP", "", "", 2})
	equal(t, "on its route", read(quotes).Type, "bookTicker")
}

// TestSetClock is F40: event times jump, and go backwards.
func TestSetClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, inMemory("BTCUSDT"))
		c := dial(t, s, "/ws/btcusdt@depth@100ms")
		for _, offset := range []time.Duration{0, time.Hour, -7 * time.Millisecond} {
			s.SetClock(offset)
			apply(t, s, "BTCUSDT", nil, nil)
			equal(t, "E", c.next().Time, time.Now().Add(offset).UnixMilli())
			equal(t, "server time", get(t, s, "/api/v3/time").body, fmt.Sprintf(`{"serverTime":%d}`, time.Now().Add(offset).UnixMilli()))
		}
		equal(t, "the limits keep to the real clock", s.Stats().WeightUsed, 3)
	})
}

// TestIgnorePings is F17: a client's pings without an answer.
func TestIgnorePings(t *testing.T) {
	s := newServer(t, manual(t))
	c := dial(t, s, "/ws")
	pongs := 0
	c.ws.SetPongHandler(func(string) error { pongs++; return nil })
	ping := func() {
		must(t, c.ws.WriteControl(websocket.PingMessage, nil, time.Time{}))
		c.ask(list)
	}
	s.IgnorePings(true)
	ping()
	equal(t, "pongs", pongs, 0)
	s.Calm()
	ping()
	equal(t, "pongs", pongs, 1)
}
