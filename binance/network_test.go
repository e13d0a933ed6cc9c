package binance_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/internal/short"
)

// An authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool // trusts it
	last int64          // serial number
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, pool: x509.NewCertPool()}
	made := a.issue("authority")
	cert, err := x509.ParseCertificate(made.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	a.cert, a.key = cert, made.PrivateKey.(*ecdsa.PrivateKey)
	a.pool.AddCert(cert)
	return a
}

// issue returns a certificate of a host or an IP address; the first one is the authority's own.
func (a *authority) issue(name string) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.last++
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(a.last), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, DNSNames: []string{name},
	}
	if ip := net.ParseIP(name); ip != nil {
		cert.DNSNames, cert.IPAddresses = nil, []net.IP{ip}
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		cert.IsCA, cert.BasicConstraintsValid = true, true
		parent, signer = cert, key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

const gatewayHost = "exchange.test" // no address is known for it

// A gateway is a fake exchange behind a reverse proxy that speaks TLS, as gatewayHost.
type gateway struct {
	*authority
	addr      string
	exchange  *binancetest.Server
	endpoints binance.Endpoints // of gatewayHost
	seen      func(*http.Request)
}

func newGateway(t *testing.T, path string, settings *tls.Config) *gateway {
	t.Helper()
	exchange, err := binancetest.New(binancetest.Config{Symbols: binancetest.Symbols("AUSDT", "BUSDT"), Tick: 10 * time.Millisecond, Hosts: []string{gatewayHost}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { exchange.Close() })
	go exchange.Run(t.Context()) //nolint:errcheck // ends with the test
	g := &gateway{authority: newAuthority(t), exchange: exchange, seen: func(*http.Request) {}}
	behind, err := url.Parse(exchange.RESTURL())
	if err != nil {
		t.Fatal(err)
	}
	relay := httputil.NewSingleHostReverseProxy(behind)
	relay.ErrorLog = log.New(io.Discard, "", 0)
	front := httptest.NewUnstartedServer(http.StripPrefix(path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.seen(r)
		relay.ServeHTTP(w, r)
	})))
	front.Config.ErrorLog, front.EnableHTTP2 = relay.ErrorLog, true
	front.TLS = settings.Clone()
	if front.TLS == nil {
		front.TLS = &tls.Config{}
	}
	front.TLS.Certificates, front.TLS.ClientCAs = []tls.Certificate{g.issue(gatewayHost)}, g.pool
	front.StartTLS()
	t.Cleanup(front.Close)
	g.addr = front.Listener.Addr().String()
	g.endpoints = binance.Endpoints{REST: "https://" + gatewayHost + path, Stream: "wss://" + gatewayHost + path}
	return g
}

// reach makes a REST request and opens a websocket, which brings an update. Each has so much time.
func reach(t *testing.T, c *binance.Client, patience time.Duration) (rest, stream error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	_, rest = c.Time(ctx)
	cancel()
	ctx, cancel = context.WithTimeout(t.Context(), patience)
	s, stream := c.Dial(ctx, "ausdt@depth@100ms")
	cancel()
	if stream != nil {
		return rest, stream
	}
	defer s.Close()
	var m binance.Message
	if stream = s.Next(&m); stream == nil && m.Type != binance.MessageDepth {
		t.Errorf("message %v", m.Type)
	}
	return rest, stream
}

func reached(t *testing.T, c *binance.Client) {
	t.Helper()
	if rest, stream := reach(t, c, time.Minute); rest != nil || stream != nil {
		t.Errorf("REST: %v, stream: %v", rest, stream)
	}
}

