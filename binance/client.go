package binance

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
)

// A Config describes a Client. The zero value is for the spot market of the real exchange.
type Config struct {
	Market    marketprism.Market // "" means Spot
	Endpoints Endpoints          // zero fields mean the Market's production hosts

	// HTTPClient makes the REST requests. Nil means one of the Client's own. It needs no Timeout: RequestTimeout
	// ends the context of a request.
	//
	// If its Transport is an http.Transport, or nil, websockets are opened with the same settings: proxy,
	// TLS, and how to dial. After a request that timed out its idle connections are closed, and a clone of
	// the Transport makes the next requests, so that a dead connection is not used again. With a Transport
	// of another type the connections in use may be, and websockets are opened as without an HTTPClient.
	HTTPClient *http.Client

	// RequestTimeout bounds a REST request from when it is sent, after it has waited for request weight, to the last
	// byte of its answer. 0 means 15 s. Beyond, the error is context.DeadlineExceeded.
	RequestTimeout time.Duration

	// DialContext opens the connections of websockets and, if HTTPClient is nil, those of REST. Nil means
	// net.Dialer, or what HTTPClient's Transport has. It gets the proxy's address if there is a proxy. It is
	// called inside a request or a handshake, and must not wait for another one. So is Proxy.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)

	// Proxy returns the URL of the proxy for a request, or nil for none, as http.Transport's field of that
	// name, with the schemes http, https, socks5 and socks5h: see http.ProxyURL. A wss URL is passed as
	// https. With each scheme the proxy looks up the exchange's name. Nil means the proxy that the
	// environment names (HTTPS_PROXY, NO_PROXY, …), and none with a DialContext.
	Proxy func(*http.Request) (*url.URL, error)

	// TLS configures the connections to the exchange and to a proxy of scheme https: the authorities
	// trusted (RootCAs), a certificate of the program's own, another ServerName. It is cloned. Nil means
	// the system's authorities. A ServerName holds for such a proxy as well.
	TLS *tls.Config

	// LocalAddr is the address of this host that connections come from; the zero value leaves it to the
	// system. The exchange counts by address: Clients of one address share a Budget, and Clients of
	// different ones have different Budgets.
	LocalAddr netip.Addr

	// RedirectHosts are other hosts, such as "api.example.com" or "127.0.0.1:8080", to which a REST request
	// or a websocket handshake may be redirected. They do not get the APIKey. A redirect to any other host,
	// or from https to http, is a *RedirectError. A given HTTPClient's CheckRedirect is asked as well.
	RedirectHosts []string

	// Budget limits the Client's requests. All Clients of spot in the process should share one, and all
	// of the futures markets. Nil means a Budget of the Client's own, from a zero BudgetConfig.
	Budget *Budget

	// Recorder writes what the Client receives to files. Nil means none, and costs nothing.
	Recorder *Recorder

	// Microseconds asks for the times of websocket events in microseconds, which only spot has. Times
	// from REST, including those of backfilled trades, stay in milliseconds.
	Microseconds bool

	// SBE selects spot's binary streams in place of those in JSON: diffs every 20 ms in place of 100, times in
	// microseconds, a fraction of the bytes and of the work. They have no aggregate trades and need an APIKey.
	// A Recorder cannot write them.
	SBE bool
	// APIKey is a key of the exchange. SBE needs one of type Ed25519, the backfill of raw trades on the futures
	// markets one of any type. The key needs no permission, and nothing is signed.
	APIKey string

	Hooks *Hooks // nil means none
}

// checkSBE returns an error if a Client cannot use the binary streams.
func (cfg *Config) checkSBE() error {
	switch {
	case cfg.Market != "" && cfg.Market != marketprism.Spot:
		return fmt.Errorf("binance: Config.SBE: %s has JSON only", cfg.Market)
	case cfg.APIKey == "":
		return errors.New("binance: Config.SBE without an APIKey")
	case cfg.Recorder != nil:
		return errors.New("binance: Config.SBE with a Recorder, which writes JSON")
	}
	return nil
}

// A Client makes REST requests and opens streams of one market. It is safe for concurrent use and need
// not be closed.
//
// All its requests pass its Budget: they wait while the exchange refuses requests (HTTP 429 or 418 with
// Retry-After) or while the request weight of the minute is used up, or end with the error of their
// context. Connecting to a stream has no weight, but also waits while the exchange refuses requests, or
// when too many connections were opened.
type Client struct {
	market    *market
	endpoints Endpoints
	micros    bool        // times of websocket events are in microseconds
	header    http.Header // of a stream's handshake
	apiKey    string      // "" if there is none
	net       *network
	timeout   time.Duration // of a REST request
	budget    *Budget
	spender   *spender // the Client in the view of its Budget
	hooks     *Hooks
	recorder  *Recorder // nil if there is none
}

