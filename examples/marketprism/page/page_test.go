package page_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/examples/marketprism/page"
	"github.com/marketprism/marketprism/orderbook"
)

// A state is what the page's script gets, as far as the tests read it.
type state struct {
	Symbol struct {
		Symbol, State string
		LastGap       string
	}
	Book    *book
	Trades  []struct{ ID int64 }
	Health  *page.Health
	Symbols []struct{ Symbol, State string }
}

type book struct {
	LastID     int64
	Bids, Asks [][2]string
	BidCount   int
}

// states opens the page's stream and returns a func that reads the next state.
func states(t *testing.T, p *pipeline, symbol string) func() state {
	t.Helper()
	answer := get(t, p.url+"/api/live?symbol="+symbol)
	require.Equal(t, "text/event-stream", answer.Header.Get("Content-Type"))
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1<<20)
	return func() (s state) {
		t.Helper()
		for lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				require.NoError(t, json.Unmarshal([]byte(text), &s))
				return s
			}
		}
		require.NoError(t, lines.Err())
		t.Fatal("the stream has ended")
		return s
	}
}

func get(t *testing.T, address string) *http.Response {
	t.Helper()
	answer, err := http.Get(address)
	require.NoError(t, err)
	t.Cleanup(func() { answer.Body.Close() })
	return answer
}

// side writes the best levels as the page gets them.
func side(levels []orderbook.Level) [][2]string {
	out := [][2]string{}
	for _, l := range levels {
		out = append(out, [2]string{l.Price.String(), l.Quantity.String()})
	}
	return out
}

// TestLiveEqualsBook: the page receives the library's book, level by level.
func TestLiveEqualsBook(t *testing.T) {
	p := newPipeline(t, nil)
	price, quantity := orderbook.Fixed(100*orderbook.One), orderbook.Fixed(orderbook.One)
	tradeID, err := p.exchange.Trade("ETHUSDT", price, quantity, true)
	require.NoError(t, err)
	_, err = p.exchange.Apply("ETHUSDT", []orderbook.Level{{Price: orderbook.One, Quantity: 92233720368_54775807}}, nil)
	require.NoError(t, err)
	p.exchange.Tick()

	next := states(t, p, "ETHUSDT")
	require.Eventually(t, func() bool {
		s := next()
		var want book
		require.NoError(t, p.books.View("ETHUSDT", func(b *orderbook.Book, status binance.Status) {
			want = book{LastID: b.LastID(), Bids: side(b.AppendBids(nil, 100)), Asks: side(b.AppendAsks(nil, 100)), BidCount: b.BidCount()}
		}))
		if s.Book == nil || s.Book.LastID != want.LastID || len(s.Trades) == 0 {
			return false
		}
		require.Equal(t, want, *s.Book)
		require.Equal(t, tradeID, s.Trades[0].ID)
		require.Equal(t, "synced", s.Symbol.State)
		require.Equal(t, 1, s.Health.Connections)
		return true
	}, 10*time.Second, time.Millisecond)
	require.Len(t, next().Symbols, 0) // the whole list comes with every fourth state
}

// TestLiveShowsLoss: a book that is not synced is not shown.
func TestLiveShowsLoss(t *testing.T) {
	p := newPipeline(t, nil)
	next := states(t, p, "")
	first := next()
	require.Equal(t, "BTCUSDT", first.Symbol.Symbol)
	require.Len(t, first.Symbols, 2)
	p.exchange.RejectStreams(1000, http.StatusServiceUnavailable)
	p.exchange.Disconnect(1001, "going away")
	require.Eventually(t, func() bool {
		s := next()
		return s.Book == nil && s.Symbol.State != "synced" && s.Symbol.LastGap == "disconnect" && s.Health.Connections == 0
	}, 10*time.Second, time.Millisecond)
}

// TestHistory: points have the book's mid and spread, and none while it is not synced.
func TestHistory(t *testing.T) {
	p := newPipeline(t, func(_ *pipeline, cfg *page.Config) { cfg.Sample, cfg.History = 10*time.Millisecond, 5 })
	var mid float64
	require.NoError(t, p.books.View("BTCUSDT", func(b *orderbook.Book, _ binance.Status) { mid, _ = b.Mid() }))
	points := func() (points []struct{ Mid *float64 }) {
		var answer struct{ Points []struct{ Mid *float64 } }
		require.NoError(t, json.NewDecoder(get(t, p.url+"/api/history?symbol=BTCUSDT").Body).Decode(&answer))
		return answer.Points
	}
	require.Eventually(t, func() bool { return len(points()) == 5 }, 10*time.Second, time.Millisecond)
	last := points()[4]
	require.NotNil(t, last.Mid)
	require.Equal(t, mid, *last.Mid)

	p.exchange.RejectStreams(1000, http.StatusServiceUnavailable)
	p.exchange.Disconnect(1001, "going away")
	require.Eventually(t, func() bool {
		all := points()
		return all[0].Mid == nil && all[len(all)-1].Mid == nil && len(all) == 5
	}, 10*time.Second, time.Millisecond)
}

