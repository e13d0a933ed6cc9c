package binance

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// Endpoints are the hosts of one environment, without a slash at the end. Each may have a path, as of a
// reverse proxy ("https://gateway.example/binance"), which comes before the paths of the exchange.
type Endpoints struct {
	REST   string // "https://api.binance.com"
	Stream string // "wss://stream.binance.com:9443"
	SBE    string // "wss://stream-sbe.binance.com:9443", for Config.SBE; "" where there is none
}

// Production returns the hosts of the real exchange. An unknown market gives the zero value.
func Production(m marketprism.Market) Endpoints {
	switch m {
	case marketprism.Spot:
		return Endpoints{REST: "https://api.binance.com", Stream: "wss://stream.binance.com:9443", SBE: "wss://stream-sbe.binance.com:9443"}
	case marketprism.USDM:
		return Endpoints{REST: "https://fapi.binance.com", Stream: "wss://fstream.binance.com"}
	case marketprism.COINM:
		return Endpoints{REST: "https://dapi.binance.com", Stream: "wss://dstream.binance.com"}
	}
	return Endpoints{}
}

// MarketDataOnly returns the spot hosts that serve public market data and nothing else.
func MarketDataOnly() Endpoints {
	return Endpoints{REST: "https://data-api.binance.vision", Stream: "wss://data-stream.binance.vision"}
}

// Testnet returns the hosts of the test network. Its data is wiped about once a month, after which
// update and trade ids restart. An unknown market gives the zero value.
func Testnet(m marketprism.Market) Endpoints {
	switch m {
	case marketprism.Spot:
		return Endpoints{REST: "https://testnet.binance.vision", Stream: "wss://stream.testnet.binance.vision", SBE: "wss://stream-sbe.testnet.binance.vision"}
	case marketprism.USDM:
		return Endpoints{REST: "https://testnet.binancefuture.com", Stream: "wss://fstream.binancefuture.com"}
	case marketprism.COINM:
		return Endpoints{REST: "https://testnet.binancefuture.com", Stream: "wss://dstream.binancefuture.com"}
	}
	return Endpoints{}
}

// Demo returns the hosts of the demo mode: play money at live prices. An unknown market gives the zero
// value.
func Demo(m marketprism.Market) Endpoints {
	switch m {
	case marketprism.Spot:
		return Endpoints{REST: "https://demo-api.binance.com", Stream: "wss://demo-stream.binance.com", SBE: "wss://demo-stream-sbe.binance.com"}
	case marketprism.USDM:
		return Endpoints{REST: "https://demo-fapi.binance.com", Stream: "wss://demo-fstream.binance.com"}
	case marketprism.COINM:
		return Endpoints{REST: "https://demo-dapi.binance.com", Stream: "wss://demo-dstream.binance.com"}
	}
	return Endpoints{}
}

// withDefaults fills in the production hosts and checks all hosts.
func (e Endpoints) withDefaults(m marketprism.Market) (Endpoints, error) {
	production := Production(m)
	e.REST = cmp.Or(e.REST, production.REST)
	e.Stream = cmp.Or(e.Stream, production.Stream)
	e.SBE = cmp.Or(e.SBE, production.SBE)
	if e.SBE != "" {
		if err := checkHost("SBE", e.SBE, "ws", "wss"); err != nil {
			return e, err
		}
	}
	if err := checkHost("REST", e.REST, "http", "https"); err != nil {
		return e, err
	}
	return e, checkHost("Stream", e.Stream, "ws", "wss")
}

func checkHost(field, text, plain, secure string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil: // not quoted: it may contain a password
		return fmt.Errorf("binance: Endpoints.%s: parse error: not a URL", field)
	case u.Scheme != plain && u.Scheme != secure, u.Host == "", u.User != nil, u.RawQuery != "", u.Fragment != "", strings.HasSuffix(text, "/"):
		return fmt.Errorf("binance: Endpoints.%s %q: want %s://HOST or %s://HOST/PATH", field, u.Redacted(), secure, secure)
	}
	return nil
}

