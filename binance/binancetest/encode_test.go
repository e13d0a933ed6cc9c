package binancetest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/orderbook"
)

func TestSpotShapes(t *testing.T) {
	s := newServer(t, manual(t))
	c := dial(t, s, "/stream?streams=btcusdt@depth@100ms/btcusdt@bookTicker/btcusdt@trade/btcusdt@aggTrade")
	apply(t, s, "BTCUSDT", levels(t, "10 2, 9 3"), levels(t, "11 0, 12.5 1"))
	if _, err := s.Trade("BTCUSDT", fixed(t, "11"), fixed(t, "3"), false); err != nil {
		t.Fatal(err)
	}
	s.Tick()
	for _, want := range []string{
		`{"stream":"btcusdt@bookTicker","data":{"u":101,"s":"BTCUSDT","b":"10.00000000","B":"2.00000000","a":"12.00000000","A":"4.00000000"}}`,
		`{"stream":"btcusdt@trade","data":{"e":"trade","E":#,"s":"BTCUSDT","t":1,"p":"11.00000000","q":"3.00000000","T":#,"m":false,"M":true}}`,
		`{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":#,"s":"BTCUSDT","a":1,"p":"11.00000000","q":"3.00000000","f":1,"l":1,"T":#,"m":false,"M":true}}`,
		`{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":#,"s":"BTCUSDT","U":101,"u":101,` +
			`"b":[["10.00000000","2.00000000"],["9.00000000","3.00000000"]],"a":[["11.00000000","0.00000000"],["12.50000000","1.00000000"]]}}`,
	} {
		equal(t, "frame", withoutTimes(c.text()), want)
	}
	equal(t, "snapshot", get(t, s, "/api/v3/depth?symbol=BTCUSDT&limit=2").body,
		`{"lastUpdateId":101,"bids":[["10.00000000","2.00000000"],["9.50000000","2.00000000"]],"asks":[["12.00000000","4.00000000"],["12.50000000","1.00000000"]]}`)
}

// withoutTimes replaces the 13 digits of a time by #.
func withoutTimes(frame string) string {
	for _, key := range []string{`"E":`, `"T":`} {
		if before, after, ok := strings.Cut(frame, key); ok && len(after) > 13 && after[0] >= '0' && after[0] <= '9' {
			frame = before + key + "#" + strings.TrimLeft(after, "0123456789")
		}
	}
	return frame
}

func TestFuturesShapes(t *testing.T) {
	for _, tc := range []struct {
		market            marketprism.Market
		name, pair        string
		rest, url, trades string
		instrument        int
	}{
		{marketprism.USDM, "BTCUSDT", "BTCUSDT", "/fapi/v1", "/public/ws", "/market/ws", 1},
		{marketprism.COINM, "BTCUSD_PERP", "BTCUSD", "/dapi/v1", "/ws", "/ws", 2},
	} {
		t.Run(string(tc.market), func(t *testing.T) {
			s := newServer(t, binancetest.Config{Market: tc.market, Tick: -1, Symbols: []binancetest.Symbol{
				{Name: tc.name, TickSize: fixed(t, "0.1"), StepSize: orderbook.One, Bids: levels(t, "10 1"), Asks: levels(t, "11 3")},
				{Name: "OTHERUSDT", TickSize: fixed(t, "0.1"), StepSize: orderbook.One, Levels: -1},
			}})
			stream := "/" + lower(tc.name) + "@"
			c := dial(t, s, tc.url+stream+"depth@100ms")
			tickers := dial(t, s, tc.url+stream+"bookTicker")
			aggregates := dial(t, s, tc.trades+stream+"aggTrade")
			first := apply(t, s, tc.name, levels(t, "9 4, 10 2"), nil)
			apply(t, s, "OTHERUSDT", levels(t, "9 4"), nil)
			last := apply(t, s, tc.name, levels(t, "9.55 7"), nil)
			s.Tick()
			e := c.next()
			equal(t, "U", e.First, first)
			equal(t, "u", e.Last, last)
			equal(t, "pu", *e.Prev, 1_000_000)
			if first <= 1_000_001 || last <= first+1 {
				t.Errorf("ids %d, %d: they should jump, and count the other symbol's", first, last)
			}
			equal(t, "pair", e.Pair, tc.pair)
			equal(t, "instrument type", e.Instrument, tc.instrument)
			equal(t, "bids, by rising price, in the symbol's decimals or more", fmt.Sprint(e.Bids), "[[9.0 4] [9.55 7] [10.0 2]]")
			if e.Engine == 0 || e.Time < e.Engine {
				t.Errorf("E %d, T %d", e.Time, e.Engine)
			}

			next := apply(t, s, tc.name, levels(t, "9 0"), nil)
			s.Tick()
			e = c.next()
			equal(t, "U", e.First, next)
			equal(t, "pu", *e.Prev, last)

			pair := fmt.Sprintf(`"ps":"%s",`, tc.pair)
			equal(t, "ticker", withoutTimes(tickers.text()), fmt.Sprintf(
				`{"e":"bookTicker","u":%d,"s":"%s","b":"10.0","B":"2","a":"11.0","A":"3","T":#,"E":#,%s"st":%d}`, first, tc.name, pair, tc.instrument))

			if _, err := s.Trade(tc.name, fixed(t, "11"), orderbook.One, true); err != nil {
				t.Fatal(err)
			}
			nq := ""
			if tc.market == marketprism.USDM {
				nq = `"nq":"1",`
			}
			equal(t, "aggTrade", withoutTimes(aggregates.text()), fmt.Sprintf(
				`{"e":"aggTrade","E":#,"s":"%s","a":1,"p":"11.0","q":"1",%s"f":1,"l":1,"T":#,"m":true,"st":%d}`, tc.name, nq, tc.instrument))

			snap := getSnapshot(t, s, tc.rest+"/depth?symbol="+tc.name+"&limit=5")
			equal(t, "snapshot id", snap.ID, next)
			equal(t, "bids, best first", fmt.Sprint(snap.Bids), "[[10.0 2] [9.55 7]]")
			equal(t, "snapshot names its symbol", snap.Symbol != "", tc.market == marketprism.COINM)
			if snap.Time == 0 || snap.Engine == 0 {
				t.Error("futures snapshots have times")
			}
			equal(t, "a limit that is not in the table", get(t, s, tc.rest+"/depth?symbol="+tc.name+"&limit=7").status, http.StatusBadRequest)
		})
	}
}

