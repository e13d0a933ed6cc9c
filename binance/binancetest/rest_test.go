package binancetest_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance/binancetest"
)

func TestRESTErrors(t *testing.T) {
	s := newServer(t, manual(t))
	for path, want := range map[string]string{
		"/depth":                                         `{"code":-1102,"msg":"Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."}`,
		"/depth?symbol=":                                 `{"code":-1102,"msg":"Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."}`,
		"/depth?symbol=NONE":                             `{"code":-1121,"msg":"Invalid symbol."}`,
		"/depth?symbol=btcusdt":                          `{"code":-1121,"msg":"Invalid symbol."}`,
		"/depth?symbol=BTCUSDT&limit=x":                  `{"code":-1100,"msg":"Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'."}`,
		"/depth?symbol=BTCUSDT&limit=0":                  `{"code":-1130,"msg":"Data sent for parameter 'limit' is not valid."}`,
		"/depth?symbol=BTCUSDT&levels=5":                 `{"code":-1104,"msg":"Not all sent parameters were read; read '1' parameter(s) but was sent '2'."}`,
		"/exchangeInfo?symbol=NONE":                      `{"code":-1121,"msg":"Invalid symbol."}`,
		`/exchangeInfo?symbols=["BTCUSDT","NONE"]`:       `{"code":-1121,"msg":"Invalid symbol."}`,
		`/exchangeInfo?symbols=["BTCUSDT","BTCUSDT"]`:    `{"code":-1151,"msg":"Symbol is present multiple times in the list."}`,
		`/exchangeInfo?symbolStatus=X`:                   `{"code":-1122,"msg":"Invalid symbolStatus."}`,
		`/exchangeInfo?symbol=BTCUSDT&symbolStatus=HALT`: `{"code":-1128,"msg":"Combination of optional parameters invalid."}`,
		`/depth?symbol=BTCUSDT&symbolStatus=HALT`:        `{"code":-1220,"msg":"The symbol does not match the status."}`,
		`/exchangeInfo?symbols=BTCUSDT`:                  `{"code":-1100,"msg":"Illegal characters found in parameter 'symbols'."}`,
		`/exchangeInfo?symbol=BTCUSDT&symbols=["A"]`:     `{"code":-1128,"msg":"Combination of optional parameters invalid."}`,
	} {
		r := get(t, s, "/api/v3"+path)
		equal(t, path+" status", r.status, http.StatusBadRequest)
		equal(t, path, r.body, want)
	}
}