func newClient(t *testing.T, cfg binance.Config) *binance.Client {
	t.Helper()
	c, err := binance.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

const proxyPassword = "s3cret"

// A testProxy is a proxy on loopback that knows the address of one host and demands a password.
type testProxy struct {
	url    *url.URL
	host   string // as the client must name it
	target string
	served atomic.Int32 // connections through it

	mu     sync.Mutex
	broken func(net.Conn) // what it does in place of its work; nil if it works
}

func newProxy(t *testing.T, scheme, host, target string, a *authority) *testProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if scheme == "https" {
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{a.issue("127.0.0.1")}})
	}
	p := &testProxy{host: host, target: target}
	p.url = &url.URL{Scheme: scheme, User: url.UserPassword("user", proxyPassword), Host: l.Addr().String()}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(conn)
		}
	}()
	return p
}

func (p *testProxy) breaks(how func(net.Conn)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = how
}

func (p *testProxy) serve(conn net.Conn) {
	defer conn.Close()
	p.mu.Lock()
	broken := p.broken
	p.mu.Unlock()
	if broken != nil {
		broken(conn)
		return
	}
	in := bufio.NewReader(conn)
	begin := p.connect
	if strings.HasPrefix(p.url.Scheme, "socks5") {
		begin = p.socks
	}
	if up := begin(in, conn); up != nil {
		defer up.Close()
		p.served.Add(1)
		go func() {
			defer up.Close()
			io.Copy(up, in) //nolint:errcheck // the end of the connection
		}()
		io.Copy(conn, up) //nolint:errcheck // the end of the connection
	}
}

// connect serves CONNECT, and forwards a request for http.
func (p *testProxy) connect(in *bufio.Reader, conn net.Conn) net.Conn {
	req, err := http.ReadRequest(in)
	if err != nil {
		return nil
	}
	given := req.Header.Get("Proxy-Authorization")
	if want := "Basic dXNlcjpzM2NyZXQ="; given != want || req.Host != p.host {
		fmt.Fprint(conn, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
		return nil
	}
	up, err := net.Dial("tcp", p.target)
	if err != nil {
		return nil
	}
	if req.Method == http.MethodConnect {
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n\r\n")
		return up
	}
	req.Write(up) //nolint:errcheck // reading fails then
	return up
}

// socks serves RFC 1928 with the passwords of RFC 1929.
func (p *testProxy) socks(in *bufio.Reader, conn net.Conn) net.Conn {
	read := func(n int) []byte {
		b := make([]byte, n)
		io.ReadFull(in, b) //nolint:errcheck // zeros are refused
		return b
	}
	if methods := read(int(read(2)[1])); !bytes.Contains(methods, []byte{2}) {
		conn.Write([]byte{5, 0xff}) //nolint:errcheck // reading fails then
		return nil
	}
	conn.Write([]byte{5, 2}) //nolint:errcheck // reading fails then
	user := read(int(read(2)[1]))
	password := read(int(read(1)[0]))
	if string(user) != "user" || string(password) != proxyPassword {
		conn.Write([]byte{1, 1}) //nolint:errcheck // reading fails then
		return nil
	}
	conn.Write([]byte{1, 0}) //nolint:errcheck // reading fails then
	const connect, name = 1, 3
	if head := read(4); head[1] != connect || head[3] != name {
		return nil // it must not look the name up itself
	}
	host := string(read(int(read(1)[0])))
	port := read(2)
	if net.JoinHostPort(host, fmt.Sprint(int(port[0])<<8|int(port[1]))) != p.host {
		return nil
	}
	up, err := net.Dial("tcp", p.target)
	if err != nil {
		return nil
	}
	conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}) //nolint:errcheck // reading fails then
	return up
}