func lower(s string) string { return strings.ToLower(s) }

// TestUSDMRoutes is F33: a stream of the wrong route is acknowledged and silent.
func TestUSDMRoutes(t *testing.T) {
	s := newServer(t, binancetest.Config{Market: marketprism.USDM, Tick: -1, Symbols: binancetest.Symbols("BTCUSDT")})
	for path, hears := range map[string][]string{
		"/public/ws": {"depthUpdate", "depthUpdate", "trade"}, "/market/ws": {"aggTrade"}, "/private/ws": {}, "/ws": {"depthUpdate", "depthUpdate", "trade"},
	} {
		c := dial(t, s, path)
		equal(t, path+" ack", c.ask(`{"method":"SUBSCRIBE","params":["btcusdt@depth","btcusdt@rpiDepth@500ms","btcusdt@trade","btcusdt@aggTrade"],"id":1}`), `{"result":null,"id":1}`)
		apply(t, s, "BTCUSDT", levels(t, "1 1"), nil)
		for range 5 {
			s.Tick()
		}
		if _, err := s.Trade("BTCUSDT", 1, 1, true); err != nil {
			t.Fatal(err)
		}
		s.SendRaw(`{"e":"end"}`)
		var got []string
		for e := c.text(); e != `{"e":"end"}`; e = c.text() {
			for _, kind := range []string{"depthUpdate", "trade", "aggTrade"} {
				if strings.HasPrefix(e, `{"e":"`+kind+`"`) {
					got = append(got, kind)
				}
			}
		}
		equal(t, path, fmt.Sprint(got), fmt.Sprint(hears))
	}
}

// TestMicroseconds: timeUnit applies to one connection.
func TestMicroseconds(t *testing.T) {
	s := newServer(t, manual(t))
	micros := dial(t, s, "/ws/btcusdt@depth@100ms?timeUnit=MICROSECOND")
	millis := dial(t, s, "/ws/btcusdt@depth@100ms")
	apply(t, s, "BTCUSDT", nil, nil)
	s.Tick()
	equal(t, "E", micros.next().Time/1000, millis.next().Time)
}

// TestNonASCIISymbol is F26.
func TestNonASCIISymbol(t *testing.T) {
	s := newServer(t, binancetest.Config{Tick: -1, Symbols: binancetest.Symbols("这是测试币456")})
	c := dial(t, s, "/stream?streams=%E8%BF%99%E6%98%AF%E6%B5%8B%E8%AF%95%E5%B8%81456@depth@100ms")
	raw := dial(t, s, "/ws/%E8%BF%99%E6%98%AF%E6%B5%8B%E8%AF%95%E5%B8%81456@depth@100ms")
	apply(t, s, "这是测试币456", nil, nil)
	s.Tick()
	if got := c.text(); !strings.HasPrefix(got, `{"stream":"这是测试币456@depth@100ms","data":{"e":"depthUpdate"`) {
		t.Error(got)
	}
	equal(t, "symbol", raw.next().Symbol, "这是测试币456")
	equal(t, "snapshot", getSnapshot(t, s, "/api/v3/depth?symbol=%E8%BF%99%E6%98%AF%E6%B5%8B%E8%AF%95%E5%B8%81456").ID, 1_000_001)
}
