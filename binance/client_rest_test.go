package binance_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/orderbook"
)

// answering returns a Client of a server that answers every request by f.
func answering(t *testing.T, market marketprism.Market, f http.HandlerFunc) *binance.Client {
	t.Helper()
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	client, err := binance.NewClient(binance.Config{
		Market: market, Endpoints: binance.Endpoints{REST: srv.URL}, HTTPClient: srv.Client(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func text(status int, header http.Header, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for k, v := range header {
			w.Header()[k] = v
		}
		w.WriteHeader(status)
		io.WriteString(w, body) //nolint:errcheck // the client gets an error
	}
}

func TestRESTOfTheFakeExchange(t *testing.T) {
	for _, market := range []marketprism.Market{marketprism.Spot, marketprism.USDM, marketprism.COINM} {
		t.Run(string(market), func(t *testing.T) {
			srv, err := binancetest.New(binancetest.Config{Market: market, Tick: -1, Symbols: []binancetest.Symbol{
				{Name: "ABCUSDT", TickSize: orderbook.One / 100, StepSize: orderbook.One / 10}, {Name: "币安USDT"},
			}})
			if err != nil {
				t.Fatal(err)
			}
			defer srv.Close()
			client := dial(t, srv, binance.Config{Market: market})
			if client.Market() != market || client.Instrument("X").String() != "binance:"+string(market)+":X" {
				t.Errorf("market %q", client.Market())
			}

			now, err := client.Time(t.Context())
			if d := time.Since(now); err != nil || d < 0 || d > time.Minute || now.Location() != time.UTC {
				t.Errorf("Time = %v, %v", now, err)
			}
			snap, err := client.Depth(t.Context(), "币安USDT", 100)
			truth, _ := srv.Book("币安USDT")
			if err != nil || len(snap.Bids) != 100 || len(snap.Asks) != 100 || snap.LastID != truth.LastID || snap.Bids[99] != truth.Bids[99] {
				t.Errorf("Depth: %d bids, %v", len(snap.Bids), err)
			}
			all, err := client.ExchangeInfo(t.Context())
			if err != nil || len(all.Symbols) != 2 || len(all.RateLimits) == 0 {
				t.Fatalf("ExchangeInfo: %+v, %v", all, err)
			}
			one, err := client.ExchangeInfo(t.Context(), "ABCUSDT")
			if err != nil || len(one.Symbols) != 1 {
				t.Fatalf("ExchangeInfo: %+v, %v", one, err)
			}
			s, ok := one.Lookup("ABCUSDT")
			if !ok || !s.Trading() || s.BaseAsset != "ABC" || s.QuoteAsset != "USDT" || s.TickSize != orderbook.One/100 || s.StepSize != orderbook.One/10 {
				t.Errorf("symbol: %+v", s)
			}
			if _, ok := one.Lookup("NOPE"); ok {
				t.Error("Lookup of an unlisted symbol")
			}
		})
	}
}

func TestDepthLimits(t *testing.T) {
	spot := answering(t, marketprism.Spot, text(200, nil, `{"lastUpdateId":-1,"bids":[],"asks":[]}`))
	for limit, ok := range map[int]bool{-1: false, 0: true, 1: true, 777: true, 5000: true, 5001: false} {
		if snap, err := spot.Depth(t.Context(), "A", limit); (err == nil) != ok || ok && snap.LastID != -1 {
			t.Errorf("spot %d: %+v, %v", limit, snap, err)
		}
	}
	usdm := answering(t, marketprism.USDM, text(200, nil, `{"lastUpdateId":7,"E":1,"T":2,"bids":[],"asks":[]}`))
	for limit, ok := range map[int]bool{0: true, 5: true, 100: true, 101: false, 1000: true, 5000: false} {
		if _, err := usdm.Depth(t.Context(), "A", limit); (err == nil) != ok {
			t.Errorf("usdm %d: %v", limit, err)
		}
	}
}

func TestAPIErrors(t *testing.T) {
	long := strings.Repeat("ä ", 4000)
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   binance.APIError
	}{
		"own": {
			text(400, nil, `{"code":-1121,"msg":"Invalid symbol."}`),
			binance.APIError{Status: 400, Code: -1121, Message: "Invalid symbol."},
		},
		"busy": {
			text(503, nil, `{"code":-1008,"msg":"Server is currently overloaded."}`),
			binance.APIError{Status: 503, Code: -1008, Message: "Server is currently overloaded."},
		},
		"firewall": {
			text(403, nil, "<html>\r\n<head><title>403 Forbidden</title></head>\r\n</html>"),
			binance.APIError{Status: 403, Message: "403 Forbidden"},
		},
		"proxy": { // what nginx and Squid answer
			text(502, nil, "<!DOCTYPE html><html><head><style>b{color:red}</style></head><body><!-- x -->\r\n<b>Bad &amp; gone</b><p>no route"),
			binance.APIError{Status: 502, Message: "Bad & gone no route"},
		},
		"other JSON": {text(502, nil, `{"error":"x"}`), binance.APIError{Status: 502, Message: `{"error":"x"}`}},
		"empty":      {text(451, nil, ""), binance.APIError{Status: 451}},
		"long":       {text(500, nil, long), binance.APIError{Status: 500, Message: long[:255] + "…"}},
		"not text":   {text(500, nil, "\xff\xfe!"), binance.APIError{Status: 500, Message: "?!"}},
		"redirected": {text(304, nil, ""), binance.APIError{Status: 304}},
		"limit": {
			text(429, http.Header{"Retry-After": {"7"}}, `{"code":-1003,"msg":"Too much request weight used."}`),
			binance.APIError{Status: 429, Code: -1003, Message: "Too much request weight used.", RetryAfter: 7 * time.Second},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := answering(t, marketprism.Spot, c.answer).Depth(t.Context(), "A", 5)
			var got *binance.APIError
			if !errors.As(err, &got) {
				t.Fatal(err)
			}
			if *got != c.want {
				t.Errorf("got %+v, want %+v", *got, c.want)
			}
			if want := c.want.Status >= 500 || c.want.Status == 429; got.Temporary() != want {
				t.Errorf("Temporary = %v", got.Temporary())
			}
			if !strings.Contains(got.Error(), fmt.Sprintf("HTTP %d", c.want.Status)) {
				t.Error(got)
			}
		})
	}
}

func TestInvalidAnswers(t *testing.T) {
	ctx := t.Context()
	var undecoded *binance.DecodeError

	spot := answering(t, marketprism.Spot, text(200, nil, `{"serverTime":"soon"`))
	if _, err := spot.Time(ctx); !errors.As(err, &undecoded) {
		t.Errorf("Time: %v", err)
	}
	if _, err := spot.ExchangeInfo(ctx); !errors.As(err, &undecoded) {
		t.Errorf("ExchangeInfo: %v", err)
	}
	if _, err := spot.Depth(ctx, "A", 5); !errors.As(err, &undecoded) {
		t.Errorf("Depth: %v", err)
	}
	if _, err := answering(t, marketprism.Spot, text(200, nil, `{}`)).Time(ctx); !errors.As(err, &undecoded) {
		t.Errorf("Time without a time: %v", err)
	}

	other := answering(t, marketprism.COINM, text(200, nil,
		`{"lastUpdateId":7,"symbol":"ETHUSD_PERP","pair":"ETHUSD","E":1,"T":2,"bids":[],"asks":[]}`))
	if _, err := other.Depth(ctx, "BTCUSD_PERP", 5); !errors.Is(err, binance.ErrWrongSymbol) {
		t.Errorf("another symbol's snapshot: %v", err)
	}

	endless := answering(t, marketprism.Spot, text(200, nil, strings.Repeat(" ", 9<<20)))
	if _, err := endless.Depth(ctx, "A", 5); !errors.Is(err, binance.ErrBodyTooLarge) {
		t.Errorf("a huge answer: %v", err)
	}

	torn := answering(t, marketprism.Spot, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, `{"lastUpdateId":7,`) //nolint:errcheck // the client gets an error
	})
	if _, err := torn.Depth(ctx, "A", 5); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a torn answer: %v", err)
	}
}

