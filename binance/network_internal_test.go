package binance

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
)

// A relay passes bytes between clients and a server, until the connections it has then lose everything
// without being closed, as behind a router that forgot them.
type relay struct {
	addr   string
	opened atomic.Int32

	mu    sync.Mutex
	lossy chan struct{} // of the connections opened now; closed when they lose everything
}

func newRelay(t *testing.T, target string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: l.Addr().String(), lossy: make(chan struct{})}
	var running sync.WaitGroup
	stop := make(chan struct{})
	t.Cleanup(func() {
		close(stop)
		l.Close()
		running.Wait()
	})
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", target)
			if err != nil {
				t.Error(err)
				return
			}
			r.opened.Add(1)
			r.mu.Lock()
			lossy := r.lossy
			r.mu.Unlock()
			running.Go(func() { pass(up, conn, lossy) })
			running.Go(func() { pass(conn, up, lossy) })
			running.Go(func() {
				<-stop
				conn.Close()
				up.Close()
			})
		}
	})
	return r
}

// pass copies bytes until lossy is closed, and reads them from then on.
func pass(to, from net.Conn, lossy chan struct{}) {
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		select {
		case <-lossy:
			if err != nil {
				return
			}
			continue
		default:
		}
		if _, failed := to.Write(buf[:n]); failed != nil || err != nil {
			to.Close()
			return
		}
	}
}

// lose makes the connections opened so far lose everything.
func (r *relay) lose() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.lossy)
	r.lossy = make(chan struct{})
}

// A slowServer answers Time. Requests for other paths are answered when released.
type slowServer struct {
	*httptest.Server
	waiting chan struct{} // gets a token for each request that waits
	release chan struct{}
}

func newSlowServer(t *testing.T, http2 bool) *slowServer {
	t.Helper()
	s := &slowServer{waiting: make(chan struct{}, 100), release: make(chan struct{})}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/time") {
			s.waiting <- struct{}{}
			select {
			case <-s.release:
			case <-r.Context().Done():
			}
		}
		io.WriteString(w, `{"serverTime":1}`) //nolint:errcheck // the client gets an error
	}))
	s.EnableHTTP2, s.Config.ErrorLog = http2, log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *slowServer) settings() *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return &tls.Config{RootCAs: pool}
}

// within asks for the time and returns the error.
func within(t *testing.T, c *Client, patience time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := c.Time(ctx)
	return err
}

// A connection that loses its packets and is never closed makes one request time out. The next one is made on
// a new connection, also if another request still waits on the dead one.
func TestDeadConnectionIsNotUsedAgain(t *testing.T) {
	for name, c := range map[string]struct{ http2, given, wrapped bool }{
		"HTTP/2":                         {http2: true},
		"HTTP/2, given HTTPClient":       {http2: true, given: true},
		"HTTP/1.1":                       {},
		"HTTP/1.1, given HTTPClient":     {given: true},
		"HTTP/1.1, other type Transport": {given: true, wrapped: true},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newSlowServer(t, c.http2)
			r := newRelay(t, srv.Listener.Addr().String())
			cfg := Config{Endpoints: Endpoints{REST: "https://" + r.addr}, TLS: srv.settings()}
			if c.given {
				transport := &http.Transport{TLSClientConfig: cfg.TLS, ForceAttemptHTTP2: c.http2, MaxIdleConnsPerHost: 10}
				cfg.HTTPClient, cfg.TLS = &http.Client{Transport: transport}, nil
				if c.wrapped {
					cfg.HTTPClient.Transport = wrapped{transport}
				}
			}
			client, err := NewClient(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer client.CloseIdleConnections()
			var busy sync.WaitGroup
			defer busy.Wait()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			slow := func() (answered chan struct{}) {
				answered = make(chan struct{})
				busy.Go(func() {
					defer close(answered)
					client.get(ctx, query{path: "/slow", maxBody: 100}) //nolint:errcheck // one of them waits on a dead connection
				})
				<-srv.waiting
				return answered
			}
			// Two idle connections of HTTP/1.1, or one connection of HTTP/2.
			first, second := slow(), slow()
			srv.release <- struct{}{}
			srv.release <- struct{}{}
			<-first
			<-second
			for range 10 {
				if err := within(t, client, time.Minute); err != nil {
					t.Fatal(err)
				}
			}
			slow() // in use
			r.lose()
			if err := within(t, client, 50*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("on a dead connection: %v", err)
			}
			before := r.opened.Load()
			for range 3 {
				if err := within(t, client, time.Minute); err != nil {
					t.Errorf("after it: %v", err)
				}
			}
			if n := r.opened.Load() - before; n != 1 {
				t.Errorf("%d new connections, want 1", n)
			}
		})
	}
}

