package binance_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/orderbook"
)

// The opcodes of RFC 6455, 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opPing         = 0x9
	opPong         = 0xa
	final          = 0x80
)

// A stormConn is the client's end of a websocket to an exchange that goes to the edge of the protocol: every message
// comes in fragments, and before each are pings, and messages that are tiny.
type stormConn struct {
	net.Conn
	reader  *bufio.Reader
	storm   *atomic.Int32 // what comes: one of the storms
	pongs   atomic.Int64
	opened  atomic.Bool // the answer to the handshake was read
	pending bytes.Buffer
}

// The storms, each with what comes before.
const (
	calm      = iota
	pings     // 50 pings before each message
	fragments // messages in fragments of one byte, pings between them
	tiny      // 200 messages of two bytes before each message
	endless   // a message that announces 2^62 bytes
)

// Write leaves the pongs out, which the fake exchange has asked for none of, and counts them.
func (c *stormConn) Write(b []byte) (int, error) {
	if c.opened.Load() && len(b) > 1 && b[0] == final|opPong {
		c.pongs.Add(1)
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *stormConn) Read(b []byte) (int, error) {
	for c.pending.Len() == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	return c.pending.Read(b)
}

// next reads the handshake or one frame of the exchange, which sends no fragments, and appends what the client gets.
func (c *stormConn) next() error {
	if !c.opened.Load() {
		line, err := c.reader.ReadBytes('\n')
		c.pending.Write(line)
		c.opened.Store(string(line) == "\r\n")
		return err
	}
	var head [10]byte
	if _, err := io.ReadFull(c.reader, head[:2]); err != nil {
		return err
	}
	size, used := uint64(head[1]), 2
	switch size {
	case 126:
		used = 4
		if _, err := io.ReadFull(c.reader, head[2:4]); err != nil {
			return err
		}
		size = uint64(binary.BigEndian.Uint16(head[2:]))
	case 127:
		used = 10
		if _, err := io.ReadFull(c.reader, head[2:10]); err != nil {
			return err
		}
		size = binary.BigEndian.Uint64(head[2:])
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c.reader, body); err != nil {
		return err
	}
	if head[0] != final|opText {
		c.pending.Write(head[:used])
		c.pending.Write(body)
		return nil
	}
	ping := append([]byte{final | opPing, 125}, make([]byte, 125)...)
	switch c.storm.Load() {
	case pings:
		for range 50 {
			c.pending.Write(ping)
		}
	case tiny:
		for range 200 {
			c.pending.Write([]byte{final | opText, 2, '{', '}'})
		}
	case endless:
		c.pending.Write(binary.BigEndian.AppendUint64([]byte{final | opText, 127}, 1<<62))
	case fragments:
		op := byte(opText)
		for i := range body {
			if i == len(body)-1 {
				op |= final
			}
			c.pending.Write([]byte{op, 1, body[i]})
			if op = opContinuation; i%64 == 0 {
				c.pending.Write(ping)
			}
		}
		return nil
	}
	c.pending.Write(head[:used])
	c.pending.Write(body)
	return nil
}

// One of two connections storms: floods of pings, fragments, tiny messages, huge events, and a message without end. Its books
// stay synced, or are synced again, the other connection has no gap, and the memory is bounded.
func TestStorm(t *testing.T) {
	var srv *binancetest.Server
	var first atomic.Pointer[stormConn]
	var storm atomic.Int32
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := srv.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &sniffed{Conn: conn, wrote: make(chan struct{}), become: func() *stormConn {
			c := &stormConn{Conn: conn, reader: bufio.NewReader(conn), storm: &storm}
			if first.CompareAndSwap(nil, c) {
				return c
			}
			return nil
		}}, nil
	}
	s := setup{
		server: exchange(4), client: binance.Config{DialContext: dial},
		depth:  binance.DepthConfig{StreamsPerConn: 2, ReconnectMin: time.Second},
		before: func(h *harness) { srv = h.srv },
	}
	bubble(t, s, func(t *testing.T, h *harness) {
		h.ready()
		c := first.Load()
		if c == nil {
			t.Fatal("no connection storms")
		}
		heap := func() int64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		before := heap()
		huge := make([]orderbook.Level, 30_000)
		for i := range huge {
			huge[i] = orderbook.Level{Price: orderbook.Fixed(i+1) * orderbook.One / 100_000, Quantity: orderbook.One}
		}
		for _, kind := range []int32{pings, tiny, fragments} {
			storm.Store(kind)
			if kind != fragments {
				if _, err := h.srv.Apply(victim, huge, nil); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(3 * time.Second)
			h.live(names(4)...)
		}
		if n := c.pongs.Load(); n < 5 || n > 20 { // one a second
			t.Errorf("%d pongs", n)
		}
		if s := h.syncer.Stats(); s.Gaps > 0 || s.Disconnects > 0 {
			t.Errorf("stats: %+v", s)
		}
		storm.Store(endless)
		time.Sleep(10 * time.Second)
		h.ready()
		h.live(names(4)...)
		if more := heap() - before; more > 32<<20 {
			t.Errorf("%d bytes more", more)
		}
		for _, i := range infos[binance.DisconnectInfo](h) {
			t.Log(i.Err)
		}
		if s := h.syncer.Stats(); s.Disconnects != 1 || s.Gaps != 2 {
			t.Errorf("%d disconnects, %d gaps", s.Disconnects, s.Gaps)
		}
	})
}

// A sniffed connection becomes another one if its first request opens a websocket.
type sniffed struct {
	net.Conn
	become func() *stormConn
	storm  *stormConn
	once   sync.Once
	wrote  chan struct{} // closed with the first Write
}

func (s *sniffed) Write(b []byte) (int, error) {
	s.once.Do(func() {
		if bytes.Contains(b, []byte("Upgrade: websocket")) {
			s.storm = s.become()
		}
		close(s.wrote)
	})
	if s.storm != nil {
		return s.storm.Write(b)
	}
	return s.Conn.Write(b)
}

func (s *sniffed) Read(b []byte) (int, error) {
	<-s.wrote
	if s.storm != nil {
		return s.storm.Read(b)
	}
	return s.Conn.Read(b)
}

// Close ends a Read that waits for the first Write.
func (s *sniffed) Close() error {
	s.once.Do(func() { close(s.wrote) })
	return s.Conn.Close()
}
