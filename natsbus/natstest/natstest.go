package natstest

import (
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/internal/natsserver"
)

// reconnectWait is short: a test waits for it.
const reconnectWait = 20 * time.Millisecond

// A Server is a NATS server with JetStream in the process of a test. Its methods are safe for concurrent use.
type Server struct {
	cfg natsserver.Config // with its port and its token
	url string

	mu      sync.Mutex
	running *natsserver.Server // a closed one after Close
}

// Start starts a server with an empty folder, and closes it when the test has ended.
func Start(t testing.TB) *Server {
	t.Helper()
	running, err := natsserver.Start(natsserver.Config{StoreDir: t.TempDir()})
	if err != nil {
		t.Fatalf("natstest: %v", err)
	}
	s := &Server{cfg: running.Config(), url: running.URL(), running: running}
	t.Cleanup(func() { _ = s.Close() }) // always nil
	return s
}

// URL returns the address for natsbus.Open, nats.Connect and programs, which is the same for the whole test. It has the
// token that the server asks for.
func (s *Server) URL() string { return s.url }

// JetStream returns a client of the server, whose connection is closed when the test has ended. It connects again by
// itself after Close and Restart, without a limit of attempts unless opts set one.
func (s *Server) JetStream(t testing.TB, opts ...nats.Option) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(s.url, append([]nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait)}, opts...)...)
	if err != nil {
		t.Fatalf("natstest: %v", err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatalf("natstest: %v", err)
	}
	return js
}

// Close stops the server, as an outage does, and returns nil when everything is written and the port is free. Calling it
// again does nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running.Close()
}

// Restart closes the server, if it runs, and starts it again at the same address and with the same streams.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.running.Close() // always nil
	running, err := natsserver.Start(s.cfg)
	if err != nil {
		t.Fatalf("natstest: %v", err)
	}
	s.running = running
}
