package binance

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
)

// A roundTripper answers requests without a network.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// tradesShard is one feed with open connections that carry the trades of one symbol, without a network.
// Every REST request waits for release and is then answered with body.
func tradesShard(t *testing.T, market marketprism.Market, agg bool, links int, body string) (f *shard, release func(), ids *[]int64, prices *[]string, gaps *[]TradeGapInfo) {
	t.Helper()
	gate := make(chan struct{})
	var once sync.Once
	release = func() { once.Do(func() { close(gate) }) }
	t.Cleanup(release)
	transport := roundTripper(func(r *http.Request) (*http.Response, error) {
		<-gate
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	})
	gaps, ids, prices = new([]TradeGapInfo), new([]int64), new([]string)
	c, err := NewClient(Config{Market: market, APIKey: "key", HTTPClient: &http.Client{Transport: transport}, Hooks: &Hooks{TradeGap: func(i TradeGapInfo) { *gaps = append(*gaps, i) }}})
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDepthSyncer(c, DepthConfig{Symbols: []string{"BTCUSDT"}, Trades: !agg, AggTrades: agg, Handler: handlerOf(ids, prices)})
	if err != nil {
		t.Fatal(err)
	}
	f = d.allShards()[0]
	f.begin()
	f.life = t.Context()
	for i := range links {
		l := &conn{seat: f.seats[0], slot: i, stream: &Stream{}, cancel: func() {}}
		f.links[i] = l
		for _, st := range f.streams {
			st.merge.join(i, time.Now())
		}
	}
	f.seats[0].current = f.links[0]
	return f, release, ids, prices, gaps
}

func handlerOf(ids *[]int64, prices *[]string) Handler {
	return func(_ context.Context, rec *marketprism.Record) error {
		if rec.Trade != nil {
			*ids = append(*ids, rec.Trade.ID)
			*prices = append(*prices, rec.Trade.Price.String())
		}
		return nil
	}
}

func bringTrade(t *testing.T, f *shard, link int, id int64, kind string) {
	t.Helper()
	f.now = time.Now()
	frame := fmt.Sprintf(`{"stream":"btcusdt@trade","data":{"e":"trade","E":%d,"s":"BTCUSDT","t":%d,"p":"5","q":"1","T":%d,"X":%q,"m":true,"M":true}}`, 1770000000000+id, id, 1770000000000+id, kind)
	if err := f.step(t.Context(), f.links[link], []byte(frame), f.now.UTC()); err != nil {
		t.Fatal(err)
	}
}

func tradeRowOf(id int64) string {
	return fmt.Sprintf(`{"id":%d,"price":"5","qty":"1","time":%d,"isBuyerMaker":true,"isBestMatch":true}`, id, 1770000000000+id)
}

