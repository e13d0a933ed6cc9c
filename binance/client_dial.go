package binance

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// Bounds of opening a connection. Reports put the longest URL the exchange takes near 8,000 bytes.
const (
	handshakeTimeout = 15 * time.Second
	maxStreamURL     = 8000
	readBufferSize   = 32 << 10
)

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
	s := newStream(conn, c.market, len(streams))
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

func (c *Client) dialWebsocket(ctx context.Context, target string) (*websocket.Conn, error) {
	dial := c.dial
	dialer := websocket.Dialer{HandshakeTimeout: handshakeTimeout, ReadBufferSize: readBufferSize}
	if dial == nil {
		dialer.Proxy = http.ProxyFromEnvironment
		dial = (&net.Dialer{}).DialContext
	}
	// The handshake ignores ctx, so the end of ctx closes the connection below it.
	stop := func() bool { return true }
	dialer.NetDialContext = func(dialCtx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(dialCtx, network, addr)
		if err == nil {
			stop = context.AfterFunc(ctx, func() { conn.Close() })
		}
		return conn, err
	}
	conn, resp, err := dialer.DialContext(ctx, target, c.header)
	stopped := stop()
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && resp != nil:
		return nil, c.refusal(resp)
	case err != nil:
		return nil, fmt.Errorf("binance: dial %s: %w", hostOf(target), err)
	case !stopped:
		conn.Close()
		return nil, ctx.Err()
	}
	return conn, nil
}

// hostOf returns a URL without its query, which may name a thousand streams.
func hostOf(target string) string {
	host, _, _ := strings.Cut(target, "?")
	return host
}
