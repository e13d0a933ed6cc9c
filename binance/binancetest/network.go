package binancetest

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// A Network carries a Server's connections: Loopback or InMemory.
type Network interface {
	// open listens. dial connects to the listener; host is its name in URLs.
	open() (l net.Listener, dial dialFunc, host string, err error)
}

type dialFunc func(ctx context.Context) (net.Conn, error)

// Loopback returns a Network of TCP on a free port of 127.0.0.1.
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
	return boundedListener{l}, dial, host, nil
}

// A boundedListener bounds what the system keeps for a slow reader, so that Config.SendBuffer decides.
type boundedListener struct{ net.Listener }

func (l boundedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetWriteBuffer(pipeBuffer) // without it the system's own bound holds
	}
	return c, err
}

// InMemory returns a Network inside the process, for testing/synctest: a goroutine that waits on one of its
// connections is durably blocked, so that virtual time advances. A connection buffers up to 256 KiB in each
// direction, as a real socket does. Server.DialContext and Server.HTTPClient are the only ways to connect.
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

// pipeBuffer is how many bytes one direction of a pipe holds.
const pipeBuffer = 256 << 10

const memoryAddr = "memory"

type pipeAddr struct{}

func (pipeAddr) Network() string { return memoryAddr }
func (pipeAddr) String() string  { return memoryAddr }

// A pipeConn is one end of a buffered in-memory connection. Unlike net.Pipe, a write returns before
// the peer reads. All waiting is on a sync.Cond, which testing/synctest counts as durably blocked.
type pipeConn struct {
	in, out *pipeHalf
}

func newPipe() (a, b net.Conn) {
	x, y := newPipeHalf(), newPipeHalf()
	return &pipeConn{in: x, out: y}, &pipeConn{in: y, out: x}
}

func (c *pipeConn) Read(b []byte) (int, error)  { return c.in.read(b) }
func (c *pipeConn) Write(b []byte) (int, error) { return c.out.write(b) }

// Close lets the peer read what is buffered, then io.EOF.
func (c *pipeConn) Close() error {
	c.in.close(&c.in.readerClosed)
	c.out.close(&c.out.writerClosed)
	return nil
}

func (c *pipeConn) LocalAddr() net.Addr  { return pipeAddr{} }
func (c *pipeConn) RemoteAddr() net.Addr { return pipeAddr{} }

func (c *pipeConn) SetDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.readBy, t)
	c.out.setDeadline(&c.out.writeBy, t)
	return nil
}

func (c *pipeConn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.readBy, t)
	return nil
}

func (c *pipeConn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(&c.out.writeBy, t)
	return nil
}

// A pipeHalf is one direction of a pipe.
type pipeHalf struct {
	mu      sync.Mutex
	changed *sync.Cond // any field below
	buf     []byte
	head    int // start of the unread bytes in buf

	readerClosed, writerClosed bool
	readBy, writeBy            deadline
}

type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func newPipeHalf() *pipeHalf {
	h := &pipeHalf{}
	h.changed = sync.NewCond(&h.mu)
	return h
}

func (h *pipeHalf) read(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.readerClosed:
			return 0, net.ErrClosed
		case h.readBy.passed():
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		case len(h.buf) > h.head:
			n := copy(b, h.buf[h.head:])
			h.head += n
			if h.head == len(h.buf) {
				h.buf, h.head = h.buf[:0], 0
			}
			h.changed.Broadcast()
			return n, nil
		case h.writerClosed:
			return 0, io.EOF
		}
		h.changed.Wait()
	}
}

func (h *pipeHalf) write(b []byte) (n int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.writerClosed:
			return n, net.ErrClosed
		case h.readerClosed:
			return n, io.ErrClosedPipe
		case h.writeBy.passed():
			return n, os.ErrDeadlineExceeded
		case len(b) == 0:
			return n, nil
		}
		if room := min(pipeBuffer-(len(h.buf)-h.head), len(b)); room > 0 {
			if len(h.buf)+room > pipeBuffer {
				h.buf, h.head = append(h.buf[:0], h.buf[h.head:]...), 0
			}
			h.buf = append(h.buf, b[:room]...)
			b, n = b[room:], n+room
			h.changed.Broadcast()
			continue
		}
		h.changed.Wait()
	}
}

// close sets one of the closed flags, wakes both sides and stops the deadlines.
func (h *pipeHalf) close(flag *bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*flag = true
	for _, d := range []*deadline{&h.readBy, &h.writeBy} {
		if d.timer != nil {
			d.timer.Stop()
		}
	}
	h.changed.Broadcast()
}

func (h *pipeHalf) setDeadline(d *deadline, t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = t
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.changed.Broadcast()
		})
	}
	h.changed.Broadcast()
}
