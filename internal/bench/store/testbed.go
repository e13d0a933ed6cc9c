package main

import (
	"context"
	"errors"
	"os"
	"runtime/pprof"
	"time"

	"github.com/ClickHouse/ch-go"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver"
)

// A testbed is a server with two sets of the same tables: for Write and for the columns filled by hand.
type testbed struct {
	opt    options
	server *chserver.Server
	conn   *chstore.Conn
	store  *chstore.Store
	hand   *ch.Client
}

// The prefixes of the tables filled by hand and of those of the day.
const (
	database   = "bench"
	handPrefix = "hand_"
	dayPrefix  = "day_"
)

func open(ctx context.Context, opt options) (b *testbed, err error) {
	b = &testbed{opt: opt}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if b.server, err = chserver.Start(ctx, chserver.Config{CloseTimeout: time.Minute}); err != nil {
		return b, err
	}
	if b.conn, err = chstore.Dial(ctx, b.server.DSN()); err != nil {
		return b, err
	}
	if b.store, err = b.openStore(ctx, ""); err != nil {
		return b, err
	}
	if _, err = b.openStore(ctx, handPrefix); err != nil {
		return b, err
	}
	// Not compressed, as chstore.Dial has it on a loopback address.
	b.hand, err = ch.Dial(ctx, ch.Options{
		Address: b.server.Addr(), User: chserver.User, Password: b.server.Config().Password, Database: database, Compression: ch.CompressionDisabled,
	})
	return b, err
}

func (b *testbed) openStore(ctx context.Context, prefix string) (*chstore.Store, error) {
	s, err := chstore.New(b.conn, chstore.Config{Database: database, TablePrefix: prefix})
	if err != nil {
		return nil, err
	}
	return s, s.Migrate(ctx)
}

func (b *testbed) close() (err error) {
	if b.hand != nil {
		err = b.hand.Close()
	}
	if b.conn != nil {
		err = errors.Join(err, b.conn.Close())
	}
	if b.server != nil {
		err = errors.Join(err, b.server.Close())
	}
	return err
}

// profiled calls f, and writes a CPU profile to the named file unless the name is empty.
func profiled(name string, f func() error) error {
	if name == "" {
		return f()
	}
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return errors.Join(err, file.Close())
	}
	err = f()
	pprof.StopCPUProfile()
	return errors.Join(err, file.Close())
}
