package binancetest

import (
	"context"
	"net"
)

// A Network carries a Server's connections. Loopback and InMemory make the two there are.
type Network interface {
	// open begins to listen. dial reaches the listener; host is the listener's name in URLs.
	open() (l net.Listener, dial dialFunc, host string, err error)
}

type dialFunc func(ctx context.Context) (net.Conn, error)

// Loopback is real TCP on a free port of 127.0.0.1.
func Loopback() Network { return loopback{} }

type loopback struct{}

func (loopback) open() (net.Listener, dialFunc, string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, "", err
	}
	host := l.Addr().String()
	dial := func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", host)
	}
	return l, dial, host, nil
}

// InMemory is a network inside the process, for testing/synctest: a goroutine that waits on one of
// its connections is durably blocked, so that virtual time advances. A connection holds up to 256 KiB
// in each direction before a write waits for the reader, as the buffers of a real socket do. It is
// reached through Server.DialContext and Server.HTTPClient only.
func InMemory() Network { return inMemory{} }

type inMemory struct{}

func (inMemory) open() (net.Listener, dialFunc, string, error) {
	l := &memoryListener{conns: make(chan net.Conn), done: make(chan struct{})}
	return l, l.dial, "binance.test", nil
}

type memoryListener struct {
	conns chan net.Conn
	done  chan struct{} // closed by Close, which http.Server calls once
}

func (l *memoryListener) dial(ctx context.Context) (net.Conn, error) {
	client, server := newPipe()
	var cause error
	select {
	case l.conns <- server:
		return client, nil
	case <-ctx.Done():
		cause = ctx.Err()
	case <-l.done:
		cause = ErrClosed
	}
	return nil, &net.OpError{Op: "dial", Net: memoryAddr, Addr: pipeAddr{}, Err: cause}
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	close(l.done)
	return nil
}

func (l *memoryListener) Addr() net.Addr { return pipeAddr{} }
