package chstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"go.opentelemetry.io/otel/trace"
)

// A native is one connection of ch-go, by which columns are written and read as they are. clickhouse-go would convert
// them value by value.
type native struct {
	*ch.Client
	opened, used time.Time
}

// natives are the connections for the INSERTs of a Conn, and for the SELECTs of records. An idle one is kept for the next
// query, the last used first. ch-go's own pool would not do: it knows one address, and a Conn may have several.
type natives struct {
	options clickhouse.Options
	local   bool          // blocks are not compressed on their way within this machine
	reads   chan struct{} // one for each SELECT that runs

	mu     sync.Mutex
	idle   []*native
	dialed int // connections until now, for ConnOpenRoundRobin
	closed bool
}

func newNatives(options clickhouse.Options, local bool) *natives {
	return &natives{options: options, local: local, reads: make(chan struct{}, max(1, options.MaxOpenConns))}
}

// errConnClosed is the error of a query through a Conn that is closed.
var errConnClosed = errors.New("chstore: the Conn is closed")

// insert runs an INSERT. After an error it is not known whether its rows are stored; an error of the server is a
// *clickhouse.Exception.
func (p *natives) insert(ctx context.Context, q ch.Query) error {
	n, err := p.get(ctx)
	if err != nil {
		return asException(err)
	}
	return p.finish(n, n.Do(withoutTrace(ctx), q))
}