// A market holds the rules that differ between Binance's markets.
type market struct {
	name       marketprism.Market
	restPrefix string // of every REST path

	weightLimit  int // request weight an IP may use in a clock minute
	infoWeight   int // request weight of exchangeInfo
	depthWeights []depthWeight
	maxDepth     int
	depthLimits  []int // the only limits accepted; nil means any up to maxDepth
	namedDepth   bool  // depth answers carry the symbol

	sbe       bool            // streams are binary
	micros    bool            // event times are available in microseconds
	intervals []depthInterval // speeds of the diff stream; the first is the default
	routed    bool            // streams are split over the paths /public and /market
	ticker    string          // suffix of the stream of best prices

	requestsPerSecond int           // control requests this package sends on one connection
	maxStreams        int           // of one connection
	usualStreams      int           // of one connection of a DepthSyncer, unless it is configured
	silence           time.Duration // a connection without a frame or ping for so long is dead
	pongTimeout       time.Duration // within which the exchange wants a pong after its ping
}

// A depthWeight is the request weight of a depth snapshot of at most limit levels.
type depthWeight struct{ limit, weight int }

// A depthInterval is a speed of the diff stream and its suffix.
type depthInterval struct {
	every  time.Duration
	suffix string
}

// marketOf returns the rules of a market; "" means Spot.
func marketOf(name marketprism.Market) (*market, error) {
	switch name {
	case "", marketprism.Spot:
		return spotMarket(), nil
	case marketprism.USDM:
		m := futuresMarket(marketprism.USDM, "/fapi/v1")
		m.routed = true
		return m, nil
	case marketprism.COINM:
		m := futuresMarket(marketprism.COINM, "/dapi/v1")
		m.namedDepth = true
		// The page "Websocket Market Streams" of COIN-M says 1024 streams a connection, its older page
		// "Connect" 200. Both are served, so the lower one is used unless the program says otherwise.
		m.usualStreams = 200
		return m, nil
	}
	return nil, fmt.Errorf("binance: unknown market %q", name)
}

func spotMarket() *market {
	return &market{
		name:       marketprism.Spot,
		restPrefix: "/api/v3",

		// rest-api.md, Order book: "1-100: 5, 101-500: 25, 501-1000: 50, 1001-5000: 250".
		weightLimit:  6000,
		infoWeight:   20,
		depthWeights: []depthWeight{{100, 5}, {500, 25}, {1000, 50}, {5000, 250}},
		maxDepth:     5000,

		// web-socket-streams.md, General WSS information: "All time and timestamp related fields are
		// milliseconds by default. To receive the information in microseconds, please add the parameter
		// timeUnit=MICROSECOND or timeUnit=microsecond in the URL."
		micros:    true,
		intervals: []depthInterval{{100 * time.Millisecond, "@depth@100ms"}, {time.Second, "@depth"}},
		ticker:    tickerSuffix,

		// web-socket-streams.md, Websocket Limits: "WebSocket connections have a limit of 5 incoming
		// messages per second. A message is considered: a PING frame, a PONG frame, a JSON controlled
		// message". One of the five stays free for the answer to a ping.
		requestsPerSecond: 4,
		// "A single connection can listen to a maximum of 1024 streams."
		maxStreams: 1024, usualStreams: 1024,
		// "The websocket server will send a ping frame every 20 seconds." Three missed ones are enough.
		silence: time.Minute,
		// "If the WebSocket server does not receive a pong frame back from the connection within a minute the
		// connection will be disconnected."
		pongTimeout: time.Minute,
	}
}

// Suffixes of stream names.
const (
	tickerSuffix    = "@bookTicker"
	tradeSuffix     = "@trade"
	aggTradeSuffix  = "@aggTrade"
	sbeDepthSuffix  = "@depth"
	sbeTickerSuffix = "@bestBidAsk"
)

// sbeMarket is spot by its binary streams. sbe-market-data-streams.md: "All time and timestamp related fields are in
// microseconds", and the diffs come every 20 ms. The limits are those of the JSON streams.
func sbeMarket() *market {
	m := spotMarket()
	m.sbe, m.micros = true, false // the binary streams have nothing else
	m.intervals = []depthInterval{{20 * time.Millisecond, sbeDepthSuffix}}
	m.ticker = sbeTickerSuffix
	return m
}

