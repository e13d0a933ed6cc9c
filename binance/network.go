package binance

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1" // #nosec G505 -- for the handshake of RFC 6455
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// Times of the network. They are fields for tests, since real connections have no virtual time.
type timeouts struct {
	request time.Duration // of one request: Config.RequestTimeout

	// A connection of HTTP/2 on which nothing has come for ping gets a ping, and is closed if that is
	// not answered within pong. Without pings net/http uses a dead one for minutes (golang/go#36026).
	ping, pong time.Duration
}

func defaultTimeouts() timeouts {
	return timeouts{request: 15 * time.Second, ping: 10 * time.Second, pong: 5 * time.Second}
}

const (
	maxRedirects     = 10       // of one request
	maxHeader        = 64 << 10 // bytes of an answer's head, also of a proxy's to CONNECT
	readBufferSize   = 32 << 10 // of a websocket
	handshakeTimeout = 15 * time.Second
)

// A network makes the HTTP requests of a Client, and opens its websockets. net/http does both, with the
// same proxies, TLS and addresses: gorilla/websocket's own code for proxies knows neither TLS nor
// bounds, and panics at an answer without a reason phrase (v1.5.3, httpProxyDialer.Dial; net/http had the
// same fault, golang/go#22179).
type network struct {
	rest   atomic.Pointer[http.Client]
	owned  bool         // no one else uses rest's connections
	stream *http.Client // makes the handshakes of websockets
}

func newNetwork(cfg *Config, t timeouts) (*network, error) {
	var shared *http.Transport // has the settings of both
	var given http.Client
	if cfg.HTTPClient != nil {
		given = *cfg.HTTPClient
		if given.Transport == nil {
			given.Transport = http.DefaultTransport
		}
		shared, _ = given.Transport.(*http.Transport)
	}
	if err := checkNetwork(cfg, shared != nil); err != nil {
		return nil, err
	}
	if shared == nil {
		shared = restTransport(cfg, t)
	}
	n := &network{owned: cfg.HTTPClient == nil}
	if n.owned {
		given.Transport = shared
	}
	r := &redirects{hosts: cfg.RedirectHosts, next: given.CheckRedirect}
	given.CheckRedirect = r.check
	n.rest.Store(&given)
	n.stream = &http.Client{Transport: streamTransport(cfg, shared), CheckRedirect: r.check}
	return n, nil
}

// checkNetwork returns an error for settings that contradict each other. hasTransport says that HTTPClient has
// an http.Transport.
func checkNetwork(cfg *Config, hasTransport bool) error {
	switch {
	case hasTransport && (cfg.Proxy != nil || cfg.TLS != nil || cfg.LocalAddr.IsValid()):
		return errors.New("binance: Config.Proxy, TLS and LocalAddr are those of the Transport of a given HTTPClient: set them there")
	case cfg.DialContext != nil && cfg.LocalAddr.IsValid():
		return errors.New("binance: Config.LocalAddr with a DialContext, which chooses the address itself")
	}
	return nil
}

// restTransport returns the transport of REST requests without a given HTTPClient.
func restTransport(cfg *Config, t timeouts) *http.Transport {
	dialer := &net.Dialer{Timeout: t.request}
	if cfg.LocalAddr.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(cfg.LocalAddr, 0))
	}
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        cfg.TLS.Clone(),
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: t.ping, PingTimeout: t.pong},
		MaxIdleConnsPerHost:    8,
		MaxResponseHeaderBytes: maxHeader,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    t.request,
		ExpectContinueTimeout:  time.Second,
	}
	if cfg.DialContext != nil {
		transport.Proxy, transport.DialContext = nil, guarded(cfg.DialContext)
	}
	if cfg.Proxy != nil {
		transport.Proxy = maskedProxy(cfg.Proxy)
	}
	return transport
}

// guarded returns a dial func whose panic is an error: net/http calls it on a goroutine of its own.
func guarded(dial func(ctx context.Context, network, addr string) (net.Conn, error)) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		defer recovered(&err)
		return dial(ctx, network, addr)
	}
}

// maskedProxy returns a proxy func whose errors do not quote the address, which may contain a password.
func maskedProxy(proxy func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	return func(req *http.Request) (*url.URL, error) {
		u, err := proxy(req)
		if invalid := (*url.Error)(nil); errors.As(err, &invalid) {
			err = errors.New("the address is not a URL")
		}
		if err != nil {
			return nil, fmt.Errorf("binance: Config.Proxy: %w", err)
		}
		return u, nil
	}
}

// streamTransport returns the transport of websocket handshakes, with the settings of that of REST. Each
// handshake has a connection of its own, which the websocket keeps.
func streamTransport(cfg *Config, rest *http.Transport) *http.Transport {
	t := rest.Clone()
	t.DisableKeepAlives, t.DisableCompression = true, true
	t.MaxConnsPerHost = 0
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true) // net/http has no websockets over HTTP/2
	if cfg.DialContext != nil {
		t.DialContext, t.DialTLSContext = guarded(cfg.DialContext), nil
	}
	return t
}

// done ends the use of a client for a request, which ended with err. A request that timed out may have
// been on a connection that lost its packets and was never closed, and other requests wait on the same
// one: later requests are made on new connections. A transport has no way to retire a connection
// of HTTP/2 that is in use, so it is replaced by its clone.
func (n *network) done(used *http.Client, err error) {
	if err != nil && isTimeout(err) {
		fresh := *used
		if t, ok := used.Transport.(*http.Transport); ok {
			fresh.Transport = t.Clone()
		}
		n.rest.CompareAndSwap(used, &fresh)
	}
	if n.rest.Load() != used {
		used.CloseIdleConnections() // and dials for which no request waits, such as one on a silent SOCKS proxy
	}
}

