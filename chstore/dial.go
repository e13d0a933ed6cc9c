package chstore

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/marketprism/marketprism/internal/defaults"
)

// A ConnectError tells that no ClickHouse can be used at an address.
type ConnectError struct {
	Addr string // host:port, several joined by commas
	Err  error
}

func (e *ConnectError) Error() string {
	return fmt.Sprintf("chstore: no ClickHouse to use at %s: %v (start one there, or give the address of another: "+
		"clickhouse://user:password@host:9000, the port of the native protocol)", e.Addr, e.Err)
}

func (e *ConnectError) Unwrap() error { return e.Err }

// Dial opens connections to ClickHouse and makes sure that it answers. The address is host:port of
// the native protocol or a DSN, clickhouse://user:password@host:9000?option=value, as clickhouse-go
// defines it; a database in it is ignored, since Config names the one to use and Migrate makes it.
// What the DSN leaves open is set to suit a Store: LZ4, 5 s to dial, a minute to wait for an answer,
// 16 connections. The error is a *ConnectError.
func Dial(ctx context.Context, addr string) (driver.Conn, error) {
	if !strings.Contains(addr, "://") {
		addr = "clickhouse://" + addr
	}
	options, err := clickhouse.ParseDSN(addr)
	if err != nil {
		// The text of the error, and the address as it was given, may hold a password.
		return nil, &ConnectError{Addr: "the given address", Err: errDSN}
	}
	options.Auth.Database = ""
	defaults.Set(&options.DialTimeout, 5*time.Second)
	defaults.Set(&options.ReadTimeout, time.Minute)
	defaults.Set(&options.MaxOpenConns, 16)
	defaults.Set(&options.MaxIdleConns, options.MaxOpenConns)
	if options.Compression == nil {
		options.Compression = &clickhouse.Compression{Method: clickhouse.CompressionLZ4}
	}
	conn, err := clickhouse.Open(options)
	if err == nil {
		if err = conn.Ping(ctx); err == nil {
			return conn, nil
		}
		conn.Close()
	}
	return nil, &ConnectError{Addr: strings.Join(options.Addr, ","), Err: err}
}
