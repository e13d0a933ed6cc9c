package chstore

import (
	"context"
	"fmt"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
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
// What the DSN leaves open is set as Open does. The error is a *ConnectError.
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
	conn, err := Open(options)
	if err != nil {
		return nil, err
	}
	if err := conn.Ping(ctx); err != nil {
		conn.Close()
		return nil, &ConnectError{Addr: strings.Join(options.Addr, ","), Err: err}
	}
	return conn, nil
}
