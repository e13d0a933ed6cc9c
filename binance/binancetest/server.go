package binancetest

import (
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// A Server is a fake exchange that listens. New makes one.
type Server struct {
	exchange

	http *http.Server
	dial dialFunc
	host string

	running sync.WaitGroup // request handlers, connections, the playback
	played  chan struct{}  // closed at the end of the recording
}

// New starts an exchange. The caller closes it. It returns ErrConfig, errors of the network, and
// with a playback ErrRecording, which wraps the cause and names the line.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{exchange: newExchange(cfg), played: make(chan struct{})}
	for _, sym := range cfg.Symbols {
		if err := s.list(sym); err != nil {
			return nil, err
		}
	}
	if cfg.Playback != nil {
		if s.replay, err = openReplay(s, *cfg.Playback); err != nil {
			return nil, err
		}
	}
	if len(s.symbols) == 0 && s.replay == nil {
		return nil, fmt.Errorf("%w: no symbols", ErrConfig)
	}
	if err := s.start(); err != nil {
		return nil, err
	}
	return s, nil
}

// start listens on the network and serves it.
func (s *Server) start() error {
	l, dial, host, err := s.cfg.Network.open()
	if err != nil {
		return fmt.Errorf("binancetest: listen: %w", err)
	}
	s.dial, s.host = dial, host
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0), // connections cut on purpose would fill a log
	}
	s.running.Go(func() { _ = s.http.Serve(l) }) // always ends with ErrServerClosed, or with the listener
	if s.replay != nil {
		s.running.Go(s.replay.run)
	}
	return nil
}

// Close cuts every connection, ends every goroutine the server started and waits for them. It returns
// nil. Closing again does nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.grid.stop()
	for _, c := range s.conns {
		c.cut()
	}
	s.mu.Unlock()

	close(s.done)
	_ = s.http.Close() // the listener, and the connections that are not websockets
	s.running.Wait()
	return nil
}

// enter registers a request handler with running, unless the server is closed; leave ends it.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.running.Add(1)
	}
	return !s.closed
}

func (s *Server) leave() { s.running.Done() }

// RESTURL returns the base address of the REST interface, in place of https://api.binance.com.
func (s *Server) RESTURL() string { return "http://" + s.host }

// StreamURL returns the base address of the websocket streams, in place of
// wss://stream.binance.com:9443.
func (s *Server) StreamURL() string { return "ws://" + s.host }

// Endpoints returns the addresses of the server, for binance.Config.Endpoints: a value of this type can be assigned to it. With
// InMemory the client needs DialContext too.
func (s *Server) Endpoints() struct{ REST, Stream, SBE string } {
	return struct{ REST, Stream, SBE string }{s.RESTURL(), s.StreamURL(), s.StreamURL()}
}

// DialContext connects to the server, whatever the network and address. It has the signature of
// net/http.Transport's and of websocket dialers' field.
func (s *Server) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	return s.dial(ctx)
}

// HTTPClient returns a new client that sends every request to the server, whatever the host of its URL.
func (s *Server) HTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: s.DialContext}}
}

// handler routes requests by path.
func (s *Server) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.enter() {
			http.Error(w, ErrClosed.Error(), http.StatusServiceUnavailable)
			return
		}
		defer s.leave()
		if !s.ownHost(r.Host) || r.Header.Get("Sec-Fetch-Site") == "cross-site" {
			http.Error(w, "not for web pages", http.StatusMisdirectedRequest)
			return
		}
		if rt, path, ok := s.streamPath(r.URL.Path); ok {
			s.serveStream(w, r, rt, path)
			return
		}
		restAPI{&s.exchange}.serveHTTP(w, r)
	})
}

// ownHost reports whether a Host is the server's own, a loopback one or one of Config.Hosts.
func (s *Server) ownHost(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return host == s.host || name == "localhost" || err == nil && addr.IsLoopback() || slices.Contains(s.cfg.Hosts, name)
}

