package chstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/marketprism/marketprism/internal/defaults"
)

// A Conn is the connections to a ClickHouse, or to one of several: those of clickhouse-go, which is embedded and
// runs queries, and those by which Stores write and read records, whose columns clickhouse-go would convert
// value by value. It is safe for concurrent use, also by several Stores.
type Conn struct {
	driver.Conn
	natives *natives

	fixedBlocks atomic.Bool // the user may not set how many rows a block has
}

// NewConn prepares connections with a copy of options; each is opened when it is needed. Zero options are set to suit a
// Store: LZ4, but none for records on their way to or from a server at a loopback address, where it costs more than it
// saves; 5 s to dial, a minute to wait for an answer, up to 64 connections for queries and as many for reading records.
// Each running INSERT takes one more, and a Store runs up to five at a time; they follow Addr in the order of
// ConnOpenStrategy, and stay open for ConnMaxLifetime.
//
// The error is a *ConnectError: NewConn supports only the native protocol, a user and a password, and compression by
// LZ4, LZ4HC, ZSTD or none. Compression.Level applies to LZ4HC only.
func NewConn(options *clickhouse.Options) (*Conn, error) {
	o := *options
	defaults.Set(&o.DialTimeout, 5*time.Second)
	defaults.Set(&o.ReadTimeout, time.Minute)
	defaults.Set(&o.MaxOpenConns, 64)
	defaults.Set(&o.MaxIdleConns, o.MaxOpenConns)
	defaults.Set(&o.ConnMaxLifetime, time.Hour)
	local := o.Compression == nil
	if local {
		o.Compression = &clickhouse.Compression{Method: clickhouse.CompressionLZ4}
	}
	var conn driver.Conn
	err := unsupported(&o)
	if err == nil {
		conn, err = clickhouse.Open(&o)
	}
	if err != nil {
		return nil, &ConnectError{Addr: strings.Join(o.Addr, ","), Err: err}
	}
	return &Conn{Conn: conn, natives: newNatives(o, local)}, nil
}

// errDSN is the cause in a *ConnectError for an address that is none.
var errDSN = errors.New("it is not of the form host:port or clickhouse://user:password@host:port")

// Dial opens connections to ClickHouse and makes sure that it answers. The address is host:port of
// the native protocol or a DSN, clickhouse://user:password@host:9000?option=value, as clickhouse-go
// defines it; a database in it is ignored, since Config names the one to use and Migrate creates it.
// Options that are not in the DSN are set as by NewConn. The error is a *ConnectError.
func Dial(ctx context.Context, addr string) (*Conn, error) {
	if !strings.Contains(addr, "://") {
		addr = "clickhouse://" + addr
	}
	options, err := clickhouse.ParseDSN(addr)
	if err != nil {
		// The text of the error, and the address as it was given, may hold a password.
		return nil, &ConnectError{Addr: "the given address", Err: errDSN}
	}
	options.Auth.Database = ""
	conn, err := NewConn(options)
	if err != nil {
		return nil, err
	}
	if err := conn.Ping(ctx); err != nil {
		conn.Close()
		return nil, &ConnectError{Addr: strings.Join(options.Addr, ","), Err: err}
	}
	return conn, nil
}

// unsupported returns an error for options that clickhouse-go applies and INSERTs cannot.
func unsupported(o *clickhouse.Options) error {
	_, compressed := chCompression(o.Compression.Method)
	switch {
	case len(o.Addr) == 0:
		return errors.New("no address is given")
	case o.Protocol != clickhouse.Native:
		return errors.New("want the native protocol, port 9000 or 9440, not HTTP")
	case !compressed:
		return fmt.Errorf("compression %s: want none, lz4, lz4hc or zstd", o.Compression.Method)
	case o.GetJWT != nil, o.Cluster.Secret != "":
		return errors.New("want a user and a password, not a token or the secret of a cluster")
	case o.DialStrategy != nil:
		return errors.New("DialStrategy: want ConnOpenStrategy, or DialContext")
	}
	return nil
}

// Close closes all connections; one that an INSERT is using, when that is over. Later queries and INSERTs fail.
func (c *Conn) Close() error {
	return errors.Join(c.natives.close(), c.Conn.Close())
}