// A wrapped transport is of a type that the driver does not know.
type wrapped struct{ *http.Transport }

// A dead connection of HTTP/2 is found by a ping, before a request times out.
func TestDeadConnectionIsFoundByPing(t *testing.T) {
	srv := newSlowServer(t, true)
	r := newRelay(t, srv.Listener.Addr().String())
	cfg := Config{Endpoints: Endpoints{REST: "https://" + r.addr}, TLS: srv.settings()}
	client, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	d := defaultTimeouts()
	if d.ping <= 0 || d.pong <= 0 || d.ping+d.pong > d.request {
		t.Errorf("a ping finds a dead connection after %v, a request times out after %v", d.ping+d.pong, d.request)
	}
	if client.net, err = newNetwork(&cfg, timeouts{request: time.Minute, ping: 20 * time.Millisecond, pong: 400 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	if err := within(t, client, time.Minute); err != nil {
		t.Fatal(err)
	}
	r.lose()
	if err := within(t, client, time.Minute); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("on a dead connection: %v", err)
	}
	if err := within(t, client, time.Minute); err != nil || r.opened.Load() != 2 {
		t.Errorf("after it: %v, %d connections", err, r.opened.Load())
	}
}

// Requests that were on their way when another one timed out leave no connection behind.
func TestReplacedTransportKeepsNoConnection(t *testing.T) {
	srv := newSlowServer(t, true)
	closed := make(chan struct{}, 10)
	client, err := NewClient(Config{
		Endpoints: Endpoints{REST: srv.URL}, TLS: srv.settings(),
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return &closing{Conn: conn, closed: closed}, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	done := make(chan error, 1)
	go func() {
		_, _, err := client.get(t.Context(), query{path: "/slow", maxBody: 100})
		done <- err
	}()
	<-srv.waiting
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-srv.waiting
		cancel()
	}()
	if _, _, err := client.get(ctx, query{path: "/slow", maxBody: 100}); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	srv.release <- struct{}{}
	if err := <-done; err != nil {
		t.Error(err) // it was not disturbed
	}
	<-closed
}

type closing struct {
	net.Conn
	closed chan struct{}
}

func (c *closing) Close() error {
	c.closed <- struct{}{}
	return c.Conn.Close()
}

func TestRedirects(t *testing.T) {
	var key atomic.Value // of the last request that arrived
	accept := func(w http.ResponseWriter, r *http.Request) {
		key.Store(r.Header.Get(apiKeyHeader))
		if r.Header.Get("Upgrade") == "" {
			io.WriteString(w, "{}") //nolint:errcheck // the client gets an error
			return
		}
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Sec-WebSocket-Accept", acceptKey(r.Header.Get("Sec-WebSocket-Key")))
		w.WriteHeader(http.StatusSwitchingProtocols)
	}
	other := httptest.NewServer(http.HandlerFunc(accept))
	defer other.Close()
	var target atomic.Value // of redirects
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/here") {
			accept(w, r)
			return
		}
		http.Redirect(w, r, target.Load().(string), http.StatusTemporaryRedirect)
	}))
	defer srv.Close()
	host := strings.TrimPrefix(other.URL, "http://")
	for name, c := range map[string]struct {
		to      string
		hosts   []string
		key     string // that arrives; "refused" if the redirect is
		handler func(*http.Request, []*http.Request) error
	}{
		"same host":               {to: srv.URL + "/here", key: "secret"},
		"other host":              {to: other.URL + "/x", key: "refused"},
		"allowed host":            {to: other.URL + "/x", hosts: []string{host}},
		"allowed, as a websocket": {to: "ws://" + host + "/x", hosts: []string{strings.ToUpper(host)}},
		"another is allowed":      {to: other.URL + "/x", hosts: []string{"127.0.0.1", "127.0.0.1:1"}, key: "refused"},
		"without end":             {to: srv.URL + "/again", key: "refused"},
		"user in the address":     {to: strings.Replace(other.URL, "//", "//user:s3cret@", 1), key: "refused"},
		"caller's CheckRedirect": {to: srv.URL + "/here", key: "refused", handler: func(*http.Request, []*http.Request) error {
			return &RedirectError{}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			target.Store(c.to)
			key.Store("none")
			client, err := NewClient(Config{
				Market: marketprism.Spot, SBE: true, APIKey: "secret", RedirectHosts: c.hosts, HTTPClient: &http.Client{CheckRedirect: c.handler},
				Endpoints: Endpoints{REST: srv.URL, SBE: "ws" + strings.TrimPrefix(srv.URL, "http")},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer client.CloseIdleConnections()
			check := func(err error) {
				t.Helper()
				var refused *RedirectError
				got := key.Swap("none").(string)
				switch {
				case c.key != "refused" && (err != nil || got != c.key):
					t.Errorf("key %q arrived, err = %v", got, err)
				case c.key == "refused" && (!errors.As(err, &refused) || got != "none" || strings.Contains(err.Error(), "s3cret")):
					t.Errorf("key %q arrived, err = %v", got, err)
				}
			}
			_, _, err = client.get(t.Context(), query{path: "/x", maxBody: 100, keyed: true})
			check(err)
			if c.handler != nil {
				return
			}
			s, err := client.Dial(t.Context(), "ausdt@trade")
			if err == nil {
				s.Close()
			}
			check(err)
		})
	}
}

func TestRedirectFromTLS(t *testing.T) {
	r := redirects{hosts: []string{"a.test", "b.test:8443"}}
	for to, want := range map[string]bool{
		"https://a.test/x": true, "https://A.test:443/x": true, "https://b.test:8443": true,
		"https://api.test:443/": true, "https://API.test/": true,
		"http://a.test/x": false, "http://api.test/": false, "https://a.test:444": false, "https://b.test": false, "ftp://a.test": false,
	} {
		u, err := url.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		via := &http.Request{URL: &url.URL{Scheme: "https", Host: "api.test"}}
		if err := r.check(&http.Request{URL: u, Header: http.Header{}}, []*http.Request{via}); (err == nil) != want {
			t.Errorf("%s: %v", to, err)
		}
	}
}

// A server whose answer to a handshake is wrong is not believed.
func TestHandshakeIsChecked(t *testing.T) {
	good := http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
	for name, change := range map[string]func(h http.Header){
		"proof":      func(h http.Header) { h.Set("Sec-WebSocket-Accept", "other") },
		"protocol":   func(h http.Header) { h.Set("Upgrade", "h2c") },
		"connection": func(h http.Header) { h.Del("Connection") },
		"extension":  func(h http.Header) { h.Set("Sec-WebSocket-Extensions", "permessage-deflate") },
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Sec-WebSocket-Extensions") != "" {
				t.Error("the client offers an extension")
			}
			h := good.Clone()
			h.Set("Sec-WebSocket-Accept", acceptKey(r.Header.Get("Sec-WebSocket-Key")))
			change(h)
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n") //nolint:errcheck // the client gets an error
			h.Write(conn)                                                //nolint:errcheck // the client gets an error
			io.WriteString(conn, "\r\n")                                 //nolint:errcheck // the client gets an error
			io.Copy(io.Discard, conn)                                    //nolint:errcheck // until the client leaves
		}))
		client, err := NewClient(Config{Endpoints: Endpoints{Stream: "ws" + strings.TrimPrefix(srv.URL, "http")}})
		if err != nil {
			t.Fatal(err)
		}
		if s, err := client.Dial(t.Context()); err == nil {
			s.Close()
			t.Errorf("%s: no error", name)
		}
		srv.Close()
	}
}