func futuresMarket(name marketprism.Market, prefix string) *market {
	return &market{
		name:       name,
		restPrefix: prefix,

		// Futures, Order Book: limits 5, 10, 20, 50 weigh 2; 100: 5; 500: 10; 1000: 20. Others are refused.
		weightLimit:  2400,
		infoWeight:   1,
		depthWeights: []depthWeight{{50, 2}, {100, 5}, {500, 10}, {1000, 20}},
		maxDepth:     1000,
		depthLimits:  []int{5, 10, 20, 50, 100, 500, 1000},

		intervals: []depthInterval{
			{100 * time.Millisecond, "@depth@100ms"}, {250 * time.Millisecond, "@depth"}, {500 * time.Millisecond, "@depth@500ms"},
		},
		ticker: tickerSuffix,

		// Futures, Websocket Market Streams: "WebSocket connections have a limit of 10 incoming messages
		// per second." "The websocket server will send a ping frame every 3 minutes. If the websocket
		// server does not receive a pong frame back from the connection within a 10 minute period, the
		// connection will be disconnected."
		// "A single connection can listen to a maximum of 1024 streams."
		requestsPerSecond: 8,
		maxStreams:        1024, usualStreams: 1024,
		silence:     10 * time.Minute,
		pongTimeout: 10 * time.Minute,
	}
}

// A family is the markets whose request weight the exchange counts together. USDⓈ-M and COIN-M share
// one limit since 2026-06-30.
type family string

func (m *market) family() family {
	if m.name == marketprism.Spot {
		return "spot"
	}
	return "futures"
}

// decoder returns a Decoder of the market's streams.
func (m *market) decoder() Decoder {
	return Decoder{linked: m.name.Continuity() == orderbook.Linked}
}

// checkDepth returns an error for a number of levels that the exchange does not serve.
func (m *market) checkDepth(limit int) error {
	if limit < 1 || limit > m.maxDepth {
		return fmt.Errorf("binance: depth limit %d: %s serves 1 to %d levels", limit, m.name, m.maxDepth)
	}
	if m.depthLimits != nil && !slices.Contains(m.depthLimits, limit) {
		return fmt.Errorf("binance: depth limit %d: %s serves %v levels only", limit, m.name, m.depthLimits)
	}
	return nil
}

func (m *market) depthWeight(limit int) int {
	for _, w := range m.depthWeights {
		if limit <= w.limit {
			return w.weight
		}
	}
	return m.depthWeights[len(m.depthWeights)-1].weight
}

// depthSuffix returns the suffix of the diff stream of a speed; 0 means the fastest.
func (m *market) depthSuffix(every time.Duration) (string, error) {
	var have []time.Duration
	for _, i := range m.intervals {
		if every == 0 || every == i.every {
			return i.suffix, nil
		}
		have = append(have, i.every)
	}
	return "", fmt.Errorf("binance: depth interval %v: %s has %v", every, m.name, have)
}

// A route is the path that serves a stream. The exchange acknowledges a stream on another route, which
// then stays silent.
type route string

const (
	routeAll    route = ""
	routePublic route = "/public"
	routeMarket route = "/market"
)

// bookRoute serves depth, bookTicker and trade streams; aggRoute serves aggTrade.
func (m *market) bookRoute() route {
	if m.routed {
		return routePublic
	}
	return routeAll
}

func (m *market) aggRoute() route {
	if m.routed {
		return routeMarket
	}
	return routeAll
}

// routeOf returns the route of a stream. The page "Important WebSocket Change Notice" lists depth and
// bookTicker for /public; raw trades, which it does not list, have been seen there as well.
func (m *market) routeOf(stream string) route {
	if !m.routed {
		return routeAll
	}
	_, kind, _ := strings.Cut(stream, "@")
	for _, public := range [...]string{"depth", "rpiDepth", "bookTicker", "trade"} {
		if strings.HasPrefix(kind, public) {
			return routePublic
		}
	}
	if strings.HasPrefix(stream, "!bookTicker") {
		return routePublic
	}
	return routeMarket
}