func TestExchangeInfo(t *testing.T) {
	type filter struct{ FilterType, TickSize, StepSize string }
	type info struct {
		RateLimits []struct {
			RateLimitType string
			Limit         int
		}
		Symbols []struct {
			Symbol, Status, ContractStatus, BaseAsset, QuoteAsset string
			Filters                                               []filter
		}
	}
	ask := func(s *binancetest.Server, path string) (v info) {
		if err := json.Unmarshal([]byte(get(t, s, path).body), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	symbols := []binancetest.Symbol{
		{Name: "BTCUSDT"}, {Name: "ETHBTC", TickSize: fixed(t, "0.00001"), StepSize: fixed(t, "0.1"), Status: "BREAK"}, {Name: "ABC", Base: "A", Quote: "BC"},
	}
	s := newServer(t, binancetest.Config{Symbols: symbols})
	v := ask(s, "/api/v3/exchangeInfo")
	equal(t, "limit", fmt.Sprint(v.RateLimits), "[{REQUEST_WEIGHT 6000} {ORDERS 100} {ORDERS 200000} {RAW_REQUESTS 300000}]")
	equal(t, "symbols", len(v.Symbols), 3)
	equal(t, "BTCUSDT", v.Symbols[0].BaseAsset+"/"+v.Symbols[0].QuoteAsset+" "+v.Symbols[0].Status, "BTC/USDT TRADING")
	equal(t, "ETHBTC", v.Symbols[1].BaseAsset+"/"+v.Symbols[1].QuoteAsset+" "+v.Symbols[1].Status, "ETH/BTC BREAK")
	equal(t, "filters", fmt.Sprint(v.Symbols[1].Filters), "[{PRICE_FILTER 0.00001000 } {LOT_SIZE  0.10000000} {MARKET_LOT_SIZE  0.00000000}]")
	equal(t, "ABC", v.Symbols[2].BaseAsset+"/"+v.Symbols[2].QuoteAsset, "A/BC")
	equal(t, "one", len(ask(s, "/api/v3/exchangeInfo?symbol=ABC").Symbols), 1)
	equal(t, "two", len(ask(s, `/api/v3/exchangeInfo?symbols=["ABC","BTCUSDT"]`).Symbols), 2)
	equal(t, "weight", s.Stats().WeightUsed, 60)

	s = newServer(t, binancetest.Config{Market: marketprism.COINM, Symbols: binancetest.Symbols("BTCUSD_PERP")})
	v = ask(s, "/dapi/v1/exchangeInfo")
	equal(t, "COIN-M", v.Symbols[0].BaseAsset+"/"+v.Symbols[0].QuoteAsset+" "+v.Symbols[0].Status+v.Symbols[0].ContractStatus, "BTC/USD TRADING")
	equal(t, "futures limit", v.RateLimits[0].Limit, 2400)
}

// TestListingsAreWrittenAsTheExchangeWritesThem compares rows of exchangeInfo, the order of their members included.
func TestListingsAreWrittenAsTheExchangeWritesThem(t *testing.T) {
	for _, tc := range []struct {
		market marketprism.Market
		prefix string
		symbol binancetest.Symbol
		want   string
		real   string // an answer of the exchange
	}{
		{
			marketprism.Spot, "/api/v3", binancetest.Symbol{Name: "BTTCUSDT", BasePrecision: 1, Price: 1000, TickSize: 1},
			`{"symbol":"BTTCUSDT","status":"TRADING","baseAsset":"BTTC","baseAssetPrecision":1,"quoteAsset":"USDT","quotePrecision":8,"quoteAssetPrecision":8,` +
				`"orderTypes":["LIMIT","MARKET"],"isSpotTradingAllowed":true,"filters":[` +
				`{"filterType":"PRICE_FILTER","minPrice":"0.00000001","maxPrice":"1000000.00000000","tickSize":"0.00000001"},` +
				`{"filterType":"LOT_SIZE","minQty":"1.0","maxQty":"92233720368.0","stepSize":"1.0"},` +
				`{"filterType":"MARKET_LOT_SIZE","minQty":"0.0","maxQty":"92233720368.0","stepSize":"0.0"}],"permissions":[],"permissionSets":[["SPOT"]]}`,
			"cases/exchangeinfo-baseprecision.json",
		},
		{
			marketprism.USDM, "/fapi/v1", binancetest.Symbol{Name: "BTCUSDT"},
			`{"symbol":"BTCUSDT","pair":"BTCUSDT","contractType":"PERPETUAL","status":"TRADING","baseAsset":"BTC","quoteAsset":"USDT","marginAsset":"USDT",` +
				`"pricePrecision":2,"quantityPrecision":3,"baseAssetPrecision":8,"quotePrecision":8,"filters":[` +
				`{"minPrice":"0.01","maxPrice":"1000000","filterType":"PRICE_FILTER","tickSize":"0.01"},` +
				`{"stepSize":"0.001","filterType":"LOT_SIZE","maxQty":"9000000","minQty":"0.001"},` +
				`{"stepSize":"0.001","filterType":"MARKET_LOT_SIZE","maxQty":"9000000","minQty":"0.001"}],"orderTypes":["LIMIT","MARKET"]}`,
			"recordings/binance-usdm-20210722.exchangeinfo.json.gz",
		},
		{
			marketprism.COINM, "/dapi/v1", binancetest.Symbol{Name: "ETHUSD_PERP", TickSize: fixed(t, "0.1"), StepSize: fixed(t, "1")},
			`{"symbol":"ETHUSD_PERP","pair":"ETHUSD","contractType":"PERPETUAL","contractStatus":"TRADING","contractSize":10,"marginAsset":"ETH",` +
				`"baseAsset":"ETH","quoteAsset":"USD","pricePrecision":1,"quantityPrecision":0,"baseAssetPrecision":8,"quotePrecision":8,"filters":[` +
				`{"minPrice":"0.1","maxPrice":"1000000","filterType":"PRICE_FILTER","tickSize":"0.1"},` +
				`{"stepSize":"1","filterType":"LOT_SIZE","maxQty":"9000000","minQty":"1"},` +
				`{"stepSize":"1","filterType":"MARKET_LOT_SIZE","maxQty":"9000000","minQty":"1"}],"orderTypes":["LIMIT","MARKET"]}`,
			"",
		},
	} {
		t.Run(string(tc.market), func(t *testing.T) {
			s := newServer(t, binancetest.Config{Market: tc.market, Symbols: []binancetest.Symbol{tc.symbol}})
			answer := decodeLoosely[struct{ Symbols []json.RawMessage }](t, get(t, s, tc.prefix+"/exchangeInfo").body)
			equal(t, "row", string(answer.Symbols[0]), tc.want)
			if tc.real == "" {
				return
			}
			order, at := memberOrder(t, "../../../shared/"+tc.real), -1
			for _, key := range memberKeys(t, answer.Symbols[0]) {
				next := slices.Index(order, key)
				if next < at && key != "permissionSets" { // of 2024
					t.Errorf("%q is not in its place", key)
				}
				at = max(at, next)
			}
		})
	}
}

// memberOrder returns the members of the first row of a real exchangeInfo; it skips the test without one.
func memberOrder(t *testing.T, path string) []string {
	t.Helper()
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("no answer of the exchange beside the repository (%s)", path)
	}
	must(t, err)
	defer file.Close()
	var from io.Reader = file
	if strings.HasSuffix(path, ".gz") {
		from, err = gzip.NewReader(file)
		must(t, err)
	}
	var info struct{ Symbols []json.RawMessage }
	must(t, json.NewDecoder(from).Decode(&info))
	return memberKeys(t, info.Symbols[0])
}

// memberKeys returns the keys of a JSON object in their order.
func memberKeys(t *testing.T, raw json.RawMessage) (keys []string) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	_, err := d.Token()
	for must(t, err); d.More(); {
		key, err := d.Token()
		must(t, err)
		keys = append(keys, key.(string))
		must(t, d.Decode(new(json.RawMessage)))
	}
	return keys
}

