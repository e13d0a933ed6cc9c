// Package natsserver runs a NATS server with JetStream inside the process, for tests and examples.
// It is the same server that runs stand-alone: a stream written here opens there.
package natsserver

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// A Config says where a Server keeps its streams and where it listens.
type Config struct {
	StoreDir string // folder of the streams, made where absent; required
	Host     string // "" means 127.0.0.1
	Port     int    // 0 means a free one
	MaxStore int64  // bytes that all streams together may reserve; 0 means 8 GiB

	// SyncInterval is how often what was written is forced to the disk. 0 means 1 s; the server's own
	// default of two minutes is what a power cut would cost.
	SyncInterval time.Duration

	// ConfigFile is one of nats-server's own, for what the other fields do not speak of: users,
	// permissions, TLS. "" means none.
	ConfigFile string

	// StartTimeout bounds Start, which reads back all streams. 0 means 30 s.
	StartTimeout time.Duration

	name   string     // "" means marketprism
	member membership // of a Cluster
}

func (cfg Config) withDefaults() (Config, error) {
	if cfg.StoreDir == "" {
		return cfg, errors.New("natsserver: StoreDir is empty")
	}
	if cfg.Port < 0 || cfg.MaxStore < 0 || cfg.SyncInterval < 0 || cfg.StartTimeout < 0 {
		return cfg, errors.New("natsserver: a negative Port, MaxStore, SyncInterval or StartTimeout means nothing")
	}
	if cfg.Host == "" {
		cfg.Host = "127.0.0.1"
	}
	if cfg.Port == 0 {
		cfg.Port = server.RANDOM_PORT
	}
	if cfg.name == "" {
		cfg.name = "marketprism"
	}
	if cfg.MaxStore == 0 {
		cfg.MaxStore = 8 << 30
	}
	if cfg.SyncInterval == 0 {
		cfg.SyncInterval = time.Second
	}
	if cfg.StartTimeout == 0 {
		cfg.StartTimeout = 30 * time.Second
	}
	return cfg, nil
}

// A Server is a running NATS server.
type Server struct {
	cfg Config // with the port it really has
	srv *server.Server
}

// Start starts a server and returns when it accepts connections and all streams of StoreDir are
// there. Two servers must not share a StoreDir at one time.
func Start(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	opts, err := cfg.options()
	if err != nil {
		return nil, fmt.Errorf("natsserver: %w", err)
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("natsserver: %w", err)
	}
	complaints := newComplaints()
	srv.SetLoggerV2(complaints, false, false, false)
	go srv.Start() // it reads back the streams, for which ready waits
	if !ready(srv, complaints, cfg.StartTimeout) {
		srv.Shutdown()
		return nil, fmt.Errorf("natsserver: not ready on %s:%d with %s: %w", cfg.Host, max(cfg.Port, 0), cfg.StoreDir, complaints.err())
	}
	cfg.Port = srv.Addr().(*net.TCPAddr).Port
	return &Server{cfg: cfg, srv: srv}, nil
}

// options returns the configuration in the server's terms.
func (cfg Config) options() (*server.Options, error) {
	opts := &server.Options{}
	if cfg.ConfigFile != "" {
		var err error
		if opts, err = server.ProcessConfigFile(cfg.ConfigFile); err != nil {
			return nil, err
		}
	}
	opts.ServerName = cfg.name
	opts.Host, opts.Port = cfg.Host, cfg.Port
	opts.JetStream, opts.StoreDir, opts.JetStreamMaxStore = true, cfg.StoreDir, cfg.MaxStore
	opts.SyncInterval = cfg.SyncInterval
	opts.NoSigs, opts.DisableJetStreamBanner = true, true
	cfg.member.join(opts)
	return opts, nil
}

func ready(srv *server.Server, complaints *complaints, timeout time.Duration) bool {
	accepts := make(chan bool, 1)
	go func() { accepts <- srv.ReadyForConnections(timeout) }()
	select {
	case ok := <-accepts:
		return ok && srv.JetStreamEnabled()
	case <-complaints.fatal:
		return false
	}
}

// URL returns the address that clients connect to.
func (s *Server) URL() string { return s.srv.ClientURL() }

// Config returns the configuration with defaults filled in and the port the server listens on.
// After Shutdown, Start with it brings back the same server: same address, same streams.
func (s *Server) Config() Config { return s.cfg }

// Shutdown stops the server and returns when everything is written and the port is free. Calling it
// again does nothing.
func (s *Server) Shutdown() {
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
}
