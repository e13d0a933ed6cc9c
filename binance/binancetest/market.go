package binancetest

import (
	"time"

	"github.com/marketprism/marketprism"
)

// rules are the differences between the markets, except the shapes of payloads.
type rules struct {
	restPrefix  string
	weightLimit int  // request weight a minute
	infoWeight  int  // of exchangeInfo
	byStatus    bool // exchangeInfo and depth have symbolStatus

	defaultLimit int                          // of depth, in levels
	depthWeight  func(limit int) (weight int) // 0 means that the limit is rejected
	maxLimit     int                          // larger ones mean this; 0 means that depthWeight rejects them

	trades, historicalTrades, aggTrades pageRules
	keyed                               bool // historicalTrades needs an API key

	messages    int           // a connection may send in one second
	maxStreams  int           // of a connection
	pingPeriod  time.Duration // between the server's pings
	pongTimeout time.Duration

	depthPeriods     []depthPeriod // fastest first
	contiguous       bool          // ids count up by one within a symbol (spot), or jump and are shared (futures)
	paddedDecimals   bool          // numbers carry eight decimals (spot), or the symbol's own (futures)
	closeOnBadJSON   bool
	routed           bool // streams are split over /public, /market and /private
	instrumentTypeID int  // "st" of futures payloads
}

// pageRules are the rules of an endpoint with a limit of rows.
type pageRules struct {
	weight, defaultLimit, maxLimit int
}

// A depthPeriod is one speed of the depth stream, with its names.
type depthPeriod struct {
	millis  int64
	streams []string // after "<symbol>@"
}

// rulesOf returns the rules of a market; ok is false for an unknown one.
func rulesOf(m marketprism.Market) (r *rules, ok bool) {
	futures := rules{
		weightLimit: 2400, infoWeight: 1,
		defaultLimit: 500, depthWeight: futuresDepthWeight,
		trades: pageRules{5, 500, 1000}, historicalTrades: pageRules{20, 100, 500}, aggTrades: pageRules{20, 500, 1000}, keyed: true,
		messages: 10, maxStreams: 1024,
		pingPeriod: 3 * time.Minute, pongTimeout: 10 * time.Minute,
		depthPeriods: []depthPeriod{
			{100, []string{"depth@100ms"}}, {250, []string{"depth", "depth@250ms"}}, {500, []string{"depth@500ms"}},
		},
		closeOnBadJSON: true,
	}
	switch m {
	case marketprism.Spot:
		return &rules{
			restPrefix: "/api/v3", weightLimit: 6000, infoWeight: 20, byStatus: true,
			defaultLimit: 100, depthWeight: spotDepthWeight, maxLimit: 5000,
			trades: pageRules{25, 500, 1000}, historicalTrades: pageRules{25, 500, 1000}, aggTrades: pageRules{4, 500, 1000},
			messages: 5, maxStreams: 1024,
			pingPeriod: 20 * time.Second, pongTimeout: time.Minute,
			depthPeriods: []depthPeriod{{100, []string{"depth@100ms"}}, {1000, []string{"depth", "depth@1000ms"}}},
			contiguous:   true, paddedDecimals: true,
		}, true
	case marketprism.USDM:
		futures.restPrefix, futures.routed, futures.instrumentTypeID = "/fapi/v1", true, 1
		slowest := &futures.depthPeriods[len(futures.depthPeriods)-1]
		slowest.streams = append(slowest.streams, "rpiDepth@500ms") // the same changes: the fake has no RPI orders
		return &futures, true
	case marketprism.COINM:
		futures.restPrefix, futures.maxStreams, futures.instrumentTypeID = "/dapi/v1", 200, 2 // by the older page; see Config.StreamLimit
		return &futures, true
	}
	return nil, false
}

// spotDepthWeight follows the table of rest-api.md, "Order book": 1-100: 5, 101-500: 25, 501-1000: 50,
// 1001-5000: 250.
func spotDepthWeight(limit int) int {
	switch {
	case limit <= 0:
		return 0
	case limit <= 100:
		return 5
	case limit <= 500:
		return 25
	case limit <= 1000:
		return 50
	}
	return 250
}

// futuresDepthWeight follows the table of the futures "Order Book" page. Other limits are rejected.
func futuresDepthWeight(limit int) int {
	switch limit {
	case 5, 10, 20, 50:
		return 2
	case 100:
		return 5
	case 500:
		return 10
	case 1000:
		return 20
	}
	return 0
}

// A route is the part of the USDⓈ-M stream host that a connection was opened on. Streams of another route
// are acknowledged and stay silent. The other markets have one route.
type route uint8

const (
	routeAll route = iota
	routePublic
	routeMarket
	routePrivate
)

// prefix returns the prefix of the route's paths.
func (r route) prefix() string {
	return [...]string{routeAll: "", routePublic: "/public", routeMarket: "/market", routePrivate: "/private"}[r]
}

// routeOf returns the route of a stream type, by the page "Important WebSocket Change Notice" (2026-03-06) of the
// USDⓈ-M documents. It does not list raw trades, which users have seen on /public.
func routeOf(streamType string) route {
	switch streamType {
	case "depth", "depth5", "depth10", "depth20", "rpiDepth", "bookTicker", "trade":
		return routePublic
	}
	return routeMarket
}