func TestProxies(t *testing.T) {
	g := newGateway(t, "", nil)
	for _, scheme := range []string{"http", "https", "socks5", "socks5h"} {
		p := newProxy(t, scheme, gatewayHost+":443", g.addr, g.authority)
		settings := &tls.Config{RootCAs: g.pool}
		transport := &http.Transport{Proxy: http.ProxyURL(p.url), TLSClientConfig: settings}
		dialed := atomic.Int32{}
		dialer := func(ctx context.Context, network, addr string) (net.Conn, error) {
			dialed.Add(1)
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
		for name, cfg := range map[string]binance.Config{
			"Config.Proxy":             {Proxy: http.ProxyURL(p.url), TLS: settings},
			"Config.Proxy, own dialer": {Proxy: http.ProxyURL(p.url), TLS: settings, DialContext: dialer},
			"HTTPClient":               {HTTPClient: &http.Client{Transport: transport, Timeout: time.Minute}},
			"HTTPClient, own dialer":   {HTTPClient: &http.Client{Transport: transport}, DialContext: dialer},
		} {
			t.Run(scheme+" by "+name, func(t *testing.T) {
				cfg.Endpoints = g.endpoints
				c := newClient(t, cfg)
				before := p.served.Load()
				reached(t, c)
				transport.CloseIdleConnections()
				if n := p.served.Load() - before; n != 2 {
					t.Errorf("%d connections through the proxy, want 2", n)
				}
			})
		}
		if n := dialed.Load(); n != 3 {
			t.Errorf("%s: DialContext was called %d times, want 2 for Config.Proxy and 1 for HTTPClient", scheme, n)
		}
	}
}

// Without TLS net/http forwards a request through the proxy, where it tunnels others.
func TestProxyWithoutTLS(t *testing.T) {
	exchange, err := binancetest.New(binancetest.Config{Symbols: binancetest.Symbols("AUSDT"), Hosts: []string{gatewayHost}})
	if err != nil {
		t.Fatal(err)
	}
	defer exchange.Close()
	go exchange.Run(t.Context()) //nolint:errcheck // ends with the test
	for scheme, host := range map[string]string{"http": gatewayHost, "socks5": gatewayHost + ":80"} {
		p := newProxy(t, scheme, host, strings.TrimPrefix(exchange.RESTURL(), "http://"), nil)
		c := newClient(t, binance.Config{Proxy: http.ProxyURL(p.url), Endpoints: binance.Endpoints{REST: "http://" + gatewayHost, Stream: "ws://" + gatewayHost}})
		if reached(t, c); p.served.Load() != 2 {
			t.Errorf("%s: %d connections through the proxy, want 2", scheme, p.served.Load())
		}
	}
}

// The environment is that of another process, since net/http reads it once.
func TestProxyOfTheEnvironment(t *testing.T) {
	const name, broken = "MARKETPRISM_TEST_PROXY", "broken"
	if want := os.Getenv(name); want != "" {
		c := newClient(t, binance.Config{Endpoints: binance.Endpoints{REST: "https://" + gatewayHost, Stream: "wss://" + gatewayHost}})
		rest, stream := reach(t, c, time.Minute)
		if failed := want == broken; (rest != nil) != failed || (stream != nil) != failed {
			t.Errorf("REST: %v, stream: %v", rest, stream)
		}
		return
	}
	if runtime.GOOS == "darwin" || runtime.GOOS == "windows" {
		t.Skip("no SSL_CERT_FILE on " + runtime.GOOS)
	}
	g := newGateway(t, "", nil)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: g.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	working := newProxy(t, "http", gatewayHost+":443", g.addr, nil)
	refusing := newProxy(t, "http", gatewayHost+":443", g.addr, nil)
	refusing.breaks(answers("HTTP/1.1 407\r\n\r\n"))
	for _, c := range []struct {
		want, proxy, except string
		served              int32
	}{
		{"working", working.url.String(), "", 2},
		{broken, refusing.url.String(), "", 0},
		{broken, working.url.String(), "other.test," + gatewayHost, 0}, // the host is not known without the proxy
	} {
		before := working.served.Load()
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
		child.Env = append(os.Environ(), name+"="+c.want, "HTTPS_PROXY="+c.proxy, "NO_PROXY="+c.except, "no_proxy=", "SSL_CERT_FILE="+roots)
		if out, err := child.CombinedOutput(); err != nil {
			t.Errorf("HTTPS_PROXY=%s NO_PROXY=%s: %v\n%s", c.proxy, c.except, err, out)
		}
		if n := working.served.Load() - before; n != c.served {
			t.Errorf("NO_PROXY=%s: %d connections through the proxy, want %d", c.except, n, c.served)
		}
	}
}

// answers returns what a proxy does that reads some of a request and answers with that text.
func answers(text string) func(net.Conn) {
	return func(conn net.Conn) {
		conn.Read(make([]byte, 1<<10)) //nolint:errcheck // the answer is the same
		io.WriteString(conn, text)     //nolint:errcheck // the client may have left
	}
}

// A broken proxy is an error and another attempt, and never a panic: gorilla/websocket v1.5.3 has one at an
// answer without a reason phrase. No error quotes the password.
func TestBrokenProxies(t *testing.T) {
	short.SkipWhole(t)
	g := newGateway(t, "", nil)
	endless := make(chan int, 10) // bytes taken of an endless header
	left := make(chan struct{}, 10)
	silent := func(conn net.Conn) {
		io.Copy(io.Discard, conn) //nolint:errcheck // until the client leaves
		left <- struct{}{}
	}
	faults := map[string]func(net.Conn){
		"closes at once":       func(net.Conn) {},
		"closes early":         answers(""),
		"half an answer":       answers("HTTP/1.1 200"),
		"no reason phrase":     answers("HTTP/1.1 407\r\n\r\n"),
		"password refused":     answers("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n"),
		"bad gateway":          answers("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nbad"),
		"garbage":              answers("\x00\xff\x16\x03garbage\r\n\r\n"),
		"tunnel of garbage":    answers("HTTP/1.1 200 OK\r\n\r\ngarbage"),
		"socks without method": answers("\x05\xff"),
		"socks garbage":        answers("\x05\x02\x01\x00\x05\x63\x00\x09"),
		"socks refused":        answers("\x05\x00\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"),
		"silent":               silent,
		"endless header": func(conn net.Conn) {
			n, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
			for line := "X-Line: " + strings.Repeat("x", 1<<10) + "\r\n"; err == nil && n < 100<<20; {
				var more int
				more, err = io.WriteString(conn, line)
				n += more
			}
			endless <- n
		},
	}
	for _, scheme := range []string{"http", "https", "socks5"} {
		p := newProxy(t, scheme, gatewayHost+":443", g.addr, g.authority)
		c := newClient(t, binance.Config{Endpoints: g.endpoints, Proxy: http.ProxyURL(p.url), TLS: &tls.Config{RootCAs: g.pool}})
		for name, fault := range faults {
			p.breaks(fault)
			patience := time.Minute
			if name == "silent" {
				patience = 20 * time.Millisecond
			}
			rest, stream := reach(t, c, patience)
			for _, err := range []error{rest, stream} {
				if err == nil || strings.Contains(err.Error(), proxyPassword) {
					t.Errorf("%s, %s: %v", scheme, name, err)
				}
				if errors.Is(err, context.DeadlineExceeded) != (name == "silent") {
					t.Errorf("%s, %s: %v", scheme, name, err)
				}
			}
			if name == "silent" {
				<-left // no dial goes on after its request
				<-left
			}
			if name == "endless header" {
				if n := max(<-endless, <-endless); n > 32<<20 {
					t.Errorf("%s: %d bytes of an endless header", scheme, n)
				}
			}
		}
		p.breaks(nil)
		reached(t, c)
	}
}

// A DepthSyncer goes on as soon as its proxy works, and neither its errors nor its log have the password.
func TestProxyBreaksAndRecovers(t *testing.T) {
	g := newGateway(t, "", nil)
	p := newProxy(t, "http", gatewayHost+":443", g.addr, nil)
	p.breaks(answers("HTTP/1.1 407\r\n\r\n"))
	var logged bytes.Buffer
	refused := make(chan string, 100)
	hooks := binance.TeeHooks(binance.LogHooks(slog.New(slog.NewTextHandler(&logged, nil))), &binance.Hooks{
		ListingDone: func(i binance.ListingInfo) {
			if i.Err != nil {
				refused <- i.Err.Error()
			}
		},
		ConnectDone: func(i binance.ConnectInfo) {
			if i.Err != nil {
				refused <- i.Err.Error()
			}
		},
	})
	c := newClient(t, binance.Config{Endpoints: g.endpoints, Proxy: http.ProxyURL(p.url), TLS: &tls.Config{RootCAs: g.pool}, Hooks: hooks})
	for _, skip := range []bool{false, true} { // the listing or the connection fails first
		p.breaks(answers("HTTP/1.1 407\r\n\r\n"))
		books, err := binance.NewDepthSyncer(c, binance.DepthConfig{
			Symbols: []string{"AUSDT", "BUSDT"}, SkipSymbolCheck: skip, ReconnectMin: time.Millisecond, ReconnectMax: 5 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- books.Run(ctx) }()
		for range 3 {
			if text := <-refused; strings.Contains(text, proxyPassword) {
				t.Error(text)
			}
		}
		p.breaks(nil)
		if err := books.Ready(t.Context()); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		for len(refused) > 0 {
			<-refused
		}
	}
	if strings.Contains(logged.String(), proxyPassword) || !strings.Contains(logged.String(), "connect") {
		t.Errorf("log:\n%s", logged.String())
	}
}

func TestProxyErrorHidesThePassword(t *testing.T) {
	invalid := strings.Join([]string{"http://user:", proxyPassword, "@[::1"}, "")
	c := newClient(t, binance.Config{Proxy: func(*http.Request) (*url.URL, error) { return url.Parse(invalid) }})
	rest, stream := reach(t, c, time.Minute)
	for _, err := range []error{rest, stream} {
		if err == nil || strings.Contains(err.Error(), proxyPassword) || !strings.Contains(err.Error(), "Config.Proxy") {
			t.Error(err)
		}
	}
}

// An own authority, a certificate of the client's, another server name, and a path before the exchange's.
func TestTLSAndPath(t *testing.T) {
	g := newGateway(t, "/gateway/binance", &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert})
	var mu sync.Mutex
	versions := make(map[string]int)
	g.seen = func(r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		versions[r.Proto]++
	}
	good := tls.Config{RootCAs: g.pool, Certificates: []tls.Certificate{g.issue("client")}, ServerName: gatewayHost}
	foreign := newAuthority(t)
	cases := map[string]struct {
		change func(*tls.Config)
		fails  bool
	}{
		"all":                    {func(*tls.Config) {}, false},
		"other authority":        {func(c *tls.Config) { c.RootCAs = foreign.pool }, true},
		"no certificate":         {func(c *tls.Config) { c.Certificates = nil }, true},
		"certificate of another": {func(c *tls.Config) { c.Certificates = []tls.Certificate{foreign.issue("client")} }, true},
		"no server name":         {func(c *tls.Config) { c.ServerName = "" }, true}, // the certificate has no IP address
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			settings := good.Clone()
			c.change(settings)
			at := binance.Endpoints{REST: "https://" + g.addr + "/gateway/binance", Stream: "wss://" + g.addr + "/gateway/binance"}
			given := &http.Client{Transport: &http.Transport{TLSClientConfig: settings, ForceAttemptHTTP2: true}}
			defer given.CloseIdleConnections()
			for _, cfg := range []binance.Config{{TLS: settings, Endpoints: at}, {HTTPClient: given, Endpoints: at}} {
				rest, stream := reach(t, newClient(t, cfg), time.Minute)
				if (rest != nil) != c.fails || (stream != nil) != c.fails {
					t.Errorf("REST: %v, stream: %v", rest, stream)
				}
			}
		})
	}
	if versions["HTTP/2.0"] != 2 || versions["HTTP/1.1"] != 2 {
		t.Errorf("requests: %v, want REST over HTTP/2 and websockets over HTTP/1.1", versions)
	}
}

