package engines

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver"
)

// ErrNoArchive means that no ClickHouse is configured.
var ErrNoArchive = errors.New("no ClickHouse: give --clickhouse HOST:9000, or --data FOLDER of an earlier run")

// An Archive is a store in ClickHouse, with the server if that is embedded.
type Archive struct {
	Store *chstore.Store
	Addr  string // of an embedded server, else ""

	close  func() error
	server *chserver.Server
}

// OpenArchive connects to the ClickHouse at addr, or starts one on the folder dir if addr is empty.
// It does not change tables.
func OpenArchive(ctx context.Context, addr, dir string, cfg chstore.Config) (*Archive, error) {
	a := &Archive{close: func() error { return nil }}
	if addr == "" {
		if dir == "" {
			return nil, ErrNoArchive
		}
		server, err := chserver.Start(ctx, chserver.Config{Dir: filepath.Join(dir, "clickhouse")})
		if err != nil {
			return nil, fmt.Errorf("embedded ClickHouse: %w", err)
		}
		a.server, a.Addr, addr = server, server.Addr(), server.Addr()
	}
	conn, err := chstore.Dial(ctx, addr)
	if err == nil {
		a.close = conn.Close
		a.Store, err = chstore.New(conn, cfg)
	}
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// Close closes the connection and an embedded server.
func (a *Archive) Close() error {
	err := a.close()
	if a.server != nil {
		err = errors.Join(err, a.server.Close())
	}
	return err
}