// isTimeout reports whether a request ended by a timeout, or since its context ended.
func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, context.Canceled)
}

// handshake opens a websocket. If the server refuses it, handshake returns the server's answer, whose
// body the caller closes.
func (n *network) handshake(ctx context.Context, target string, header http.Header) (*websocket.Conn, *http.Response, error) {
	var conn net.Conn
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { conn = info.Conn }})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, httpScheme(target), nil)
	if err != nil {
		return nil, nil, err
	}
	random := make([]byte, 16)
	rand.Read(random) //nolint:errcheck // never fails
	key := base64.StdEncoding.EncodeToString(random)
	// The names are spelled as in RFC 6455.
	req.Header["Connection"], req.Header["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	req.Header["Sec-WebSocket-Version"], req.Header["Sec-WebSocket-Key"] = []string{"13"}, []string{key}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := n.stream.Do(req)
	if err != nil {
		n.stream.CloseIdleConnections() // ends a dial that goes on after its request
		var outer *url.Error            // quotes the names of up to a thousand streams
		if errors.As(err, &outer) {
			err = outer.Err
		}
		return nil, nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, resp, nil
	}
	if err := checkUpgrade(resp, key); err != nil {
		resp.Body.Close()
		return nil, nil, err
	}
	ws, err := adopt(&upgradedConn{Conn: conn, in: resp.Body})
	if err != nil {
		resp.Body.Close()
	}
	return ws, nil, err
}

// httpScheme returns a websocket's URL with the scheme of HTTP.
func httpScheme(target string) string { return "http" + strings.TrimPrefix(target, "ws") }

// checkUpgrade returns an error for an answer that does not open a websocket.
func checkUpgrade(resp *http.Response, key string) error {
	_, writable := resp.Body.(io.Writer) // net/http has found the header Connection: Upgrade
	switch {
	case !writable || !strings.EqualFold(resp.Header.Get("Upgrade"), "websocket"):
		return fmt.Errorf("%w: the answer does not upgrade to a websocket", websocket.ErrBadHandshake)
	case resp.Header.Get("Sec-Websocket-Accept") != acceptKey(key):
		return fmt.Errorf("%w: wrong Sec-WebSocket-Accept", websocket.ErrBadHandshake)
	case resp.Header.Get("Sec-Websocket-Extensions") != "":
		// RFC 6455, 4.1: a client must fail the connection if the server uses an extension that was not
		// asked for.
		return fmt.Errorf("%w: extension %.64q", websocket.ErrBadHandshake, resp.Header.Get("Sec-Websocket-Extensions"))
	}
	return nil
}

// acceptKey returns the server's proof that it has read the key. RFC 6455, 4.2.2.
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) // #nosec G401 -- RFC 6455 asks for it; it protects nothing
	return base64.StdEncoding.EncodeToString(sum[:])
}

// adopt makes a websocket of a connection whose handshake is over. gorilla/websocket takes a connection
// over by a handshake only, so the connection itself answers another one, of which nothing is sent.
func adopt(c *upgradedConn) (*websocket.Conn, error) {
	dialer := websocket.Dialer{
		ReadBufferSize: readBufferSize,
		NetDialContext: func(context.Context, string, string) (net.Conn, error) { return c, nil },
	}
	ws, _, err := dialer.Dial("ws://adopted", nil) //nolint:bodyclose // there is none
	return ws, err
}

// An upgradedConn is the connection below a websocket.
type upgradedConn struct {
	net.Conn
	in      io.Reader // what came after the handshake
	adopted bool
	request bytes.Buffer // of gorilla/websocket
	answer  bytes.Buffer // to it
}

// Write writes to the connection, once that is adopted.
func (c *upgradedConn) Write(p []byte) (int, error) {
	if !c.adopted {
		return c.request.Write(p)
	}
	return c.Conn.Write(p)
}

// Read reads from the connection, once that is adopted.
func (c *upgradedConn) Read(p []byte) (int, error) {
	if c.adopted && c.answer.Len() == 0 {
		return c.in.Read(p)
	}
	if !c.adopted {
		c.adopted = true
		req, err := http.ReadRequest(bufio.NewReader(&c.request))
		if err != nil {
			return 0, err
		}
		fmt.Fprintf(&c.answer, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
			acceptKey(req.Header.Get("Sec-Websocket-Key")))
	}
	return c.answer.Read(p)
}

// redirects decide which redirects are followed.
type redirects struct {
	hosts []string                                           // allowed besides the request's own
	next  func(req *http.Request, via []*http.Request) error // of a given HTTPClient; nil means none
}

// check is http.Client.CheckRedirect. net/http withholds "sensitive headers like "Authorization",
// "WWW-Authenticate", and "Cookie"" from other hosts (doc of http.Client), but not the exchange's own
// header. That the exchange redirects at all is unproved.
func (r *redirects) check(req *http.Request, via []*http.Request) error {
	from, to := via[0].URL, req.URL
	to.Scheme = strings.Replace(to.Scheme, "ws", "http", 1)
	same := to.Scheme == from.Scheme && hostPort(to) == hostPort(from)
	allowed := slices.ContainsFunc(r.hosts, func(host string) bool {
		return hostPort(&url.URL{Scheme: to.Scheme, Host: host}) == hostPort(to)
	})
	if !same && (!allowed || from.Scheme == "https" && to.Scheme != "https") || len(via) >= maxRedirects {
		return &RedirectError{From: from.Scheme + "://" + from.Host, To: to.Scheme + "://" + to.Host}
	}
	if !same {
		req.Header.Del(apiKeyHeader)
	}
	if r.next != nil {
		return r.next(req, via)
	}
	return nil
}

// hostPort returns the host of a URL with its port, in lower case.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return strings.ToLower(net.JoinHostPort(u.Hostname(), port))
}