// Two local addresses have a request weight of their own each.
func TestLocalAddresses(t *testing.T) {
	if l, err := net.Listen("tcp", "127.0.0.2:0"); err != nil {
		t.Skip("127.0.0.2 is not an address of this host")
	} else {
		l.Close()
	}
	exchange, err := binancetest.New(binancetest.Config{Symbols: binancetest.Symbols("AUSDT")})
	if err != nil {
		t.Fatal(err)
	}
	defer exchange.Close()
	go exchange.Run(t.Context()) //nolint:errcheck // ends with the test
	behind, err := url.Parse(exchange.RESTURL())
	if err != nil {
		t.Fatal(err)
	}
	relay := httputil.NewSingleHostReverseProxy(behind)
	var mu sync.Mutex
	seen := make(map[string]int)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from := netip.MustParseAddrPort(r.RemoteAddr).Addr().String()
		mu.Lock()
		seen[from]++
		n := seen[from]
		mu.Unlock()
		if from == "127.0.0.1" && n == 3 {
			w.Header().Set("Retry-After", "600")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		relay.ServeHTTP(w, r)
	}))
	defer front.Close()
	var clients []*binance.Client
	for _, addr := range []string{"127.0.0.1", "127.0.0.2"} {
		c := newClient(t, binance.Config{
			LocalAddr: netip.MustParseAddr(addr), Budget: newBudget(t, binance.BudgetConfig{}),
			Endpoints: binance.Endpoints{REST: front.URL, Stream: "ws" + strings.TrimPrefix(front.URL, "http")},
		})
		reached(t, c)
		clients = append(clients, c)
	}
	if seen["127.0.0.1"] != 2 || seen["127.0.0.2"] != 2 {
		t.Errorf("requests by address: %v", seen)
	}
	var refused *binance.APIError
	if _, err := clients[0].Time(t.Context()); !errors.As(err, &refused) || refused.Status != http.StatusTooManyRequests {
		t.Errorf("err = %v", err)
	}
	reached(t, clients[1])
	waiting, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := clients[0].Time(waiting); !errors.Is(err, context.Canceled) || seen["127.0.0.1"] != 3 {
		t.Errorf("err = %v, requests by address: %v", err, seen)
	}
}