// read runs a SELECT, and fails when the server has sent nothing for ReadTimeout. At most MaxOpenConns run at a time:
// for one more it waits for DialTimeout, and then it calls begin. An error of the server is a *clickhouse.Exception.
func (p *natives) read(ctx context.Context, q ch.Query, begin func()) error {
	if err := p.acquire(ctx); err != nil {
		return err
	}
	defer func() { <-p.reads }()
	begin()
	n, err := p.get(ctx)
	if err != nil {
		return asException(err)
	}
	ctx, cancel := context.WithCancelCause(withoutTrace(ctx))
	defer cancel(nil)
	q, heard := endSilence(q, p.options.ReadTimeout, cancel)
	closing := context.AfterFunc(ctx, func() { n.Close() }) // ch-go would wait for the server's next packet
	err = n.Do(ctx, q)
	heard()
	if !closing() && err == nil {
		return nil // the answer is complete, the connection closed
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	return p.finish(n, err)
}

// acquire waits until another SELECT may run.
func (p *natives) acquire(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.options.DialTimeout, clickhouse.ErrAcquireConnTimeout)
	defer cancel()
	select {
	case p.reads <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// endSilence returns a SELECT that calls end when the server has sent nothing for some time; never if that is not
// positive. The server reports its progress several times a second. ch-go itself would wait without limit. Call stop when
// the SELECT has ended.
func endSilence(q ch.Query, timeout time.Duration, end context.CancelCauseFunc) (silenced ch.Query, stop func()) {
	if timeout <= 0 {
		return q, func() {}
	}
	timer := time.AfterFunc(timeout, func() {
		end(fmt.Errorf("chstore: the server has sent nothing for %v: %w", timeout, os.ErrDeadlineExceeded))
	})
	handle := q.OnResult
	q.OnResult = func(ctx context.Context, b proto.Block) error {
		timer.Stop() // the reader may take its time
		defer timer.Reset(timeout)
		return handle(ctx, b)
	}
	q.OnProgress = func(context.Context, proto.Progress) error {
		timer.Reset(timeout)
		return nil
	}
	return q, func() { timer.Stop() }
}

// withoutTrace returns a context without a trace that is not sampled: the server would add its own spans to it.
func withoutTrace(ctx context.Context) context.Context {
	if trace.SpanContextFromContext(ctx).IsSampled() {
		return ctx
	}
	return trace.ContextWithSpanContext(ctx, trace.SpanContext{})
}

// finish keeps a connection for the next query, or closes it after an error: the rest of the server's answer must not
// be taken for the next one's.
func (p *natives) finish(n *native, err error) error {
	if err != nil {
		n.Close()
		return asException(err)
	}
	p.put(n)
	return nil
}

// checkAfter is how long a connection may be idle before it is pinged, so that a query does
// not fail because the server was restarted.
const checkAfter = 100 * time.Millisecond

// get returns an idle connection that is alive, or a new one.
func (p *natives) get(ctx context.Context) (*native, error) {
	for {
		n, err := p.takeIdle()
		if err != nil {
			return nil, err
		}
		if n == nil {
			return p.dial(ctx)
		}
		if time.Since(n.opened) < p.options.ConnMaxLifetime && n.alive(ctx, p.options.DialTimeout) {
			return n, nil
		}
		n.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

func (p *natives) takeIdle() (*native, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errConnClosed
	}
	last := len(p.idle) - 1
	if last < 0 {
		return nil, nil
	}
	n := p.idle[last]
	p.idle = p.idle[:last]
	return n, nil
}

func (n *native) alive(ctx context.Context, timeout time.Duration) bool {
	if time.Since(n.used) < checkAfter {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return n.Ping(ctx) == nil
}

func (p *natives) put(n *native) {
	n.used = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= p.options.MaxIdleConns {
		n.Close()
		return
	}
	p.idle = append(p.idle, n)
}

func (p *natives) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for _, n := range p.idle {
		errs = append(errs, n.Close())
	}
	p.idle = nil
	return errors.Join(errs...)
}

// dial connects to the first address that answers. Its error is that of the last address, as in clickhouse-go.
func (p *natives) dial(ctx context.Context) (n *native, err error) {
	addrs := p.options.Addr
	first := p.first()
	for i := range addrs {
		var client *ch.Client
		if client, err = p.connect(ctx, addrs[(first+i)%len(addrs)]); err == nil {
			now := time.Now()
			return &native{client, now, now}, nil
		}
	}
	return nil, err
}

// first returns the index of the address to try first.
func (p *natives) first() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dialed++
	switch p.options.ConnOpenStrategy {
	case clickhouse.ConnOpenRoundRobin:
		return p.dialed
	case clickhouse.ConnOpenRandom:
		return rand.IntN(len(p.options.Addr)) // #nosec G404 -- chooses a server
	}
	return 0
}

func (p *natives) connect(ctx context.Context, addr string) (*ch.Client, error) {
	conn, err := p.dialNet(ctx, addr)
	if err != nil {
		return nil, err
	}
	o := &p.options
	compression, _ := chCompression(o.Compression.Method) // NewConn has checked it
	if p.local && isLoopback(conn.RemoteAddr()) {
		compression = ch.CompressionDisabled
	}
	client, err := ch.Connect(ctx, conn, ch.Options{
		Database: o.Auth.Database, User: o.Auth.Username, Password: o.Auth.Password,
		ClientName:  o.ClientInfo.String(),
		Compression: compression, CompressionLevel: ch.CompressionLevel(o.Compression.Level),
		ReadTimeout: o.ReadTimeout, HandshakeTimeout: o.DialTimeout,
		Settings: chSettings(o.Settings),
	})
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	return client, nil
}

func (p *natives) dialNet(ctx context.Context, addr string) (net.Conn, error) {
	plain := &net.Dialer{Timeout: p.options.DialTimeout}
	switch {
	case p.options.DialContext != nil:
		return p.options.DialContext(ctx, addr)
	case p.options.TLS != nil:
		return (&tls.Dialer{NetDialer: plain, Config: p.options.TLS}).DialContext(ctx, "tcp", addr)
	}
	return plain.DialContext(ctx, "tcp", addr)
}

// isLoopback reports whether an address is of this machine.
func isLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// chCompression returns ch-go's name of a compression method of clickhouse-go, if it has one.
func chCompression(method clickhouse.CompressionMethod) (c ch.Compression, ok bool) {
	switch method {
	case clickhouse.CompressionNone:
		return ch.CompressionDisabled, true
	case clickhouse.CompressionLZ4:
		return ch.CompressionLZ4, true
	case clickhouse.CompressionLZ4HC:
		return ch.CompressionLZ4HC, true
	case clickhouse.CompressionZSTD:
		return ch.CompressionZSTD, true
	}
	return 0, false
}

// chSettings returns the settings of a session as ch-go takes them.
func chSettings(settings clickhouse.Settings) []ch.Setting {
	all := make([]ch.Setting, 0, len(settings))
	for key, value := range settings {
		s := ch.Setting{Key: key, Important: true}
		switch v := value.(type) {
		case clickhouse.CustomSetting:
			s.Value, s.Custom, s.Important = v.Value, true, false
		case bool:
			s.Value = "0"
			if v {
				s.Value = "1"
			}
		default:
			s.Value = fmt.Sprint(v)
		}
		all = append(all, s)
	}
	return all
}

// chParameters returns the parameters of a query as ch-go takes them. The server unescapes a text twice: as the value of
// a setting, and as the value of a parameter.
func chParameters(args []any) (parameters []proto.Parameter) {
	for _, arg := range args {
		p := arg.(driver.NamedValue)
		parameters = append(parameters, proto.Parameter{Key: p.Name, Value: "'" + escape(escape(fmt.Sprint(p.Value))) + "'"})
	}
	return parameters
}

func escape(text string) string {
	if !strings.ContainsAny(text, "\\'\t\n\r\x00") {
		return text
	}
	return strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\t", `\t`, "\n", `\n`, "\r", `\r`, "\x00", `\0`).Replace(text)
}

// asException turns a server's error into the type of clickhouse-go, so that callers need to know one type.
func asException(err error) error {
	var e *ch.Exception
	if !errors.As(err, &e) {
		return err
	}
	return &clickhouse.Exception{Code: int32(e.Code), Name: e.Name, Message: e.Message, StackTrace: e.Stack}
}