// Unknown fields, statuses, limits and filters are ignored: the exchange adds some every year.
func TestExchangeInfoIgnoresUnknownFields(t *testing.T) {
	var body bytes.Buffer
	z := gzip.NewWriter(&body)
	io.WriteString(z, `{"timezone":"UTC","serverTime":1770000000123,"futureField":{"a":[1]},
		"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":1234},
		              {"rateLimitType":"NEW","interval":"FORTNIGHT","intervalNum":2,"limit":5}],
		"symbols":[{"symbol":"AUSD_PERP","pair":"AUSD","contractType":"PERPETUAL","contractStatus":"SLEEPING","filters":[
			{"filterType":"NEW","x":1},
			{"stepSize":"1","filterType":"LOT_SIZE"},
			{"filterType":"PRICE_FILTER","tickSize":"0.000000001"}]}]}`) //nolint:errcheck // memory
	z.Close()
	client := answering(t, marketprism.COINM, text(200, http.Header{"Content-Encoding": {"gzip"}}, body.String()))
	info, err := client.ExchangeInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := binance.SymbolInfo{Symbol: "AUSD_PERP", Pair: "AUSD", ContractType: "PERPETUAL", Status: "SLEEPING", StepSize: orderbook.One}
	if info.Symbols[0] != want || info.Symbols[0].Trading() {
		t.Errorf("symbol: %+v", info.Symbols[0])
	}
	limits := []binance.RateLimit{{Type: "REQUEST_WEIGHT", Interval: time.Minute, Limit: 1234}, {Type: "NEW", Limit: 5}}
	if len(info.RateLimits) != 2 || info.RateLimits[0] != limits[0] || info.RateLimits[1] != limits[1] {
		t.Errorf("limits: %+v", info.RateLimits)
	}
	if u := client.Usage(); u.Limit != 1234 {
		t.Errorf("usage: %+v", u)
	}
}