func TestNetworkConfigIsChecked(t *testing.T) {
	proxy := http.ProxyURL(&url.URL{Scheme: "http", Host: "127.0.0.1:1"})
	transport := &http.Client{Transport: &http.Transport{}}
	dial := new(net.Dialer).DialContext
	for name, cfg := range map[string]binance.Config{
		"Proxy of a given Transport":     {HTTPClient: transport, Proxy: proxy},
		"Proxy of the default Transport": {HTTPClient: &http.Client{}, Proxy: proxy},
		"TLS of a given Transport":       {HTTPClient: transport, TLS: &tls.Config{}},
		"address of a given Transport":   {HTTPClient: transport, LocalAddr: netip.MustParseAddr("127.0.0.1")},
		"address and DialContext":        {DialContext: dial, LocalAddr: netip.MustParseAddr("127.0.0.1")},
		"user in the address":            {Endpoints: binance.Endpoints{REST: "https://user:" + proxyPassword + "@api.test"}},
		"query in the address":           {Endpoints: binance.Endpoints{Stream: "wss://api.test/?a=b"}},
	} {
		if _, err := binance.NewClient(cfg); err == nil || strings.Contains(err.Error(), proxyPassword) {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := binance.Config{HTTPClient: &http.Client{Transport: roundTripFunc(nil)}, Proxy: proxy, Market: marketprism.USDM}
	if _, err := binance.NewClient(other); err != nil {
		t.Errorf("a Proxy for the websockets beside a Transport of another type: %v", err)
	}
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A panicking connection panics once when a websocket reads from it, after its handshake.
type panicking struct {
	net.Conn
	websocket atomic.Bool
	open      bool
	armed     *atomic.Bool
}

func (c *panicking) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("Upgrade: websocket")) {
		c.websocket.Store(true)
	}
	return c.Conn.Write(p)
}

func (c *panicking) Read(p []byte) (int, error) {
	if c.open && c.armed.CompareAndSwap(true, false) {
		panic("a bug below")
	}
	c.open = c.websocket.Load() // what follows the answer to the handshake is read by the websocket
	return c.Conn.Read(p)
}

// A panic below the driver, in a request or while a websocket is read, ends that one alone: it is made again.
func TestPanicBelowTheDriver(t *testing.T) {
	exchange, err := binancetest.New(binancetest.Config{Symbols: binancetest.Symbols("AUSDT"), Tick: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer exchange.Close()
	go exchange.Run(t.Context()) //nolint:errcheck // ends with the test
	var stream, rest atomic.Bool
	stream.Store(true)
	rest.Store(true)
	next := exchange.HTTPClient()
	defer next.CloseIdleConnections()
	var logged bytes.Buffer
	reported := make(chan error, 10)
	report := func(err error) {
		if err != nil {
			reported <- err
		}
	}
	c := newClient(t, binance.Config{
		Endpoints: binance.Endpoints{REST: exchange.RESTURL(), Stream: exchange.StreamURL()},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := exchange.DialContext(ctx, network, addr)
			return &panicking{Conn: conn, armed: &stream}, err
		},
		HTTPClient: &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/depth") && rest.CompareAndSwap(true, false) {
				panic("a bug below")
			}
			return next.Transport.RoundTrip(r)
		})},
		Hooks: binance.TeeHooks(binance.LogHooks(slog.New(slog.NewTextHandler(&logged, nil))), &binance.Hooks{
			Disconnected: func(i binance.DisconnectInfo) { report(i.Err) },
			SnapshotDone: func(i binance.SnapshotInfo) { report(i.Err) },
		}),
	})
	books, err := binance.NewDepthSyncer(c, binance.DepthConfig{Symbols: []string{"AUSDT"}, ReconnectMin: time.Millisecond, RetryMin: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- books.Run(ctx) }()
	for range 2 {
		var panicked *binance.PanicError
		if err := <-reported; !errors.As(err, &panicked) || panicked.Value != "a bug below" || !bytes.Contains(panicked.Stack, []byte("network_test.go")) {
			t.Errorf("err = %v", err)
		}
	}
	if err := books.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if !strings.Contains(logged.String(), "stack=") {
		t.Errorf("log:\n%s", logged.String())
	}
}

