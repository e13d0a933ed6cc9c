package binancetest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
		"/public/ws": {"depthUpdate", "trade"}, "/market/ws": {"aggTrade"}, "/private/ws": {}, "/ws": {"depthUpdate", "trade"},
	} {
		c := dial(t, s, path)
		equal(t, path+" ack", c.ask(`{"method":"SUBSCRIBE","params":["btcusdt@depth@100ms","btcusdt@trade","btcusdt@aggTrade"],"id":1}`), `{"result":null,"id":1}`)
		apply(t, s, "BTCUSDT", levels(t, "1 1"), nil)
		s.Tick()
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

// TestGrid: depth events come at borders of a grid common to all symbols, merge what happened between
// them, and are not sent where nothing did.
func TestGrid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, inMemory("BTCUSDT", "ETHUSDT"))
		c := dial(t, s, "/ws/btcusdt@depth@100ms/ethusdt@depth@100ms")
		slow := dial(t, s, "/ws/btcusdt@depth")
		time.Sleep(30 * time.Millisecond)
		start := time.Now()
		apply(t, s, "BTCUSDT", levels(t, "1 1, 2 2"), nil)
		time.Sleep(40 * time.Millisecond)
		apply(t, s, "BTCUSDT", levels(t, "1 0, 3 3"), nil) // 1 came and went between two borders
		apply(t, s, "ETHUSDT", levels(t, "1 1"), nil)

		e := c.next()
		equal(t, "at the border", time.Since(start), 70*time.Millisecond)
		equal(t, "E", e.Time, time.Now().UnixMilli())
		equal(t, "U", e.First, 1_000_001)
		equal(t, "u", e.Last, 1_000_002)
		equal(t, "bids", fmt.Sprint(e.Bids), "[[3.00000000 3.00000000] [2.00000000 2.00000000] [1.00000000 0.00000000]]")
		e = c.next()
		equal(t, "symbol at the same border", e.Symbol, "ETHUSDT")
		equal(t, "at the same border", time.Since(start), 70*time.Millisecond)

		time.Sleep(330 * time.Millisecond)
		apply(t, s, "BTCUSDT", nil, nil)
		e = c.next()
		equal(t, "silence is not broken", time.Since(start), 470*time.Millisecond)
		equal(t, "U follows", e.First, 1_000_003)
		equal(t, "empty event", len(e.Bids)+len(e.Asks), 0)

		e = slow.next()
		equal(t, "one second stream", time.Since(start), 970*time.Millisecond)
		equal(t, "U of one second", e.First, 1_000_001)
		equal(t, "u of one second", e.Last, 1_000_003)
		equal(t, "levels of one second", len(e.Bids), 3)
	})
}

// TestManualGrid: ten Ticks make one interval of the 1 s stream.
func TestManualGrid(t *testing.T) {
	s := newServer(t, manual(t))
	c := dial(t, s, "/ws/btcusdt@depth")
	for range 20 {
		apply(t, s, "BTCUSDT", levels(t, "1 1"), nil)
		s.Tick()
	}
	for _, want := range [][2]int64{{101, 110}, {111, 120}} {
		e := c.next()
		equal(t, "ids", [2]int64{e.First, e.Last}, want)
	}
}

func TestSnapshotsAreTakenAtBorders(t *testing.T) {
	for midBatch, want := range map[bool]int64{false: 101, true: 103} {
		cfg := manual(t)
		cfg.MidBatchSnapshots = midBatch
		s := newServer(t, cfg)
		apply(t, s, "BTCUSDT", levels(t, "10 2"), nil)
		s.Tick()
		apply(t, s, "BTCUSDT", levels(t, "10 3, 9 9"), nil)
		apply(t, s, "BTCUSDT", levels(t, "10 4"), nil)
		snap := getSnapshot(t, s, "/api/v3/depth?symbol=BTCUSDT")
		equal(t, "id", snap.ID, want)
		equal(t, "best bid", snap.Bids[0][1], map[bool]string{false: "2.00000000", true: "4.00000000"}[midBatch])
		equal(t, "bids", len(snap.Bids), map[bool]int{false: 2, true: 3}[midBatch])
	}
}

// TestMicroseconds: timeUnit is a matter of the connection.
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

func TestEmptySide(t *testing.T) {
	s := newServer(t, binancetest.Config{Tick: -1, Symbols: []binancetest.Symbol{{Name: "NEWUSDT", Levels: -1}}})
	c := dial(t, s, "/ws/newusdt@bookTicker")
	equal(t, "empty book", get(t, s, "/api/v3/depth?symbol=NEWUSDT").body, `{"lastUpdateId":1000000,"bids":[],"asks":[]}`)
	apply(t, s, "NEWUSDT", levels(t, "5 1"), nil)
	e := decode[tickerEvent](t, c.text())
	equal(t, "no ask", e.Ask+" "+e.AskQty, "0.00000000 0.00000000")
}