// What cannot be read of an answer costs itself alone; one without symbols is an error.
func TestExchangeInfoReadsWhatItCan(t *testing.T) {
	for body, want := range map[string]string{
		`{}`: "", `null`: "", `[]`: "", `7`: "", `""`: "", `{"symbols":[]}`: "", `{"symbols":null}`: "", `{"symbols":{"A":1}}`: "",
		`{"code":-1000,"msg":"x"}`: "", `<html></html>`: "", `{"symbols":[{"symbol":"A","status":"TRADING"}]`: "", `{"symbols":[null,5,{}]}`: "",
		`{"serverTime":"x","rateLimits":7,"symbols":[{"symbol":"A","status":"TRADING","filters":5}]}`:                                                                    "A=TRADING 0",
		`{"symbols":[{"symbol":"A","status":"TRADING","filters":[{"filterType":"NEW","tickSize":7},{"filterType":3,"stepSize":{}}]}]}`:                                   "A=TRADING 0",
		`{"symbols":[null,{"symbol":7,"status":"TRADING"},{"symbol":"A","status":"NEW"},{"status":"TRADING"}]}`:                                                          "A=NEW 3",
		`{"symbols":[{"symbol":"A","status":1},{"symbol":"B","status":"BREAK","baseAsset":[]}]}`:                                                                         "A=,B=BREAK 1",
		`{"symbols":[{"symbol":"A","status":"X"},{"symbol":"A","status":"X"},{"symbol":"B","status":"X"},{"symbol":"B","status":"Y"}]}`:                                  "A=X,B= 1",
		`{"serverTime":9223372036854775807,"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":-1}],"symbols":[{"symbol":"A"}]}`: "A= 1",
	} {
		client := answering(t, marketprism.Spot, text(200, nil, body))
		info, err := client.ExchangeInfo(t.Context())
		var undecoded *binance.DecodeError
		if want == "" {
			if !errors.As(err, &undecoded) {
				t.Errorf("%s: %v", body, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		var rows []string
		for _, s := range info.Symbols {
			rows = append(rows, s.Symbol+"="+s.Status)
		}
		if got := fmt.Sprintf("%s %d", strings.Join(rows, ","), info.Unread); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
		// The clock of the answer, which may be nonsense, does not stop the next request.
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if _, err := client.ExchangeInfo(ctx); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		cancel()
		if u := client.Usage(); u.Limit != 6000 {
			t.Errorf("%s: %+v", body, u)
		}
	}
}

// The exchange counts the weight of all programs on one IP address; each answer has the count.
func TestWeightOfOthersCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, err := binancetest.New(binancetest.Config{Symbols: binancetest.Symbols("A"), Network: binancetest.InMemory()})
		if err != nil {
			t.Fatal(err)
		}
		defer srv.Close()
		var waits []binance.ThrottleInfo
		ours := dial(t, srv, binance.Config{Hooks: &binance.Hooks{Throttled: func(i binance.ThrottleInfo) { waits = append(waits, i) }}})
		other := dial(t, srv, binance.Config{Budget: newBudget(t, binance.BudgetConfig{Limit: -1})})
		for range 23 {
			if _, err := other.Depth(t.Context(), "A", 5000); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(20 * time.Second)
		start := time.Now()
		if _, err := ours.Depth(t.Context(), "A", 5); err != nil { // its answer reports the other's 5750
			t.Fatal(err)
		}
		if u := ours.Usage(); u.Used != 5755 {
			t.Errorf("usage: %+v", u)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := ours.Depth(ctx, "A", 5000); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("err = %v", err)
		}
		if _, err := ours.Depth(t.Context(), "A", 5000); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d != 40*time.Second {
			t.Errorf("waited %v for the next minute", d)
		}
		synctest.Wait() // the hook has a goroutine of its own
		if len(waits) != 1 || waits[0].Status != 0 || waits[0].Weight != 250 || !waits[0].Until.Equal(start.Add(40*time.Second)) {
			t.Errorf("Throttled hook: %+v", waits)
		}
		if v := srv.Stats().Violations(); v != 0 {
			t.Errorf("%d limits broken", v)
		}
	})
}

// A request that found no server has no weight. One whose answer was lost has, since the exchange may have counted it.
func TestNoWeightWithoutAConnection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := binance.NewClient(binance.Config{Endpoints: binance.Endpoints{REST: "http://" + listener.Addr().String(), Stream: "ws://" + listener.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	dropped := make(chan struct{})
	go func() {
		defer close(dropped)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Read(make([]byte, 4096)) // the head of the request
		conn.Close()
	}()
	if _, err := c.Depth(t.Context(), "A", 5); err == nil {
		t.Fatal("no error")
	}
	<-dropped
	counted := c.Usage().Used
	if counted == 0 {
		t.Error("a request without an answer is not counted")
	}
	listener.Close()
	for range 3 {
		if _, err := c.Depth(t.Context(), "A", 5); err == nil {
			t.Fatal("no error")
		}
	}
	if u := c.Usage(); u.Used != counted || u.Sending != 0 {
		t.Errorf("usage: %+v, want Used %d", u, counted)
	}
}

func TestClientConfigIsChecked(t *testing.T) {
	for want, cfg := range map[string]binance.Config{
		`unknown market "options"`:    {Market: "options"},
		`Endpoints.REST "api."`:       {Endpoints: binance.Endpoints{REST: "api."}},
		`Endpoints.REST "wss://a"`:    {Endpoints: binance.Endpoints{REST: "wss://a"}},
		`Endpoints.Stream "wss://a/"`: {Endpoints: binance.Endpoints{Stream: "wss://a/"}},
		`Endpoints.REST: parse`:       {Endpoints: binance.Endpoints{REST: "http://[::1"}},
	} {
		if _, err := binance.NewClient(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
	for _, m := range []marketprism.Market{marketprism.Spot, marketprism.USDM, marketprism.COINM} {
		for _, e := range []binance.Endpoints{binance.Production(m), binance.Testnet(m), binance.Demo(m), binance.MarketDataOnly()} {
			if _, err := binance.NewClient(binance.Config{Market: m, Endpoints: e}); err != nil || e.REST == "" || e.Stream == "" {
				t.Errorf("%s: %+v: %v", m, e, err)
			}
		}
	}
	if (binance.Production("x") != binance.Endpoints{} || binance.Testnet("x") != binance.Endpoints{} || binance.Demo("x") != binance.Endpoints{}) {
		t.Error("endpoints of an unknown market")
	}
}

// The exchange says in several ways how long it refuses requests; each counts, and none for longer than a ban lasts.
func TestRetryAfterOfEveryForm(t *testing.T) {
	const day = 24 * time.Hour
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC) // by the exchange's clock
	until := func(d time.Duration) string {
		return fmt.Sprintf(`{"code":-1003,"msg":"Way too many requests; IP(1.2.3.4) banned until %d. Please use the websocket."}`, now.Add(d).UnixMilli())
	}
	plain := `{"code":-1003,"msg":"Too many requests."}`
	for _, c := range []struct {
		retryAfter, body string
		want             time.Duration
	}{
		{"", plain, 0}, {"", "", 0}, {"", "<html>banned until </html>", 0}, {"", `{"code":-1003,"msg":"banned until 1e9"}`, 0},
		{"0", plain, 0}, {"-5", plain, 0}, {"soon", plain, 0}, {"1.5", plain, 0}, {"-99999999999999999999", plain, 0},
		{"7", plain, 7 * time.Second}, {"864000", plain, 3 * day}, {"99999999999999999999", plain, 3 * day}, {"9223372036", plain, 3 * day},
		{"Wed, 01 Jul 2026 12:00:09 GMT", plain, 10 * time.Second}, {"Wed, 01 Jul 2026 11:00:00 GMT", plain, 0}, {"Sat, 01 Aug 2026 12:00:00 GMT", plain, 3 * day},
		{"", until(9 * time.Second), 9 * time.Second}, {"", until(time.Millisecond), time.Millisecond}, {"", until(-time.Hour), 0}, {"", until(9 * day), 3 * day},
		{"0", until(9 * time.Second), 9 * time.Second}, {"-1", until(9 * time.Second), 9 * time.Second}, {"soon", until(9 * time.Second), 9 * time.Second},
		{"7", until(7700 * time.Millisecond), 7 * time.Second}, {"7", until(3 * time.Minute), 3 * time.Minute}, {"7", until(-time.Minute), 7 * time.Second},
		{"", "banned until 99999999999999999999", 0}, {"", "banned until 9223372036854775807", 3 * day},
	} {
		for _, status := range []int{418, 429, 403} {
			header := http.Header{"Date": {now.Format(http.TimeFormat)}}
			if c.retryAfter != "" {
				header.Set("Retry-After", c.retryAfter)
			}
			client := answering(t, marketprism.Spot, text(status, header, c.body))
			_, err := client.Time(t.Context())
			var refused *binance.APIError
			if !errors.As(err, &refused) || refused.RetryAfter != c.want {
				t.Errorf("%d, %q, %s: %v, want %v", status, c.retryAfter, c.body, err, c.want)
			}
			// A 403 of a firewall is none of the exchange's refusals, but one that says -1003 is.
			blocked := time.Until(client.Usage().BlockedUntil)
			if status == 403 && !strings.Contains(c.body, "-1003") {
				if blocked > 0 {
					t.Errorf("%d, %q, %s: blocked for %v", status, c.retryAfter, c.body, blocked)
				}
				continue
			}
			if want := c.want; want > time.Second && (blocked > want || blocked < want-time.Second) {
				t.Errorf("%d, %q, %s: blocked for %v, want %v", status, c.retryAfter, c.body, blocked, want)
			}
		}
	}
}

// A request ends by its bound, wherever the answer stalls and though the program's http.Client has no Timeout; its place
// in the Budget is free again.
func TestRequestTimeoutBoundsEveryRequest(t *testing.T) {
	head := func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", "1000000")
		http.NewResponseController(w).Flush() //nolint:errcheck // the client gets an error
	}
	for name, answer := range map[string]http.HandlerFunc{
		"no head": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"no body": func(w http.ResponseWriter, r *http.Request) { head(w); <-r.Context().Done() },
		"a trickle": func(w http.ResponseWriter, r *http.Request) {
			head(w)
			for tick := time.NewTicker(time.Millisecond); r.Context().Err() == nil; <-tick.C {
				io.WriteString(w, " ")                //nolint:errcheck // the client leaves
				http.NewResponseController(w).Flush() //nolint:errcheck // the client leaves
			}
		},
		"an error's body": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(http.StatusServiceUnavailable)
			http.NewResponseController(w).Flush() //nolint:errcheck // the client gets an error
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(answer)
			defer srv.Close()
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			client, err := binance.NewClient(binance.Config{
				Endpoints: binance.Endpoints{REST: srv.URL}, HTTPClient: &http.Client{Transport: transport}, RequestTimeout: 30 * time.Millisecond,
				Budget: newBudget(t, binance.BudgetConfig{Concurrent: 1}),
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, request := range []func(context.Context) error{
				func(ctx context.Context) error { _, err := client.Time(ctx); return err },
				func(ctx context.Context) error { _, err := client.Depth(ctx, "A", 5); return err },
				func(ctx context.Context) error { _, err := client.ExchangeInfo(ctx); return err },
			} {
				err := request(t.Context())
				var refused *binance.APIError
				if !errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &refused) {
					t.Error(err)
				}
			}
			if u := client.Usage(); u.Sending != 0 {
				t.Errorf("usage: %+v", u)
			}
		})
	}
}

// Answers that stall end neither the polls nor the snapshots, whatever http.Client the program gives.
func TestStalledAnswersDoNotStopTheDriver(t *testing.T) {
	for name, stall := range map[string]func(*binancetest.Server, int){
		"head":    func(s *binancetest.Server, n int) { s.HangREST(n, 24*time.Hour) },
		"body":    func(s *binancetest.Server, n int) { s.TrickleREST(n, 24*time.Hour) },
		"trickle": func(s *binancetest.Server, n int) { s.TrickleREST(n, 100*time.Millisecond) },
	} {
		t.Run(name, func(t *testing.T) {
			server := exchange(2)
			server.Symbols[0].Rate, server.Symbols[1].Rate = 2, 2
			s := setup{server: server, client: binance.Config{Budget: newBudget(t, binance.BudgetConfig{Concurrent: 2})}}
			s.depth = binance.DepthConfig{PollEvery: time.Minute, SnapshotTimeout: -1}
			s.dial = func(srv *binancetest.Server) *http.Client { return srv.HTTPClient() }
			bubble(t, s, func(t *testing.T, h *harness) {
				h.ready()
				stall(h.srv, 10)
				for _, symbol := range h.srv.Listed() {
					h.srv.DropDepth(symbol, 1)
				}
				time.Sleep(10 * time.Minute)
				h.ready()
				h.live(h.srv.Listed()...)
				if n := len(infos[binance.ListingInfo](h)); n < 10 {
					t.Errorf("%d listings in ten minutes", n)
				}
				if u := h.client.Usage(); u.Sending != 0 {
					t.Errorf("usage: %+v", u)
				}
				h.wellBehaved()
			})
		})
	}
}
