package chstore_test

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A proxy passes connections on to a server until it fails. The zero value never does.
type proxy struct {
	addr string

	mu    sync.Mutex
	after int64 // bytes towards the server until it fails; 0: never
	stall bool  // it fails by holding back the connection that carried the last byte, else by its own end
	ended bool
	conns []net.Conn

	listener net.Listener
}

func startProxy(t *testing.T, server string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{addr: l.Addr().String(), listener: l}
	t.Cleanup(p.end)
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", server)
			if err != nil || !p.add(near, far) {
				near.Close()
				continue
			}
			go func() { io.Copy(near, far); near.Close() }() //nolint:errcheck // ends with either
			go p.pass(near, far)
		}
	}()
	return p
}

func (p *proxy) add(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, conns...)
	return !p.ended
}

// fail has the proxy fail after so many bytes more.
func (p *proxy) fail(after int64, stall bool) {
	p.mu.Lock()
	p.after, p.stall = after, stall
	p.mu.Unlock()
}

func (p *proxy) pass(near, far net.Conn) {
	defer far.Close()
	buf := make([]byte, 1<<10)
	for {
		n, err := near.Read(buf)
		if err != nil {
			return
		}
		failed := p.carry(int64(n))
		switch {
		case failed && p.stall:
			io.Copy(io.Discard, near) //nolint:errcheck // until the client has had enough
			return
		case failed:
			p.end()
			return
		}
		if _, err := far.Write(buf[:n]); err != nil {
			return
		}
	}
}

// carry counts bytes. It is true once, when the proxy is to fail.
func (p *proxy) carry(n int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.after == 0 {
		return false
	}
	p.after = max(0, p.after-n)
	return p.after == 0
}

// end closes all, for good.
func (p *proxy) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.listener.Close()
	for _, c := range p.conns {
		c.Close()
	}
}