func fetched(t *testing.T, f *shard, release func()) {
	t.Helper()
	release()
	f.running.Wait()
	if err := f.doTasks(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A connection that was behind brings what is being fetched: each trade is one record.
func TestTradesOfASlowConnectionDuringAFill(t *testing.T) {
	f, release, ids, _, gaps := tradesShard(t, marketprism.Spot, false, 2, "["+tradeRowOf(2)+","+tradeRowOf(3)+"]")
	bringTrade(t, f, 0, 1, "MARKET")
	bringTrade(t, f, 1, 1, "MARKET")
	bringTrade(t, f, 0, 4, "MARKET") // connection 1 lags; held
	f.now = time.Now().Add(holdTime + time.Millisecond)
	if err := f.tickHeld(t.Context()); err != nil { // begins to fetch 2 and 3
		t.Fatal(err)
	}
	for id := int64(2); id <= 4; id++ {
		bringTrade(t, f, 1, id, "MARKET") // connection 1 catches up before REST answers
	}
	fetched(t, f, release)
	if got := fmt.Sprint(*ids); got != "[1 2 3 4]" {
		t.Errorf("records of the trades %s, want [1 2 3 4]; TradeGap %+v", got, *gaps)
	}
}

// What is missed while another hole is being fetched is told of.
func TestSecondHoleDuringAFill(t *testing.T) {
	f, release, ids, _, gaps := tradesShard(t, marketprism.Spot, false, 1, "["+tradeRowOf(2)+","+tradeRowOf(3)+"]")
	bringTrade(t, f, 0, 1, "MARKET")
	for id := int64(4); id < 4+maxHeld; id++ {
		bringTrade(t, f, 0, id, "MARKET")
	}
	last := int64(3 + maxHeld)
	if n := len(*ids); n != 1+maxHeld {
		t.Fatalf("%d records", n)
	}
	bringTrade(t, f, 0, last+5, "MARKET") // four are missing
	fetched(t, f, release)
	for range 3 {
		fetched(t, f, release)
	}
	have := map[int64]bool{}
	for _, id := range *ids {
		have[id] = true
	}
	reported := false
	for _, g := range *gaps {
		reported = reported || g.FirstID <= last+1 && g.LastID >= last+4
	}
	if !have[last+1] && !reported {
		t.Errorf("trades %d to %d are neither records nor reported: TradeGap %+v", last+1, last+4, *gaps)
	}
}

// The same where the second hole lies among the trades that wait.
func TestSecondHoleAmongTheHeld(t *testing.T) {
	f, release, ids, _, gaps := tradesShard(t, marketprism.Spot, false, 1, "["+tradeRowOf(2)+","+tradeRowOf(3)+"]")
	bringTrade(t, f, 0, 1, "MARKET")
	bringTrade(t, f, 0, 4, "MARKET")
	bringTrade(t, f, 0, 7, "MARKET") // 5 and 6 are missing as well
	f.now = time.Now().Add(fillTime + time.Millisecond)
	if err := f.tickHeld(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		fetched(t, f, release)
	}
	if len(*gaps) != 2 {
		t.Errorf("records %v, TradeGap %+v: nobody tells of 5 and 6", *ids, *gaps)
	}
}

// The history of the exchange has aggregates of no trade, at price 0.
func TestBrokenAggregateIsNoTrade(t *testing.T) {
	body := `[{"a":2,"p":"0","q":"0","f":-1,"l":-1,"T":1770000000002,"m":false,"M":true},{"a":3,"p":"5","q":"1","f":3,"l":3,"T":1770000000003,"m":false,"M":true}]`
	f, release, ids, prices, gaps := tradesShard(t, marketprism.Spot, true, 1, body)
	for _, id := range []int64{1, 4} {
		f.now = time.Now()
		frame := fmt.Sprintf(`{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1,"s":"BTCUSDT","a":%d,"p":"5","q":"1","f":%d,"l":%d,"T":%d,"m":true,"M":true}}`, id, id, id, 1770000000000+id)
		if err := f.step(t.Context(), f.links[0], []byte(frame), f.now.UTC()); err != nil {
			t.Fatal(err)
		}
	}
	fetched(t, f, release)
	for i, p := range *prices {
		if p == "0" {
			t.Errorf("a record of the trade %d at price 0 (%v %v); TradeGap %+v", (*ids)[i], *ids, *prices, *gaps)
		}
	}
}

// Trades that wait for others when Run ends are records, and what they wait for is told of.
func TestHeldTradesAtTheEnd(t *testing.T) {
	f, _, ids, _, gaps := tradesShard(t, marketprism.Spot, false, 1, "[]")
	bringTrade(t, f, 0, 1, "MARKET")
	bringTrade(t, f, 0, 4, "MARKET")
	bringTrade(t, f, 0, 5, "MARKET")
	if err := f.cutOff(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(*ids); got != "[1 4 5]" || len(*gaps) == 0 {
		t.Errorf("records %s, want [1 4 5]; TradeGap %+v", got, *gaps)
	}
}
