package binance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
)

// A roundTripper answers requests without a network.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// tradesShard is one shard with open connections that carry the trades of one symbol, without a network.
// Every REST request blocks until release is called, and is answered with body.
func tradesShard(t *testing.T, market marketprism.Market, agg bool, conns int, body string) (s *shard, release func(), ids *[]int64, prices *[]string, gaps *[]TradeGapInfo) {
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
	s = d.allShards()[0]
	s.begin(time.Now())
	s.life = t.Context()
	for i := range conns {
		l := &conn{slot: s.conns.slots[0], index: i, stream: &Stream{}, cancel: func() {}}
		s.conns.conns[i] = l
		for _, sub := range s.streams.ordered {
			sub.arbiter.addLeg(i, time.Now())
		}
	}
	s.conns.slots[0].current = s.conns.conns[0]
	return s, release, ids, prices, gaps
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

func bringTrade(t *testing.T, s *shard, index int, id int64, kind string) {
	t.Helper()
	bringTradeOf(t, s, index, id, 1770000000000+id, kind)
}

// bringTradeOf is bringTrade with the exchange's time, in milliseconds.
func bringTradeOf(t *testing.T, s *shard, index int, id, millis int64, kind string) {
	t.Helper()
	now := time.Now()
	frame := fmt.Sprintf(`{"stream":"btcusdt@trade","data":{"e":"trade","E":%d,"s":"BTCUSDT","t":%d,"p":"5","q":"1","T":%d,"X":%q,"m":true,"M":true}}`, millis, id, millis, kind)
	if err := s.step(t.Context(), now, s.conns.conns[index], []byte(frame), now.UTC()); err != nil {
		t.Fatal(err)
	}
}

func tradeRowOf(id int64) string {
	return fmt.Sprintf(`{"id":%d,"price":"5","qty":"1","time":%d,"isBuyerMaker":true,"isBestMatch":true}`, id, 1770000000000+id)
}

func fetched(t *testing.T, s *shard, release func()) {
	t.Helper()
	release()
	s.conns.running.Wait()
	if err := s.doTasks(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
}

// A lagging connection brings the trades that are being fetched: each trade is one record.
func TestTradesOfASlowConnectionDuringABackfill(t *testing.T) {
	s, release, ids, _, gaps := tradesShard(t, marketprism.Spot, false, 2, "["+tradeRowOf(2)+","+tradeRowOf(3)+"]")
	bringTrade(t, s, 0, 1, "MARKET")
	bringTrade(t, s, 1, 1, "MARKET")
	bringTrade(t, s, 0, 4, "MARKET") // connection 1 lags; pending
	now := time.Now().Add(pendingTime + time.Millisecond)
	if err := s.tickStream(t.Context(), now, s.streams.ordered[1]); err != nil { // begins to fetch 2 and 3
		t.Fatal(err)
	}
	for id := int64(2); id <= 4; id++ {
		bringTrade(t, s, 1, id, "MARKET") // connection 1 catches up before REST answers
	}
	fetched(t, s, release)
	if got := fmt.Sprint(*ids); got != "[1 2 3 4]" {
		t.Errorf("records of the trades %s, want [1 2 3 4]; TradeGap %+v", got, *gaps)
	}
}

// Trades that are missed while others are being fetched are reported.
func TestSecondMissingRangeDuringABackfill(t *testing.T) {
	s, release, ids, _, gaps := tradesShard(t, marketprism.Spot, false, 1, "["+tradeRowOf(2)+","+tradeRowOf(3)+"]")
	bringTrade(t, s, 0, 1, "MARKET")
	for id := int64(4); id < 4+maxPending; id++ {
		bringTrade(t, s, 0, id, "MARKET")
	}
	last := int64(3 + maxPending)
	if n := len(*ids); n != 1+maxPending {
		t.Fatalf("%d records", n)
	}
	bringTrade(t, s, 0, last+5, "MARKET") // four are missing
	fetched(t, s, release)
	for range 3 {
		fetched(t, s, release)
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

// The same where the second missing range is among the pending trades.
func TestSecondMissingRangeAmongPendingTrades(t *testing.T) {
	s, release, ids, _, gaps := tradesShard(t, marketprism.Spot, false, 1, "["+tradeRowOf(2)+","+tradeRowOf(3)+"]")
	bringTrade(t, s, 0, 1, "MARKET")
	bringTrade(t, s, 0, 4, "MARKET")
	bringTrade(t, s, 0, 7, "MARKET") // 5 and 6 are missing as well
	now := time.Now().Add(backfillPatience + time.Millisecond)
	if err := s.tickStream(t.Context(), now, s.streams.ordered[1]); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		fetched(t, s, release)
	}
	if len(*gaps) != 2 {
		t.Errorf("records %v, TradeGap %+v: 5 and 6 are not reported", *ids, *gaps)
	}
}

// The history of the exchange contains aggregates of no trade, at price 0.
func TestBrokenAggregateIsNoTrade(t *testing.T) {
	body := `[{"a":2,"p":"0","q":"0","f":-1,"l":-1,"T":1770000000002,"m":false,"M":true},{"a":3,"p":"5","q":"1","f":3,"l":3,"T":1770000000003,"m":false,"M":true}]`
	s, release, ids, prices, gaps := tradesShard(t, marketprism.Spot, true, 1, body)
	for _, id := range []int64{1, 4} {
		now := time.Now()
		frame := fmt.Sprintf(`{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1,"s":"BTCUSDT","a":%d,"p":"5","q":"1","f":%d,"l":%d,"T":%d,"m":true,"M":true}}`, id, id, id, 1770000000000+id)
		if err := s.step(t.Context(), now, s.conns.conns[0], []byte(frame), now.UTC()); err != nil {
			t.Fatal(err)
		}
	}
	fetched(t, s, release)
	for i, p := range *prices {
		if p == "0" {
			t.Errorf("a record of the trade %d at price 0 (%v %v); TradeGap %+v", (*ids)[i], *ids, *prices, *gaps)
		}
	}
}

// Trades that are pending when Run ends are records, and those missing before them are reported.
func TestPendingTradesAtTheEnd(t *testing.T) {
	s, _, ids, _, gaps := tradesShard(t, marketprism.Spot, false, 1, "[]")
	bringTrade(t, s, 0, 1, "MARKET")
	bringTrade(t, s, 0, 4, "MARKET")
	bringTrade(t, s, 0, 5, "MARKET")
	s.end(t.Context(), nil)
	if got := fmt.Sprint(*ids); got != "[1 4 5]" || len(*gaps) == 0 {
		t.Errorf("records %s, want [1 4 5]; TradeGap %+v", got, *gaps)
	}
}

// Where the exchange's clock goes back, a trade may be older than one with a lower id. A connection that
// repeats both, and is the only one left, makes no second record of either.
func TestTradesComeOnceWhereTheClockGoesBack(t *testing.T) {
	s, _, ids, _, _ := tradesShard(t, marketprism.Spot, false, 2, "[]")
	times := []int64{1770000001000, 1770000002000, 1770000000500}
	for i, millis := range times {
		bringTradeOf(t, s, 0, int64(i+1), millis, "MARKET")
	}
	if err := s.connLost(t.Context(), time.Now(), s.conns.conns[0], ErrClosed); err != nil {
		t.Fatal(err)
	}
	for i, millis := range times {
		bringTradeOf(t, s, 1, int64(i+1), millis, "MARKET")
	}
	bringTradeOf(t, s, 1, 4, 1770000000600, "MARKET")
	if got := fmt.Sprint(*ids); got != "[1 2 3 4]" {
		t.Errorf("records of the trades %s, want [1 2 3 4]", got)
	}
	bringTradeOf(t, s, 1, 1, 1770000003000, "MARKET") // a wipe: a new trade of an old id
	if got := fmt.Sprint(*ids); got != "[1 2 3 4 1]" {
		t.Errorf("records of the trades %s, want [1 2 3 4 1]", got)
	}
}

// An id that is no trade of the market is in sequence, whichever connection brings it, and before or after its turn.
func TestOtherTradesAreInSequence(t *testing.T) {
	s, _, ids, _, gaps := tradesShard(t, marketprism.USDM, false, 2, "[]")
	bringTrade(t, s, 0, 1, "MARKET")
	bringTrade(t, s, 1, 1, "MARKET")
	bringTrade(t, s, 0, 2, "NA")
	bringTrade(t, s, 0, 5, "MARKET") // connection 0 has lost two
	bringTrade(t, s, 0, 6, "ADL")
	bringTrade(t, s, 1, 2, "NA")
	bringTrade(t, s, 1, 3, "INSURANCE_FUND")
	bringTrade(t, s, 1, 4, "MARKET")
	bringTrade(t, s, 1, 7, "MARKET") // connection 1 has lost two
	if got := fmt.Sprint(*ids); got != "[1 4 5 7]" || len(*gaps) != 0 || s.count.tradeGaps.Load() != 0 {
		t.Errorf("records of the trades %s, want [1 4 5 7]; TradeGap %+v", got, *gaps)
	}
	var stats Stats
	s.count.addTo(&stats)
	if got := fmt.Sprint(stats.OtherTrades); got != "map[ADL:1 INSURANCE_FUND:1 NA:1]" {
		t.Errorf("counted are %s", got)
	}
}

// A lagging connection brings one that the exchange's history does not have.
func TestOtherTradeOfASlowConnectionDuringABackfill(t *testing.T) {
	for _, c := range []struct {
		late, body  string
		missing     bool
		filled, not int // fetched; known to be no trades of the market
	}{
		{late: "NA", body: "[" + tradeRowOf(3) + "]", filled: 1},
		{late: "NA", body: "[" + tradeRowOf(3) + "," + tradeRowOf(4) + "]", filled: 1},
		{body: "[" + tradeRowOf(3) + "]", filled: 1, not: 1},
		{body: "[" + tradeRowOf(2) + "]", filled: 1, missing: true}, // the history may lag behind the stream
		{body: "[" + tradeRowOf(2) + "," + tradeRowOf(4) + "]", filled: 1, not: 1},
		{body: "[" + tradeRowOf(4) + "]", not: 2},
		{late: "MARKET", body: "[]", missing: true},
		{body: "[]", missing: true},
	} {
		s, release, ids, _, gaps := tradesShard(t, marketprism.USDM, false, 2, c.body)
		bringTrade(t, s, 0, 1, "MARKET")
		bringTrade(t, s, 1, 1, "MARKET")
		bringTrade(t, s, 0, 4, "MARKET")
		now := time.Now().Add(pendingTime + time.Millisecond)
		if err := s.tickStream(t.Context(), now, s.streams.byName["btcusdt@trade"]); err != nil { // begins to fetch 2 and 3
			t.Fatal(err)
		}
		if c.late != "" {
			bringTrade(t, s, 1, 2, c.late)
		}
		fetched(t, s, release)
		if len(*gaps) != 1 {
			t.Fatalf("%+v: %d calls of TradeGap", c, len(*gaps))
		}
		if g := (*gaps)[0]; g.Backfilled != c.filled || g.Others != c.not || errors.Is(g.Err, ErrTradesMissing) != c.missing {
			t.Errorf("%+v: TradeGap %+v", c, g)
		}
		if got := *ids; got[len(got)-1] != 4 {
			t.Errorf("%+v: records of the trades %v", c, got)
		}
	}
}

// The published frames of type NA.
func TestPublishedFramesOfTypeNA(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "shared", "cases", "usdm-trade-NA.ndjson"))
	if os.IsNotExist(err) {
		t.Skip("the cases are not on this machine")
	}
	if err != nil {
		t.Fatal(err)
	}
	s, _, ids, _, gaps := tradesShard(t, marketprism.USDM, false, 1, "[]")
	const last = 7950493453 // of the trade before the second frame
	for i, line := range bytes.Split(bytes.TrimSpace(text), []byte("\n")) {
		var row struct{ Frame json.RawMessage }
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			bringTrade(t, s, 0, last, "MARKET")
			*ids, *gaps = nil, nil
		}
		if err := s.step(t.Context(), time.Now(), s.conns.conns[0], row.Frame, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	var stats Stats
	s.count.addTo(&stats)
	if got := fmt.Sprint(*ids, len(*gaps), stats.OtherTrades, stats.Undecoded); got != fmt.Sprintf("[%d] 0 map[NA:2] 0", last+2) {
		t.Errorf("records, gaps, counts: %s", got)
	}
}

// The trade after ids that are none of the market names the first of them, so that a reader does not take them for missing.
func TestTradeNamesTheIDsBeforeIt(t *testing.T) {
	s, release, _, _, _ := tradesShard(t, marketprism.USDM, false, 1, "["+tradeRowOf(8)+"]")
	var got []string
	s.handle = func(_ context.Context, rec *marketprism.Record) error {
		got = append(got, fmt.Sprint(rec.Trade.FirstID, "-", rec.Trade.LastID, ":", rec.Trade.ID))
		return nil
	}
	bringTrade(t, s, 0, 1, "MARKET")
	bringTrade(t, s, 0, 2, "NA")
	bringTrade(t, s, 0, 3, "ADL")
	bringTrade(t, s, 0, 4, "MARKET")
	bringTrade(t, s, 0, 5, "MARKET")
	bringTrade(t, s, 0, 6, "INSURANCE_FUND")
	bringTrade(t, s, 0, 9, "MARKET") // 7 and 8 are lost, and 7 is not in the history
	fetched(t, s, release)
	if want := "[0-0:1 2-4:4 0-0:5 6-8:8 0-0:9]"; fmt.Sprint(got) != want {
		t.Errorf("records %v, want %s", got, want)
	}
}

// Trades were used before those that miss before them were fetched. What is no trade among the late ones does not hide what
// is none among the newest.
func TestOtherTradesOfALateBackfill(t *testing.T) {
	s, release, ids, _, _ := tradesShard(t, marketprism.USDM, false, 1, "["+tradeRowOf(3)+"]")
	first := make(map[int64]int64)
	handle := s.handle
	s.handle = func(ctx context.Context, rec *marketprism.Record) error {
		if rec.Trade != nil && rec.Trade.FirstID != 0 {
			first[rec.Trade.ID] = rec.Trade.FirstID
		}
		return handle(ctx, rec)
	}
	bringTrade(t, s, 0, 1, "MARKET")
	bringTrade(t, s, 0, 4, "MARKET")
	if err := s.tickStream(t.Context(), time.Now().Add(backfillPatience+time.Millisecond), s.streams.byName["btcusdt@trade"]); err != nil {
		t.Fatal(err)
	}
	bringTrade(t, s, 0, 5, "NA")
	fetched(t, s, release)
	bringTrade(t, s, 0, 6, "MARKET")
	if got := fmt.Sprint(*ids, first); got != "[1 4 3 6] map[3:2 6:5]" {
		t.Errorf("records of the trades, and the first ids that they name: %s", got)
	}
}