func TestWeights(t *testing.T) {
	for _, tc := range []struct {
		market marketprism.Market
		prefix string
		want   map[int]int
	}{
		{marketprism.Spot, "/api/v3", map[int]int{-1: 5, 1: 5, 100: 5, 101: 25, 500: 25, 501: 50, 1000: 50, 1001: 250, 5000: 250, 9999: 250}},
		{marketprism.USDM, "/fapi/v1", map[int]int{-1: 10, 5: 2, 50: 2, 100: 5, 500: 10, 1000: 20}},
	} {
		s := newServer(t, binancetest.Config{Market: tc.market, Symbols: binancetest.Symbols("BTCUSDT"), WeightLimit: -1})
		for limit, want := range tc.want {
			path := tc.prefix + "/depth?symbol=BTCUSDT"
			if limit > 0 {
				path += "&limit=" + strconv.Itoa(limit)
			}
			before := s.Stats().WeightUsed
			r := get(t, s, path)
			used, err := strconv.Atoi(r.header.Get("X-Mbx-Used-Weight-1m"))
			if err != nil {
				t.Fatal(err)
			}
			if used < before { // a new minute
				before = 0
			}
			equal(t, path, used-before, want)
			equal(t, "legacy header", r.header.Get("X-Mbx-Used-Weight") != "", tc.market == marketprism.Spot)
		}
	}
}

// TestRateLimit exceeds the limit, continues despite the 429s into a ban, and then into a longer one.
func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := inMemory("BTCUSDT")
		cfg.BanAfter = 2
		s := newServer(t, cfg)
		time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute + 20500*time.Millisecond))) // 20.5 s into a minute
		depth := func() response { return get(t, s, "/api/v3/depth?symbol=BTCUSDT&limit=5000") }
		for i := range 24 {
			if r := depth(); r.status != http.StatusOK || r.header.Get("X-Mbx-Used-Weight-1m") != strconv.Itoa(250*(i+1)) {
				t.Fatalf("request %d: %d %s", i, r.status, r.body)
			}
		}
		for range 2 {
			r := depth()
			equal(t, "status", r.status, http.StatusTooManyRequests)
			equal(t, "until the minute ends", r.header.Get("Retry-After"), "40")
			equal(t, "body", r.body, `{"code":-1003,"msg":"Too much request weight used; current limit is 6000 request weight per 1 MINUTE. `+
				`Please use WebSocket Streams for live updates to avoid polling the API."}`)
		}
		banned := func(d time.Duration) {
			t.Helper()
			r := depth()
			equal(t, "status", r.status, http.StatusTeapot)
			equal(t, "Retry-After", r.header.Get("Retry-After"), strconv.Itoa(int(d.Seconds())))
			if want := fmt.Sprintf("IP banned until %d.", time.Now().Add(d).UnixMilli()); !strings.Contains(r.body, want) {
				t.Errorf("%s does not say %s", r.body, want)
			}
		}
		banned(2 * time.Minute)
		time.Sleep(time.Minute)
		banned(time.Minute)
		time.Sleep(time.Minute)
		for range 24 {
			equal(t, "after the ban", depth().status, http.StatusOK)
		}
		for range 2 {
			equal(t, "over again", depth().status, http.StatusTooManyRequests)
		}
		banned(4 * time.Minute)

		st := s.Stats()
		equal(t, "bans", st.Bans, 2)
		equal(t, "violations", st.Violations(), 7)
		equal(t, "requests", st.Requests["/api/v3/depth"], 24+2+2+24+2+1)
	})
}

func TestWeightWindowEndsWithTheMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := inMemory("BTCUSDT")
		cfg.WeightLimit = 5
		s := newServer(t, cfg)
		time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute + 59*time.Second)))
		path := "/api/v3/depth?symbol=BTCUSDT"
		equal(t, "first", get(t, s, path).status, http.StatusOK)
		r := get(t, s, path)
		equal(t, "second", r.status, http.StatusTooManyRequests)
		equal(t, "Retry-After", r.header.Get("Retry-After"), "1")
		time.Sleep(time.Second)
		equal(t, "next minute", get(t, s, path).status, http.StatusOK)
		equal(t, "used", s.Stats().WeightUsed, 5)
	})
}
