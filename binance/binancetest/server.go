package binancetest

import (
	"context"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A Server is a fake exchange that listens. New makes one.
type Server struct {
	cfg    Config
	rules  *rules
	encode encoder

	http *http.Server
	dial dialFunc
	host string

	done    chan struct{}  // closed by Close
	running sync.WaitGroup // request handlers, connections, the playback
	played  chan struct{}  // closed when the recording is at its end

	mu          sync.Mutex // guards all below; never held while waiting
	closed      bool
	symbols     []*symbolState // in order of listing
	byName      map[string]*symbolState
	sharedID    int64      // update id of futures, which all symbols share
	ids         *rand.Rand // its jumps
	grid        grid
	conns       []*conn // open websockets in order of opening
	subscribers map[string][]*conn
	subscribed  chan struct{} // closed and replaced when subscribers grows
	nextConn    int
	connects    []time.Time // of the last 5 minutes
	weight      weightMeter
	retry       retryWindow
	partials    bool          // some connection has asked for a partial depth stream
	calm        chan struct{} // closed and replaced by Calm
	restorers   []restorer    // what RunChaos has changed for a while
	faults      restFaults
	wire        wireFaults
	commands    commandFaults
	replay      *replay // nil without a playback
	stats       Stats
}

// now is the exchange's clock. The limits keep to the real one.
func (s *Server) now() time.Time { return time.Now().Add(s.wire.clock) }

// New starts an exchange. The caller closes it. The errors are ErrConfig, those of the network, and
// with a playback ErrRecording, which wraps the cause and names the line.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	r, _ := rulesOf(cfg.Market)
	s := &Server{
		cfg: cfg, rules: r, encode: encoder{market: cfg.Market, rules: r},
		done: make(chan struct{}), played: make(chan struct{}),
		byName: make(map[string]*symbolState), subscribers: make(map[string][]*conn), subscribed: make(chan struct{}), calm: make(chan struct{}),
		ids:    rand.New(rand.NewPCG(cfg.Seed, uint64(len(cfg.Market)))),
		weight: newWeightMeter(cfg, r),
		stats:  Stats{Requests: make(map[string]int)},
	}
	for _, y := range cfg.Symbols {
		if err := s.list(y); err != nil {
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

// list adds a symbol.
func (s *Server) list(cfg Symbol) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	if s.byName[cfg.Name] != nil {
		return fmt.Errorf("%w: symbol %s is listed twice", ErrConfig, cfg.Name)
	}
	y := newSymbol(cfg, s.rules, &s.cfg)
	s.symbols = append(s.symbols, y)
	s.byName[y.Name] = y
	s.sharedID = max(s.sharedID, y.id)
	return nil
}

// start opens the network and serves it.
func (s *Server) start() error {
	l, dial, host, err := s.cfg.Network.open()
	if err != nil {
		return fmt.Errorf("binancetest: listen: %w", err)
	}
	s.dial, s.host = dial, host
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0), // connections cut on purpose would fill it
	}
	s.running.Go(func() { _ = s.http.Serve(l) }) // always ends with ErrServerClosed, or with the listener
	if s.replay != nil {
		s.running.Go(s.replay.run)
	}
	return nil
}

// Close cuts every connection and ends everything the server started. It returns when all of that is
// over, and always nil. Closing again does nothing.
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
	_ = s.http.Close() // the connections that are no websockets, and the listener
	s.running.Wait()
	return nil
}

// enter counts a request handler in; leave counts it out. It is false once the server is closed.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.running.Add(1)
	}
	return !s.closed
}

func (s *Server) leave() { s.running.Done() }

// RESTURL is the base address of the REST interface: what https://api.binance.com is to the exchange.
func (s *Server) RESTURL() string { return "http://" + s.host }

// StreamURL is the base address of the websocket streams: what wss://stream.binance.com:9443 is to
// the exchange.
func (s *Server) StreamURL() string { return "ws://" + s.host }

// DialContext connects to the server, whatever network and address say. It has the signature that
// net/http.Transport and websocket dialers take.
func (s *Server) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	return s.dial(ctx)
}

// HTTPClient returns a new client all of whose requests go to the server, whatever host their
// addresses name.
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
		if rt, path, ok := s.streamPath(r.URL.Path); ok {
			s.serveStream(w, r, rt, path)
			return
		}
		s.serveREST(w, r)
	})
}

// streamPath tells whether a path is one of the websocket paths, and by which route. On the
// USDⓈ-M host the paths without a route, retired on 2026-04-23, still answer and deliver what is public.
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