// TestPast: a past book equals the archive's; without one the page shows the reason.
func TestPast(t *testing.T) {
	p := newPipeline(t, archive(t))
	id, err := p.exchange.Apply("BTCUSDT", []orderbook.Level{{Price: orderbook.One, Quantity: 3 * orderbook.One}}, nil)
	require.NoError(t, err)
	p.exchange.Tick()
	require.Eventually(t, func() bool { s, _ := p.books.Status("BTCUSDT"); return s.LastID >= id }, 10*time.Second, time.Millisecond)

	past := func(values url.Values) (status int, answer struct {
		Error string
		Book  *book
	}) {
		a := get(t, p.url+"/api/book?"+values.Encode())
		require.NoError(t, json.NewDecoder(a.Body).Decode(&answer))
		return a.StatusCode, answer
	}
	at := func(moment time.Time) url.Values {
		return url.Values{"symbol": {"BTCUSDT"}, "at": {strconv.FormatInt(moment.UnixMilli(), 10)}}
	}
	require.Eventually(t, func() bool { // the record is stored after the book has it
		status, answer := past(at(time.Now().Add(time.Minute)))
		require.Equal(t, http.StatusOK, status, answer.Error)
		if answer.Book.LastID < id {
			return false
		}
		require.NoError(t, p.books.View("BTCUSDT", func(b *orderbook.Book, _ binance.Status) {
			require.Equal(t, b.LastID(), answer.Book.LastID)
			require.Equal(t, side(b.AppendBids(nil, 100)), answer.Book.Bids)
		}))
		return true
	}, 10*time.Second, 10*time.Millisecond)

	status, answer := past(at(time.Now().Add(-time.Hour)))
	require.Equal(t, http.StatusNotFound, status)
	require.Contains(t, answer.Error, "no snapshot")
	status, answer = past(url.Values{"symbol": {"BTCUSDT"}, "at": {"noon"}})
	require.Equal(t, http.StatusBadRequest, status, answer.Error)

	without := newPipeline(t, nil)
	require.Equal(t, http.StatusNotFound, get(t, without.url+"/api/book?symbol=BTCUSDT&at=0").StatusCode)
}

// TestRejected: foreign hosts, other methods, unknown symbols, and one viewer too many.
func TestRejected(t *testing.T) {
	p := newPipeline(t, func(_ *pipeline, cfg *page.Config) { cfg.Viewers, cfg.Gate.Hosts = 1, []string{"prism.example"} })
	for host, want := range map[string]int{
		"": http.StatusOK, "localhost:80": http.StatusOK, "[::1]": http.StatusOK, "Prism.Example:8080": http.StatusOK,
		"evil.example": http.StatusMisdirectedRequest, "127.0.0.1.evil.example": http.StatusMisdirectedRequest, "10.0.0.1": http.StatusMisdirectedRequest,
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/", nil)
		require.NoError(t, err)
		request.Host = host
		answer, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		answer.Body.Close()
		require.Equal(t, want, answer.StatusCode, host)
		require.Contains(t, answer.Header.Get("Content-Security-Policy"), "default-src 'none'", host)
		require.NotContains(t, answer.Header.Get("Content-Security-Policy"), "unsafe", host)
	}
	answer, err := http.Post(p.url+"/", "text/plain", strings.NewReader("x"))
	require.NoError(t, err)
	answer.Body.Close()
	require.Equal(t, http.StatusMethodNotAllowed, answer.StatusCode)
	require.Equal(t, http.StatusNotFound, get(t, p.url+"/api/live?symbol=NOSUCH").StatusCode)
	answer, err = (&http.Client{Timeout: 20 * time.Second}).Head(p.url + "/api/live?symbol=BTCUSDT")
	require.NoError(t, err)
	answer.Body.Close()
	require.Equal(t, "text/event-stream", answer.Header.Get("Content-Type"))

	states(t, p, "BTCUSDT")()
	require.Equal(t, http.StatusServiceUnavailable, get(t, p.url+"/api/live?symbol=BTCUSDT").StatusCode)
}

// TestConfig: invalid configurations are rejected.
func TestConfig(t *testing.T) {
	for _, cfg := range []page.Config{
		{}, {Feed: &binance.DepthSyncer{}, Levels: -1}, {Feed: &binance.DepthSyncer{}, Refresh: -1},
	} {
		_, err := page.New(cfg)
		require.ErrorContains(t, err, "page: ")
	}
	p, err := page.New(page.Config{Feed: &binance.DepthSyncer{}})
	require.NoError(t, err)
	p.Observe(&marketprism.Record{}) // no trade
}
