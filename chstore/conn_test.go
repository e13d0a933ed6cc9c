package chstore_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// openOn returns a Store on migrated tables in the test's database, opened with other options.
func openOn(t *testing.T, db *chtest.DB, options *clickhouse.Options, cfg chstore.Config) *chstore.Store {
	t.Helper()
	conn, err := chstore.NewConn(options)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	cfg.Database = db.Name
	s, err := chstore.New(conn, cfg)
	require.NoError(t, err)
	require.NoError(t, s.Migrate(t.Context()))
	return s
}

// Records read back the same with every compression, and they are compressed on the wire.
func TestCompressions(t *testing.T) {
	short.Skip(t)
	recs := sinktest.Records(1, 2_000)
	var sent []int64
	for _, method := range []clickhouse.CompressionMethod{
		clickhouse.CompressionNone, clickhouse.CompressionLZ4, clickhouse.CompressionLZ4HC, clickhouse.CompressionZSTD,
	} {
		db := chtest.Open(t)
		options := db.Options()
		options.Compression = &clickhouse.Compression{Method: method, Level: 3}
		var w wire
		options.DialContext = w.dial
		s := openOn(t, db, options, chstore.Config{})
		before := w.written.Load()
		require.NoError(t, s.Write(t.Context(), recs))
		sent = append(sent, w.written.Load()-before)
		requireSame(t, recs, readAll(t, s, recs))
	}
	for i, smaller := range sent[1:] {
		require.Less(t, smaller, sent[i], "%d: bytes on the wire", sent)
	}
}

func TestOpenRefuses(t *testing.T) {
	at := []string{"127.0.0.1:9000"}
	for want, options := range map[string]*clickhouse.Options{
		"no address":           {},
		"native protocol":      {Addr: at, Protocol: clickhouse.HTTP},
		"compression gzip":     {Addr: at, Compression: &clickhouse.Compression{Method: clickhouse.CompressionGZIP}},
		"not a token":          {Addr: at, GetJWT: func(context.Context) (string, error) { return "", nil }},
		"secret of a cluster":  {Addr: at, Cluster: clickhouse.ClusterCredentials{Name: "a", Secret: "b"}},
		"want ConnOpenStrateg": {Addr: at, DialStrategy: clickhouse.DefaultDialStrategy},
	} {
		_, err := chstore.NewConn(options)
		var refused *chstore.ConnectError
		require.ErrorAs(t, err, &refused, want)
		require.ErrorContains(t, err, want)
	}
}

// The addresses are tried in order, and one that does not answer is skipped.
func TestSeveralAddresses(t *testing.T) {
	short.Skip(t)
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, nobody.Close())
	for _, strategy := range []clickhouse.ConnOpenStrategy{
		clickhouse.ConnOpenInOrder, clickhouse.ConnOpenRoundRobin, // with a random order clickhouse-go may try the same one twice
	} {
		db := chtest.Open(t)
		options := db.Options()
		options.Addr = append([]string{nobody.Addr().String()}, options.Addr...)
		options.ConnOpenStrategy = strategy
		s := openOn(t, db, options, chstore.Config{Attempts: -1})
		recs := sinktest.Records(1, 100)
		require.NoError(t, s.Write(t.Context(), recs))
		requireSame(t, recs, readAll(t, s, recs))
	}
}

// Settings of the connections apply to INSERTs too. Exceeding the server's memory limit is retryable.
func TestSettingsHoldForInserts(t *testing.T) {
	s, db := openStore(t, chstore.Config{})
	require.NoError(t, s.Write(t.Context(), sinktest.Records(1, 10)))
	options := db.Options()
	options.Settings = clickhouse.Settings{"max_memory_usage": 1} // byte
	conn, err := chstore.NewConn(options)
	require.NoError(t, err)
	defer conn.Close()
	poor, err := chstore.New(conn, chstore.Config{Database: db.Name, Attempts: -1})
	require.NoError(t, err)
	err = poor.Write(t.Context(), sinktest.Records(2, 1000))
	require.Equal(t, chstore.Reason("memory"), chstore.ReasonOf(err), "%v", err)
	require.True(t, chstore.Retryable(err))
}

// An INSERT after a restart of the server notices before it sends anything that its connection is closed.
func TestConnectionsOutliveARestart(t *testing.T) {
	short.Skip(t)
	server := chtest.Start(t, chtest.Config())
	db := chtest.OpenAt(t, server)
	var failed int
	s := openOn(t, db, db.Options(), chstore.Config{Hooks: &chstore.Hooks{Failed: func(chstore.FailInfo) { failed++ }}})
	recs := sinktest.Records(1, 100)
	require.NoError(t, s.Write(t.Context(), recs[:50]))
	server.Crash()
	chtest.Start(t, server.Config()) // takes longer than checkAfter
	require.NoError(t, s.Write(t.Context(), recs[50:]))
	require.Zero(t, failed)
	requireSame(t, recs, readAll(t, s, recs))
}

func TestConnIsClosed(t *testing.T) {
	db := chtest.Open(t)
	conn, err := chstore.NewConn(db.Options())
	require.NoError(t, err)
	s, err := chstore.New(conn, chstore.Config{Database: db.Name, Attempts: 2, RetryMin: time.Millisecond})
	require.NoError(t, err)
	require.NoError(t, s.Migrate(t.Context()))
	require.NoError(t, s.Write(t.Context(), sinktest.Records(1, 10)))
	require.NoError(t, conn.Close())
	require.Error(t, s.Write(t.Context(), sinktest.Records(2, 10)))
}

func TestDial(t *testing.T) {
	db := chtest.Open(t)
	for _, addr := range []string{db.DSN(), strings.TrimPrefix(db.DSN(), "clickhouse://"), db.DSN() + "/not_there"} {
		conn, err := chstore.Dial(t.Context(), addr)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	}
	_, err := chstore.Dial(t.Context(), "clickhouse://default:wrong@"+db.Addr)
	var refused *chstore.ConnectError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, db.Addr, refused.Addr)
	var exception *clickhouse.Exception
	require.ErrorAs(t, err, &exception)
	require.EqualValues(t, 516, exception.Code)
}

func TestDialNobody(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := closed.Addr().String()
	require.NoError(t, closed.Close())
	_, err = chstore.Dial(t.Context(), "clickhouse://user:secret@"+addr)
	var nobody *chstore.ConnectError
	require.ErrorAs(t, err, &nobody)
	require.Equal(t, addr, nobody.Addr)
	require.ErrorContains(t, err, "start one there")
	require.NotContains(t, err.Error(), "secret")
	require.True(t, chstore.Retryable(err))

	_, err = chstore.Dial(t.Context(), "clickhouse://user:secret@host:port:x/%zz")
	require.ErrorAs(t, err, &nobody)
	require.NotContains(t, err.Error(), "secret")
}

// A proxy forwards connections to a server until it fails. The zero value never does.
type proxy struct {
	addr string

	mu    sync.Mutex
	after int64 // bytes towards the server until it fails; 0: never
	stall bool  // it fails by stalling the connection that carried the last byte, else by closing all
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

// fail makes the proxy fail after so many more bytes.
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
			io.Copy(io.Discard, near) //nolint:errcheck // until the client closes
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

// carry counts bytes. It returns true once, when the proxy must fail.
func (p *proxy) carry(n int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.after == 0 {
		return false
	}
	p.after = max(0, p.after-n)
	return p.after == 0
}

// end closes all connections and the listener.
func (p *proxy) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.listener.Close()
	for _, c := range p.conns {
		c.Close()
	}
}

// A wire counts the bytes that connections carry.
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
