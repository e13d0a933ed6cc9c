package binancetest_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/orderbook"
)

func trade(t *testing.T, s *binancetest.Server, price string, quantities ...string) int64 {
	t.Helper()
	list := make([]orderbook.Fixed, len(quantities))
	for i, q := range quantities {
		list[i] = fixed(t, q)
	}
	id, err := s.TradeFills("BTCUSDT", fixed(t, price), true, list...)
	must(t, err)
	return id
}

// ids requests rows and returns their ids, of trades or aggregates.
func ids(t *testing.T, s *binancetest.Server, path string) string {
	t.Helper()
	r := get(t, s, path)
	if r.status != http.StatusOK {
		t.Fatalf("%s: %d %s", path, r.status, r.body)
	}
	rows := decodeLoosely[[]struct {
		ID int64 `json:"id"`
		A  int64 `json:"a"`
	}](t, r.body)
	list := make([]int64, len(rows))
	for i, row := range rows {
		list[i] = row.ID + row.A
	}
	return fmt.Sprint(list)
}

// TestTradeShapes: a taker order with two fills, in the shapes of the three markets.
func TestTradeShapes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for market, want := range map[marketprism.Market][3]string{
			marketprism.Spot: {"/api/v3",
				`[{"id":1,"price":"4.00000000","qty":"2.50000000","quoteQty":"10.00000000","time":T,"isBuyerMaker":true,"isBestMatch":true},` +
					`{"id":2,"price":"4.00000000","qty":"1.00000000","quoteQty":"4.00000000","time":T,"isBuyerMaker":true,"isBestMatch":true}]`,
				`[{"a":1,"p":"4.00000000","q":"3.50000000","f":1,"l":2,"T":T,"m":true,"M":true}]`},
			marketprism.USDM: {"/fapi/v1",
				`[{"id":1,"price":"4.00","qty":"2.500","quoteQty":"10","time":T,"isBuyerMaker":true,"isRPITrade":false},` +
					`{"id":2,"price":"4.00","qty":"1.000","quoteQty":"4","time":T,"isBuyerMaker":true,"isRPITrade":false}]`,
				`[{"a":1,"p":"4.00","q":"3.500","f":1,"l":2,"T":T,"m":true,"nq":"3.500"}]`},
			marketprism.COINM: {"/dapi/v1",
				`[{"id":1,"price":"4.00","qty":"2.500","baseQty":"6.25","time":T,"isBuyerMaker":true},` +
					`{"id":2,"price":"4.00","qty":"1.000","baseQty":"2.5","time":T,"isBuyerMaker":true}]`,
				`[{"a":1,"p":"4.00","q":"3.500","f":1,"l":2,"T":T,"m":true}]`},
		} {
			cfg := inMemory("BTCUSDT")
			cfg.Market = market
			s := newServer(t, cfg)
			equal(t, "first id", trade(t, s, "4", "2.5", "1"), 1)
			now := fmt.Sprint(time.Now().UnixMilli())
			for i, path := range []string{"/trades", "/aggTrades"} {
				equal(t, string(market)+path, strings.ReplaceAll(get(t, s, want[0]+path+"?symbol=BTCUSDT").body, now, "T"), want[1+i])
			}
		}
	})
}

// TestTradePages: from an id, of a period, or the last ones; at most the limit, and only those kept.
func TestTradePages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := inMemory("BTCUSDT")
		cfg.TradeHistory = 9
		s := newServer(t, cfg)
		start := time.Now()
		for range 10 {
			trade(t, s, "4", "1", "2") // trades 1 and 2, 3 and 4, and so on
			time.Sleep(time.Second)
		}
		at := func(after time.Duration) int64 { return start.Add(after).UnixMilli() }
		for path, want := range map[string]string{
			"trades?symbol=BTCUSDT":                                                                               "[12 13 14 15 16 17 18 19 20]",
			"trades?symbol=BTCUSDT&limit=2":                                                                       "[19 20]",
			"historicalTrades?symbol=BTCUSDT&limit=2":                                                             "[19 20]",
			"historicalTrades?symbol=BTCUSDT&fromId=14":                                                           "[14 15 16 17 18 19 20]",
			"historicalTrades?symbol=BTCUSDT&fromId=0":                                                            "[12 13 14 15 16 17 18 19 20]",
			"historicalTrades?symbol=BTCUSDT&fromId=21":                                                           "[]",
			"historicalTrades?fromId=13&symbol=BTCUSDT&limit=3":                                                   "[13 14 15]",
			"aggTrades?symbol=BTCUSDT":                                                                            "[7 8 9 10]", // 6 has lost a trade
			"aggTrades?symbol=BTCUSDT&limit=1":                                                                    "[10]",
			"aggTrades?symbol=BTCUSDT&fromId=8&limit=2":                                                           "[8 9]",
			fmt.Sprintf("aggTrades?symbol=BTCUSDT&startTime=%d&limit=2", at(6*time.Second)):                       "[7 8]",
			fmt.Sprintf("aggTrades?symbol=BTCUSDT&endTime=%d", at(7*time.Second)):                                 "[7 8]",
			fmt.Sprintf("aggTrades?symbol=BTCUSDT&startTime=%d&endTime=%d", at(7*time.Second), at(8*time.Second)): "[8 9]",
		} {
			equal(t, path, ids(t, s, "/api/v3/"+path), want)
		}
		for path, code := range map[string]string{
			"trades":                                      "-1102",
			"trades?symbol=NONE":                          "-1121",
			"trades?symbol=BTCUSDT&fromId=1":              "-1104",
			"historicalTrades?symbol=BTCUSDT&fromId=x":    "-1100",
			"aggTrades?symbol=BTCUSDT&startTime=-1":       "-1100",
			"aggTrades?symbol=BTCUSDT&limit=0":            "-1130",
			"aggTrades?symbol=BTCUSDT&limit=x":            "-1100",
			"aggTrades?symbol=BTCUSDT&fromId=1&endTime=2": "-1128",
		} {
			r := get(t, s, "/api/v3/"+path)
			equal(t, path, fmt.Sprint(r.status, " ", decodeLoosely[struct{ Code int }](t, r.body).Code), "400 "+code)
		}
	})
}

