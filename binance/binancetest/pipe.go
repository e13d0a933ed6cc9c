package binancetest

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

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

// Close lets the peer read what is on its way, then io.EOF.
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
	head    int // what is before it in buf has been read

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

// close sets one of the closed flags and wakes both sides. No deadline matters any more.
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