// streamPath reports whether a path is a websocket path, and returns its route and the rest. On the
// USDⓈ-M host the paths without a route, retired on 2026-04-23, still answer and deliver the public streams.
func (s *Server) streamPath(path string) (rt route, rest string, ok bool) {
	if s.rules.routed {
		rt = routePublic
		for _, r := range [...]route{routePublic, routeMarket, routePrivate} {
			if after, found := strings.CutPrefix(path, r.prefix()); found {
				rt, path = r, after
				break
			}
		}
	}
	return rt, path, path == "/ws" || path == "/stream" || strings.HasPrefix(path, "/ws/")
}

// serveStream upgrades a request and serves the connection until it ends.
func (s *Server) serveStream(w http.ResponseWriter, r *http.Request, rt route, path string) {
	if status := s.acceptConn(time.Now()); status != http.StatusOK {
		http.Error(w, http.StatusText(status), status)
		return
	}
	query := r.URL.Query()
	c := &conn{
		exchange: &s.exchange, route: rt, path: r.URL.Path, opened: time.Now(),
		form:     formOf(s.rules, r),
		combined: path == "/stream",
		out:      newOutbox(s.cfg.SendBuffer), ended: make(chan struct{}),
	}
	names := strings.TrimPrefix(strings.TrimPrefix(path, "/ws"), "/")
	if c.combined {
		names = query.Get("streams")
	}
	// Before the handshake is answered, so that a client misses no event after it.
	s.open(c, strings.FieldsFunc(names, func(r rune) bool { return r == '/' }))
	defer s.forget(c)
	var up websocket.Upgrader // a page of another origin may not connect
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	s.attach(c, ws)
	s.running.Go(c.write)
	s.running.Go(c.keep)
	c.read()
	close(c.ended)
}

// formOf returns the form of a connection's events. The exchange serves SBE from a separate host that
// requires an API key; here the key decides. Futures have one form.
func formOf(rules *rules, r *http.Request) form {
	switch {
	case !rules.contiguous:
	case r.Header.Get("X-MBX-APIKEY") != "":
		return inSBE
	case strings.EqualFold(r.URL.Query().Get("timeUnit"), "MICROSECOND"):
		return inMicros
	}
	return inMillis
}

// Subscribed blocks until each of the streams, given by full names such as "btcusdt@depth@100ms", has a
// subscriber. It returns the error of ctx, or ErrClosed.
func (s *Server) Subscribed(ctx context.Context, streams ...string) error {
	for {
		s.mu.Lock()
		missing := slices.ContainsFunc(streams, func(name string) bool { return len(s.subscribers[name]) == 0 })
		grown := s.subscribed
		s.mu.Unlock()
		if !missing {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.done:
			return ErrClosed
		}
	}
}

// Stats returns the counts. The caller owns the map.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Requests = maps.Clone(s.stats.Requests)
	st.Open = len(s.conns)
	s.weight.roll(time.Now())
	st.WeightUsed = s.weight.used
	return st
}

// A Connection describes an open websocket.
type Connection struct {
	ID       int    // 1 for the first the server accepted, and so on
	Path     string // of the address it was opened with
	Streams  []string
	Combined bool // events are wrapped with their stream's name
	Opened   time.Time
}

// Connections returns the open websockets in the order they were opened.
func (s *Server) Connections() []Connection {
	var list []Connection
	s.eachConn(0, func(c *conn) {
		list = append(list, Connection{
			ID: c.id, Path: c.path, Streams: append([]string(nil), c.streams...), Combined: c.combined, Opened: c.opened,
		})
	})
	return list
}

// Played returns a channel that is closed when the recording of Config.Playback was sent to its end, or
// failed: see PlaybackErr. Without a playback it is never closed.
func (s *Server) Played() <-chan struct{} { return s.played }

// PlaybackErr returns the error that ended the playback before the end of the recording, or nil.
func (s *Server) PlaybackErr() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replay == nil {
		return nil
	}
	return s.replay.err
}
