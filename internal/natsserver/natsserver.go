// Package natsserver runs a NATS server with JetStream inside the process, for tests and examples.
// It is the same server that runs stand-alone, with the same files.
//
// It lets in who has its token, which is in its URL and, for other programs of the same user, in a file of its folder that
// this user alone may read. Without Config.ConfigFile it has no other port than that of the clients.
package natsserver

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// A Config says where a Server keeps its streams and where it listens.
type Config struct {
	StoreDir string // folder of the streams, created if absent; required
	Host     string // "" means 127.0.0.1
	Port     int    // 0 means a free one
	MaxStore int64  // bytes that all streams together may reserve; 0 means 8 GiB

	// SyncInterval is how often writes are forced to the disk, and so how much a power cut may lose. 0 means 1 s;
	// the server's own default is two minutes.
	SyncInterval time.Duration

	// Token is what clients have to give. "" means that of the last server of StoreDir, so that clients find their way
	// back; a new random one if there was none.
	Token string

	// ConfigFile is a configuration of nats-server, for settings without a field here: users, permissions, TLS. ""
	// means none. With one there is no token: the file says who gets in.
	ConfigFile string

	// StartTimeout bounds Start, which reads all streams. 0 means 30 s.
	StartTimeout time.Duration

	name   string     // "" means marketprism
	member membership // of a Cluster
}

func (cfg Config) withDefaults() (Config, error) {
	if cfg.StoreDir == "" {
		return cfg, errors.New("natsserver: StoreDir is empty")
	}
	if cfg.Port < 0 || cfg.MaxStore < 0 || cfg.SyncInterval < 0 || cfg.StartTimeout < 0 {
		return cfg, errors.New("natsserver: want Port, MaxStore, SyncInterval and StartTimeout of 0 or more")
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

// withToken sets the token that its field describes.
func (cfg Config) withToken() (Config, error) {
	if cfg.ConfigFile != "" || cfg.Token != "" {
		return cfg, nil
	}
	last, err := ReadURL(cfg.StoreDir)
	if u, bad := url.Parse(last); err == nil && bad == nil && u.User != nil {
		cfg.Token = u.User.Username()
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if cfg.Token == "" {
		cfg.Token = rand.Text()
	}
	return cfg, err
}

// urlFile is the file in StoreDir with the address of its server.
const urlFile = "url"

// ReadURL returns the address, with the token, of the server that runs or last ran on a folder. The error wraps
// fs.ErrNotExist if none did.
func ReadURL(storeDir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(storeDir, urlFile)) // #nosec G304 -- the folder is a setting
	if err != nil {
		return "", fmt.Errorf("natsserver: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// makePrivate creates a folder for this user alone, or makes it so.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Chmod(dir, 0o700) // #nosec G302 -- a folder
}

// A Server is a running NATS server.
type Server struct {
	cfg Config // with the actual port
	srv *server.Server
}

// Start starts a server and returns when it accepts connections and has read all streams of StoreDir. Two servers must
// not share a StoreDir at one time.
func Start(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := makePrivate(cfg.StoreDir); err != nil {
		return nil, fmt.Errorf("natsserver: not ready with %s: %w", cfg.StoreDir, err)
	}
	if cfg, err = cfg.withToken(); err != nil {
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
	log := newErrorLog()
	srv.SetLoggerV2(log, false, false, false)
	go srv.Start() // reads the streams, for which ready waits
	if !ready(srv, log, cfg.StartTimeout) {
		srv.Shutdown()
		return nil, fmt.Errorf("natsserver: not ready on %s:%d with %s: %w", cfg.Host, max(cfg.Port, 0), cfg.StoreDir, log.err())
	}
	cfg.Port = srv.Addr().(*net.TCPAddr).Port
	s := &Server{cfg: cfg, srv: srv}
	if err := os.WriteFile(filepath.Join(cfg.StoreDir, urlFile), []byte(s.URL()+"\n"), 0o600); err != nil {
		_ = s.Close() // always nil
		return nil, fmt.Errorf("natsserver: %w", err)
	}
	return s, nil
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
	if cfg.ConfigFile == "" {
		opts.Authorization = cfg.Token
	}
	opts.NoSigs, opts.DisableJetStreamBanner = true, true
	// The cache holds the receivers of 1024 subjects (sublist.go). Each acknowledgement has a subject of its own, and an
	// exchange has thousands, so nearly every message would miss it, be added, and be swept out again. Without it the
	// server needs a little less CPU for what is published and consumed over 1000 symbols.
	opts.NoSublistCache = true
	cfg.member.join(opts)
	return opts, nil
}

func ready(srv *server.Server, log *errorLog, timeout time.Duration) bool {
	accepts := make(chan bool, 1)
	go func() { accepts <- srv.ReadyForConnections(timeout) }()
	select {
	case ok := <-accepts:
		return ok && srv.JetStreamEnabled()
	case <-log.fatal:
		return false
	}
}

// URL returns the address that clients connect to, with the token. Keep it from arguments, variables and logs.
func (s *Server) URL() string {
	u, err := url.Parse(s.srv.ClientURL())
	if err != nil || s.cfg.Token == "" {
		return s.srv.ClientURL()
	}
	u.User = url.User(s.cfg.Token)
	return u.String()
}

// Addr returns host and port that clients connect to.
func (s *Server) Addr() string { return net.JoinHostPort(s.cfg.Host, strconv.Itoa(s.cfg.Port)) }

// Config returns the configuration with defaults filled in and the actual port. After Close, Start with it starts the
// same server again: same address, same streams.
func (s *Server) Config() Config { return s.cfg }

// Clients returns the number of connections of clients.
func (s *Server) Clients() int { return s.srv.NumClients() }

// Close stops the server and returns nil when everything is written and the port is free. Calling it again does nothing.
func (s *Server) Close() error {
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
	return nil
}

// An errorLog is a server's logger that keeps the first error, for the error of Start. Without it the server would print
// its log, and exit the process on a fatal error.
type errorLog struct {
	fatal chan struct{} // closed by the first fatal error
	once  sync.Once

	mu    sync.Mutex
	first error
}

func newErrorLog() *errorLog { return &errorLog{fatal: make(chan struct{})} }

var errSlow = errors.New("it took too long")

func (c *errorLog) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.first == nil {
		return errSlow
	}
	return c.first
}

func (c *errorLog) keep(format string, v ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.first == nil {
		c.first = fmt.Errorf(format, v...)
	}
}

func (c *errorLog) Fatalf(format string, v ...any) {
	c.keep(format, v...)
	c.once.Do(func() { close(c.fatal) })
}

func (c *errorLog) Errorf(format string, v ...any) { c.keep(format, v...) }
func (c *errorLog) Noticef(string, ...any)         {}
func (c *errorLog) Warnf(string, ...any)           {}
func (c *errorLog) Debugf(string, ...any)          {}
func (c *errorLog) Tracef(string, ...any)          {}