// NewClient returns a Client. It fails if cfg is contradictory. It does not connect.
func NewClient(cfg Config) (*Client, error) {
	m, err := marketOf(cfg.Market)
	if err != nil {
		return nil, err
	}
	endpoints, err := cfg.Endpoints.withDefaults(m.name)
	if err != nil {
		return nil, err
	}
	if cfg.Microseconds && !m.micros {
		return nil, fmt.Errorf("binance: Config.Microseconds: %s has milliseconds only", m.name)
	}
	c := &Client{market: m, endpoints: endpoints, micros: cfg.Microseconds, hooks: cfg.Hooks, recorder: cfg.Recorder, apiKey: cfg.APIKey}
	if cfg.SBE {
		if err := cfg.checkSBE(); err != nil {
			return nil, err
		}
		c.market, c.micros = sbeMarket(), false
		c.endpoints.Stream = endpoints.SBE
		c.header = http.Header{apiKeyHeader: {cfg.APIKey}}
	}
	if c.hooks == nil {
		c.hooks = &Hooks{}
	}
	times := defaultTimeouts()
	if times.request = cmp.Or(cfg.RequestTimeout, times.request); times.request < 0 {
		return nil, fmt.Errorf("binance: Config.RequestTimeout %v: a request needs a bound", times.request)
	}
	c.timeout = times.request
	if c.net, err = newNetwork(&cfg, times); err != nil {
		return nil, err
	}
	c.spender = &spender{throttled: c.hooks.throttled}
	if c.budget = cfg.Budget; c.budget == nil {
		if c.budget, err = NewBudget(BudgetConfig{}); err != nil {
			return nil, err
		}
	}
	if err := c.budget.join(m); err != nil {
		return nil, err
	}
	return c, nil
}

// Market returns the Client's market.
func (c *Client) Market() marketprism.Market { return c.market.name }

// Instrument returns the instrument of a symbol in the Client's market.
func (c *Client) Instrument(symbol string) marketprism.Instrument {
	return marketprism.Instrument{Exchange: marketprism.Binance, Market: c.market.name, Symbol: symbol}
}

// Usage returns the state of the Client's Budget, including what other Clients have used.
func (c *Client) Usage() Usage { return c.budget.Usage() }

// CloseIdleConnections closes the REST connections that are not in use. The Client stays usable.
func (c *Client) CloseIdleConnections() { c.net.rest.Load().CloseIdleConnections() }

// A query is a REST request.
type query struct {
	path     string
	params   url.Values
	priority Priority
	weight   int
	maxBody  int64 // bytes
	keyed    bool  // needs the API key
}

const apiKeyHeader = "X-Mbx-Apikey" // #nosec G101 -- the name of a header

// get waits for the Budget and sends the request.
func (c *Client) get(ctx context.Context, r query) (body []byte, took span, err error) {
	t, err := c.budget.wait(ctx, c.spender, r.priority, r.weight)
	if err != nil {
		return nil, took, err
	}
	return c.send(ctx, t, r)
}

// A span is when a request was sent and when the head of its answer came, by the local clock.
type span struct {
	sent, answered time.Time
	status         int // 0 if no answer came
}

// send sends the request of a reservation that the Budget has granted, closes the reservation, and returns the body of a
// 200 answer. Other answers are an *APIError; a body longer than maxBody is ErrBodyTooLarge.
func (c *Client) send(ctx context.Context, granted *reservation, r query) (body []byte, took span, err error) {
	rest := c.net.rest.Load()
	var connected atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	body, took, err = c.exchange(traced, rest, granted, r)
	c.net.done(rest, err)
	// Before the hook, which may make a request of its own. What had no connection has not left this host: the exchange has
	// not counted it. A transport of the program's own may not say that it has one.
	if c.net.owned && took.status == 0 && !connected.Load() {
		granted.giveUp()
	} else {
		granted.close()
	}
	if took.status == 0 {
		took.answered = time.Now()
	}
	hook.Call(c.hooks.RequestDone, RequestInfo{Path: path.Base(r.path), Status: took.status, Elapsed: took.answered.Sub(took.sent), Err: err})
	return body, took, err
}

// exchange makes one request and reads its answer.
func (c *Client) exchange(ctx context.Context, rest *http.Client, granted *reservation, r query) (body []byte, took span, err error) {
	defer recovered(&err)
	took.sent = time.Now()
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	target := c.market.restPrefix + r.path
	if len(r.params) > 0 {
		target += "?" + r.params.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.endpoints.REST+target, nil)
	if err != nil {
		return nil, took, fmt.Errorf("binance: GET %s: %w", r.path, err)
	}
	if r.keyed {
		req.Header.Set(apiKeyHeader, c.apiKey)
	}
	resp, err := rest.Do(req)
	if refused := (*RedirectError)(nil); errors.As(err, &refused) {
		return nil, took, refused // without the address, which may contain a password
	}
	if err != nil {
		return nil, took, fmt.Errorf("binance: %w", err) // a *url.Error, which names the request
	}
	defer resp.Body.Close()
	took.status, took.answered = resp.StatusCode, time.Now()
	if used, err := strconv.Atoi(resp.Header.Get("X-Mbx-Used-Weight-1m")); err == nil {
		granted.learn(took.sent, used)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, took, c.refusal(resp)
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, r.maxBody+1))
	if err != nil {
		return nil, took, fmt.Errorf("binance: GET %s: reading the answer: %w", r.path, err)
	}
	if int64(len(body)) > r.maxBody {
		return nil, took, fmt.Errorf("binance: GET %s: more than %d bytes: %w", r.path, r.maxBody, ErrBodyTooLarge)
	}
	c.recorder.answer(target, body, took.answered)
	if isPage(body) {
		return nil, took, &DecodeError{Data: []byte(excerpt(body)), Err: errPage}
	}
	return body, took, nil
}

