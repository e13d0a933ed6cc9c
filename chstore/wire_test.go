package chstore_test

import (
	"context"
	"net"
	"sync/atomic"
)

// A wire counts what connections carry.
type wire struct{ written atomic.Int64 }

func (w *wire) dial(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return wiredConn{conn, w}, nil
}

type wiredConn struct {
	net.Conn
	wire *wire
}

func (c wiredConn) Write(p []byte) (n int, err error) {
	n, err = c.Conn.Write(p)
	c.wire.written.Add(int64(n))
	return n, err
}