func TestPanicOfDialContext(t *testing.T) {
	dial := func(context.Context, string, string) (net.Conn, error) { panic("a bug below") }
	for _, cfg := range []binance.Config{{DialContext: dial}, {DialContext: dial, HTTPClient: &http.Client{Transport: &http.Transport{DialContext: new(net.Dialer).DialContext}}}} {
		var panicked *binance.PanicError
		if _, err := newClient(t, cfg).Dial(t.Context(), "ausdt@trade"); !errors.As(err, &panicked) {
			t.Errorf("err = %v", err)
		}
	}
	var panicked *binance.PanicError
	if _, err := newClient(t, binance.Config{DialContext: dial}).Time(t.Context()); !errors.As(err, &panicked) {
		t.Errorf("err = %v", err)
	}
}

// gorilla/websocket panics at the thousandth read of a connection that has failed.
func TestReadAfterTheEnd(t *testing.T) {
	exchange, err := binancetest.New(binancetest.Config{Symbols: binancetest.Symbols("AUSDT"), Tick: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer exchange.Close()
	s, err := dial(t, exchange, binance.Config{}).Dial(t.Context(), "ausdt@trade")
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	var m binance.Message
	for range 2000 {
		if err := s.Next(&m); err == nil {
			t.Fatal("a message on a closed connection")
		}
	}
}
