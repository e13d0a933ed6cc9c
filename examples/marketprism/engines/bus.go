// Package engines connects to NATS and ClickHouse, and starts embedded servers if no address is given.
package engines

import (
	"context"
	"errors"
	"net"
	"net/url"
	"path/filepath"
	"runtime/pprof"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/internal/natsserver"
	"github.com/marketprism/marketprism/natsbus"
)

// PartLabel is the profile label that names the part of the program to which a goroutine belongs.
const (
	PartLabel      = "part"
	PartNATSServer = "NATS server"
)

// ErrNoBus means that no NATS is configured.
var ErrNoBus = errors.New("no address of NATS: give --nats nats://HOST:4222, or set nats in the file; only the command run has one embedded, which dlq and status find by --data FOLDER while it runs")

// A Bus is a connection to NATS, with the server if that is embedded.
type Bus struct {
	Conn *nats.Conn
	JS   jetstream.JetStream
	Addr string // of an embedded server, else ""

	server *natsserver.Server
}

// OpenBus connects to the NATS at url. It does not change streams. hooks may be nil.
func OpenBus(ctx context.Context, url string, hooks *natsbus.ConnHooks, options ...nats.Option) (*Bus, error) {
	if url == "" {
		return nil, ErrNoBus
	}
	return open(ctx, &Bus{}, url, hooks, options...)
}

// EmbedBus starts a NATS server on a folder and connects to it.
func EmbedBus(ctx context.Context, dir string, hooks *natsbus.ConnHooks) (*Bus, error) {
	var server *natsserver.Server
	var err error
	pprof.Do(ctx, pprof.Labels(PartLabel, PartNATSServer), func(context.Context) {
		server, err = natsserver.Start(natsserver.Config{StoreDir: busDir(dir)})
	})
	if err != nil {
		return nil, err
	}
	return open(ctx, &Bus{server: server, Addr: server.Addr()}, server.URL(), hooks)
}

func busDir(dir string) string { return filepath.Join(dir, "nats") }

// EmbeddedURL returns the address, with its secret, of the NATS server that another process of this user runs on a folder.
// It is "" if there is none.
func EmbeddedURL(dir string) string {
	address, err := natsserver.ReadURL(busDir(dir))
	if err != nil {
		return ""
	}
	return address
}

// inUseWait bounds how long a server on this host may take to answer.
const inUseWait = time.Second

// InUse reports whether another process runs a NATS server on a folder: it answers.
func InUse(dir string) bool {
	address, err := url.Parse(EmbeddedURL(dir))
	if err != nil || address.Host == "" {
		return false
	}
	conn, err := net.DialTimeout("tcp", address.Host, inUseWait)
	if err != nil {
		return false
	}
	_ = conn.Close() // it has answered, which is all
	return true
}

func open(ctx context.Context, b *Bus, url string, hooks *natsbus.ConnHooks, options ...nats.Option) (*Bus, error) {
	if hooks == nil {
		hooks = &natsbus.ConnHooks{}
	}
	var err error
	pprof.Do(ctx, pprof.Labels(PartLabel, "NATS client"), func(ctx context.Context) {
		b.Conn, err = natsbus.Connect(ctx, url, append(hooks.Options(), options...)...)
	})
	if err == nil {
		b.JS, err = jetstream.New(b.Conn)
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// Close closes the connection and stops an embedded server.
func (b *Bus) Close() error {
	if b.Conn != nil {
		b.Conn.Close()
	}
	if b.server != nil {
		return b.server.Close()
	}
	return nil
}
