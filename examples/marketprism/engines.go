package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver"
	"github.com/marketprism/marketprism/internal/natsserver"
	"github.com/marketprism/marketprism/natsbus"
)

// A bus is a connection to NATS, and the server itself where it is embedded.
type bus struct {
	conn   *nats.Conn
	js     jetstream.JetStream
	server *natsserver.Server // nil unless embedded
}

func openBus(ctx context.Context, opt options) (*bus, error) {
	b, url := &bus{}, opt.natsURL
	if url == "" {
		server, err := natsserver.Start(natsserver.Config{StoreDir: filepath.Join(opt.dataDir, "nats")})
		if err != nil {
			return nil, err
		}
		b.server, url = server, server.URL()
	}
	var err error
	if b.conn, err = natsbus.Connect(ctx, url); err == nil {
		b.js, err = jetstream.New(b.conn)
	}
	if err == nil {
		err = natsbus.EnsureStreams(ctx, b.js, natsbus.StreamsConfig{})
	}
	if err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bus) close() {
	if b.conn != nil {
		b.conn.Close()
	}
	if b.server != nil {
		b.server.Shutdown()
	}
}

// An archive is a connection to ClickHouse, and the server itself where it is embedded.
type archive struct {
	store  *chstore.Store
	close  func() error
	server *chserver.Server // nil unless embedded
}

func openArchive(ctx context.Context, opt options) (*archive, error) {
	a, addr := &archive{close: func() error { return nil }}, opt.clickhouseAddr
	if addr == "" {
		server, err := chserver.Start(ctx, chserver.Config{Dir: filepath.Join(opt.dataDir, "clickhouse")})
		if err != nil {
			return nil, fmt.Errorf("embedded ClickHouse: %w", err)
		}
		a.server, addr = server, server.Addr()
	}
	conn, err := chstore.Dial(ctx, addr)
	if err == nil {
		a.close = conn.Close
		a.store, err = chstore.New(conn, chstore.Config{})
	}
	if err == nil {
		err = a.store.Migrate(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, a.stop())
	}
	return a, nil
}

// stop ends the connection and an embedded server. It does not depend on a context: an interrupted
// run has to put its archive away as well.
func (a *archive) stop() error {
	err := a.close()
	if a.server != nil {
		err = errors.Join(err, a.server.Stop(context.Background()))
	}
	return err
}