// refusal returns the *APIError of an answer, and blocks the Budget if the answer demands it.
func (c *Client) refusal(resp *http.Response) error {
	// The Date of the answer is right even if a clock was set since the exchange's was last measured.
	now, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		now = c.budget.exchangeTime()
	}
	e := newAPIError(resp, now)
	switch {
	case e.Status == http.StatusTooManyRequests || e.Status == http.StatusTeapot:
		c.budget.refused(c.spender, e.Status, e.RetryAfter)
	case e.Code == codeTooMany && e.RetryAfter > 0:
		c.budget.refused(c.spender, http.StatusTeapot, e.RetryAfter)
	}
	return e
}

// maxStreamURL bounds the URL of a connection. Reports put the longest that the exchange takes near 8,000 bytes.
const maxStreamURL = 8000

// Dial opens a connection of combined streams ("btcusdt@depth@100ms"). The streams are named in the URL,
// which needs no acknowledgement; Stream.Subscribe adds more. On USDⓈ-M the first stream decides whether
// the connection uses the route /market or /public; the exchange accepts a stream of the other route,
// which then stays silent.
//
// Symbols in stream names are lower case in ASCII letters: see StreamName. The error is an *APIError if
// the exchange refused, ErrTooManyStreams, or an error of the network.
func (c *Client) Dial(ctx context.Context, streams ...string) (*Stream, error) {
	r := c.market.bookRoute()
	if len(streams) > 0 {
		r = c.market.routeOf(streams[0])
	}
	return c.dialRoute(ctx, r, streams...)
}

// StreamName returns the name of a stream of a symbol, as in StreamName("BTCUSDT", "@trade"). Only
// ASCII letters are made lower case: some symbols are not ASCII, and the exchange keeps those as they are.
func StreamName(symbol, suffix string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, symbol) + suffix
}

// dialRoute is Dial on a given route.
func (c *Client) dialRoute(ctx context.Context, r route, streams ...string) (*Stream, error) {
	if len(streams) > c.market.maxStreams {
		return nil, fmt.Errorf("binance: %d streams, %s takes %d: %w", len(streams), c.market.name, c.market.maxStreams, ErrTooManyStreams)
	}
	target := c.streamURL(r, streams)
	if len(target) > maxStreamURL {
		return nil, fmt.Errorf("binance: URL of %d bytes, use Subscribe: %w", len(target), ErrTooManyStreams)
	}
	if err := c.budget.waitConnect(ctx, c.spender); err != nil {
		return nil, err
	}
	conn, err := c.dialWebsocket(ctx, target)
	if err != nil {
		return nil, err
	}
	s := newStream(conn, c.market, streams)
	s.record = c.recorder
	return s, nil
}

// streamURL returns the URL of a connection of combined streams.
func (c *Client) streamURL(r route, streams []string) string {
	var params []string
	if len(streams) > 0 {
		params = append(params, "streams="+escapeStreams(streams))
	}
	if c.micros {
		params = append(params, "timeUnit=MICROSECOND")
	}
	target := c.endpoints.Stream + string(r) + "/stream"
	if len(params) > 0 {
		target += "?" + strings.Join(params, "&")
	}
	return target
}

// escapeStreams joins stream names for a URL. It keeps "@" and "/" and escapes symbols that are not ASCII.
func escapeStreams(streams []string) string {
	escaped := make([]string, len(streams))
	for i, s := range streams {
		escaped[i] = strings.ReplaceAll(url.QueryEscape(s), "%40", "@")
	}
	return strings.Join(escaped, "/")
}

func (c *Client) dialWebsocket(ctx context.Context, target string) (conn *websocket.Conn, err error) {
	defer recovered(&err)
	bounded, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn, refused, err := c.net.handshake(bounded, target, c.header)
	switch {
	case refused != nil:
		defer refused.Body.Close()
		return nil, c.refusal(refused)
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, fmt.Errorf("binance: dial %s: %w", hostOf(target), err)
	}
	return conn, nil
}

// hostOf returns a URL without its query, which may name a thousand streams.
func hostOf(target string) string {
	host, _, _ := strings.Cut(target, "?")
	return host
}