func TestTradeWeights(t *testing.T) {
	for market, want := range map[marketprism.Market]string{
		marketprism.Spot: "/api/v3 25 25 4 1000 1000", marketprism.USDM: "/fapi/v1 5 20 20 1000 500", marketprism.COINM: "/dapi/v1 5 20 20 1000 500",
	} {
		synctest.Test(t, func(t *testing.T) {
			cfg := inMemory("BTCUSDT")
			cfg.Market, cfg.TradeHistory = market, 2000
			s := newServer(t, cfg)
			for range 1500 {
				trade(t, s, "1", "1")
			}
			prefix := want[:len("/api/v3")]
			if market != marketprism.Spot {
				prefix = want[:len("/fapi/v1")]
				equal(t, "without a key", get(t, s, prefix+"/historicalTrades?symbol=BTCUSDT").status, http.StatusUnauthorized)
			}
			got := prefix
			counts := ""
			for _, name := range []string{"/trades", "/historicalTrades", "/aggTrades"} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.RESTURL()+prefix+name+"?symbol=BTCUSDT&limit=5000", nil)
				must(t, err)
				req.Header.Set("X-MBX-APIKEY", "any")
				before := s.Stats().WeightUsed
				c := s.HTTPClient()
				resp, err := c.Do(req)
				must(t, err)
				body, err := io.ReadAll(resp.Body)
				must(t, err)
				must(t, resp.Body.Close())
				c.CloseIdleConnections()
				got += fmt.Sprint(" ", s.Stats().WeightUsed-before)
				if name != "/aggTrades" {
					counts += fmt.Sprint(" ", len(decodeLoosely[[]any](t, string(body))))
				}
			}
			equal(t, "weights and longest pages", got+counts, want)
		})
	}
}

// TestTradeFaults is F39: lost and repeated trades, ids without a trade, and a broken aggregate.
func TestTradeFaults(t *testing.T) {
	s := newServer(t, manual(t))
	c := dial(t, s, "/ws/btcusdt@trade")
	must(t, s.DropTrades("BTCUSDT", 2))
	trade(t, s, "1", "1", "1")
	trade(t, s, "1", "1")
	must(t, s.DuplicateTrades("BTCUSDT", 1))
	trade(t, s, "1", "1")
	must(t, s.SkipTradeIDs("BTCUSDT", 10))
	trade(t, s, "1", "1")
	must(t, s.BreakAggregate("BTCUSDT"))
	trade(t, s, "1", "1")
	var stream []any
	for range 4 {
		stream = append(stream, decodeLoosely[map[string]any](t, c.text())["t"])
	}
	equal(t, "stream", fmt.Sprint(stream), "[4 4 15 16]")
	equal(t, "trades", ids(t, s, "/api/v3/historicalTrades?symbol=BTCUSDT&fromId=1"), "[1 2 3 4 15 16]")
	equal(t, "aggregates", ids(t, s, "/api/v3/aggTrades?symbol=BTCUSDT"), "[1 2 3 4 5 6]")
	broken := get(t, s, "/api/v3/aggTrades?symbol=BTCUSDT&fromId=5&limit=1").body
	if !strings.HasPrefix(broken, `[{"a":5,"p":"0","q":"0","f":-1,"l":-1,`) {
		t.Error(broken)
	}
	if _, err := s.TradeFills("BTCUSDT", 1, true); !errors.Is(err, binancetest.ErrConfig) {
		t.Error(err)
	}
}
