package binancetest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/orderbook"
)

// newServer starts a server that is closed at the end of the test.
func newServer(t *testing.T, cfg binancetest.Config) *binancetest.Server {
	t.Helper()
	if cfg.Symbols == nil && cfg.Playback == nil {
		cfg.Symbols = binancetest.Symbols("BTCUSDT")
	}
	cfg.Symbols = at100(cfg.Symbols)
	s, err := binancetest.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// at100 returns symbols with the price that the levels and prices in these tests are near, and with its steps, where they have none.
func at100(symbols []binancetest.Symbol) []binancetest.Symbol {
	symbols = slices.Clone(symbols)
	for i := range symbols {
		if s := &symbols[i]; s.Price == 0 && s.Bids == nil && s.Asks == nil {
			s.Price = 100 * orderbook.One
		}
		if s := &symbols[i]; s.StepSize == 0 && s.BasePrecision == 0 {
			s.StepSize = orderbook.One / 1000
		}
	}
	return symbols
}

// A client is one websocket connection.
type client struct {
	t  *testing.T
	ws *websocket.Conn
}

func dial(t *testing.T, s *binancetest.Server, path string) *client {
	t.Helper()
	c, resp, err := tryDial(s, path)
	if err != nil {
		t.Fatalf("dial %s: %v (%v)", path, err, resp)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &client{t, c}
}

func tryDial(s *binancetest.Server, path string) (*websocket.Conn, *http.Response, error) {
	d := websocket.Dialer{NetDialContext: s.DialContext}
	return d.Dial(s.StreamURL()+path, nil)
}

func (c *client) send(text string) {
	c.t.Helper()
	if err := c.ws.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

// text returns the next text frame.
func (c *client) text() string {
	c.t.Helper()
	_, data, err := c.ws.ReadMessage()
	if err != nil {
		c.t.Fatal(err)
	}
	return string(data)
}

// ask sends a request and returns the next frame, its answer.
func (c *client) ask(text string) string {
	c.t.Helper()
	c.send(text)
	return c.text()
}

// next decodes the next frame of a raw connection.
func (c *client) next() event {
	c.t.Helper()
	return decode[event](c.t, c.text())
}

// closed reads until the connection ends, and returns the close frame's code and reason.
func (c *client) closed() (code int, reason string) {
	c.t.Helper()
	for {
		_, _, err := c.ws.ReadMessage()
		if e, ok := err.(*websocket.CloseError); ok {
			return e.Code, e.Text
		}
		if err != nil {
			return websocket.CloseAbnormalClosure, err.Error()
		}
	}
}

// An event has the fields of all payloads.
type event struct {
	Type       string      `json:"e"`
	Time       int64       `json:"E"`
	Engine     int64       `json:"T"`
	Symbol     string      `json:"s"`
	First      int64       `json:"U"`
	Last       int64       `json:"u"`
	Prev       *int64      `json:"pu"`
	Bids       [][2]string `json:"b"`
	Asks       [][2]string `json:"a"`
	Pair       string      `json:"ps"`
	Instrument int         `json:"st"`
}

// A tickerEvent is a bookTicker; its b and a differ from those of a depth event.
type tickerEvent struct {
	Type   string `json:"e"`
	ID     int64  `json:"u"`
	Symbol string `json:"s"`
	Bid    string `json:"b"`
	BidQty string `json:"B"`
	Ask    string `json:"a"`
	AskQty string `json:"A"`
}

type snapshot struct {
	ID     int64       `json:"lastUpdateId"`
	Time   int64       `json:"E"`
	Engine int64       `json:"T"`
	Symbol string      `json:"symbol"`
	Pair   string      `json:"pair"`
	Bids   [][2]string `json:"bids"`
	Asks   [][2]string `json:"asks"`
}

// decode unmarshals strictly: a key that T does not have fails the test.
func decode[T any](t *testing.T, text string) (v T) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

type response struct {
	status int
	header http.Header
	body   string
}

func get(t *testing.T, s *binancetest.Server, path string) response {
	t.Helper()
	c := s.HTTPClient()
	defer c.CloseIdleConnections()
	resp, err := c.Get(s.RESTURL() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{resp.StatusCode, resp.Header, string(body)}
}

func getSnapshot(t *testing.T, s *binancetest.Server, path string) snapshot {
	t.Helper()
	r := get(t, s, path)
	if r.status != http.StatusOK {
		t.Fatalf("%s: %d %s", path, r.status, r.body)
	}
	return decode[snapshot](t, r.body)
}

func apply(t *testing.T, s *binancetest.Server, symbol string, bids, asks []orderbook.Level) int64 {
	t.Helper()
	id, err := s.Apply(symbol, bids, asks)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// levels parses "price quantity, price quantity".
func levels(t *testing.T, text string) []orderbook.Level {
	t.Helper()
	var list []orderbook.Level
	for part := range strings.SplitSeq(text, ",") {
		var p, q string
		if _, err := fmt.Sscan(part, &p, &q); err != nil {
			t.Fatal(err)
		}
		list = append(list, orderbook.Level{Price: fixed(t, p), Quantity: fixed(t, q)})
	}
	return list
}

func fixed(t *testing.T, s string) orderbook.Fixed {
	t.Helper()
	f, err := orderbook.ParseFixed(s)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// manual returns a config with a small book whose intervals end with Server.Tick.
func manual(t *testing.T) binancetest.Config {
	return binancetest.Config{
		Tick: -1,
		Symbols: []binancetest.Symbol{{
			Name: "BTCUSDT", LastID: 100, Bids: levels(t, "10 1, 9.5 2"), Asks: levels(t, "11 3, 12 4"),
		}},
	}
}

// inMemory returns a config for use in a synctest bubble.
func inMemory(symbols ...string) binancetest.Config {
	return binancetest.Config{Network: binancetest.InMemory(), Symbols: binancetest.Symbols(symbols...)}
}

const tick = 100 * time.Millisecond

// decodeLoosely unmarshals and ignores keys that T does not have.
func decodeLoosely[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}
