package chstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/clickhouse-go/v2"
	"go.opentelemetry.io/otel/trace"
)

// An inserter is one connection for INSERTs.
type inserter struct {
	*ch.Client
	opened, used time.Time
}

// inserters are the connections for the INSERTs of a Conn. An idle one is kept for the next INSERT, the last used
// first. ch-go's own pool would not do: it knows one address, and a Conn may have several.
type inserters struct {
	options clickhouse.Options

	mu     sync.Mutex
	idle   []*inserter
	dialed int // connections until now, for ConnOpenRoundRobin
	closed bool
}

func newInserters(options clickhouse.Options) *inserters { return &inserters{options: options} }

// errConnClosed is the error of an INSERT through a Conn that is closed.
var errConnClosed = errors.New("chstore: the Conn is closed")

// do runs an INSERT. After an error it is not known whether its rows are stored; an error of the server is a
// *clickhouse.Exception.
func (p *inserters) do(ctx context.Context, q ch.Query) error {
	in, err := p.get(ctx)
	if err != nil {
		return asException(err)
	}
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		ctx = trace.ContextWithSpanContext(ctx, trace.SpanContext{}) // else the server adds its own spans to that trace
	}
	if err := in.Do(ctx, q); err != nil {
		in.Close() // the rest of the server's answer must not be taken for the next one's
		return asException(err)
	}
	p.put(in)
	return nil
}

// checkAfter is how long a connection may be idle before it is pinged, so that an INSERT does
// not fail because the server was restarted.
const checkAfter = 100 * time.Millisecond

// get returns an idle connection that is alive, or a new one.
func (p *inserters) get(ctx context.Context) (*inserter, error) {
	for {
		in, err := p.takeIdle()
		if err != nil {
			return nil, err
		}
		if in == nil {
			return p.dial(ctx)
		}
		if time.Since(in.opened) < p.options.ConnMaxLifetime && in.alive(ctx, p.options.DialTimeout) {
			return in, nil
		}
		in.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

func (p *inserters) takeIdle() (*inserter, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errConnClosed
	}
	n := len(p.idle)
	if n == 0 {
		return nil, nil
	}
	in := p.idle[n-1]
	p.idle = p.idle[:n-1]
	return in, nil
}

func (in *inserter) alive(ctx context.Context, timeout time.Duration) bool {
	if time.Since(in.used) < checkAfter {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return in.Ping(ctx) == nil
}

func (p *inserters) put(in *inserter) {
	in.used = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= p.options.MaxIdleConns {
		in.Close()
		return
	}
	p.idle = append(p.idle, in)
}

func (p *inserters) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for _, in := range p.idle {
		errs = append(errs, in.Close())
	}
	p.idle = nil
	return errors.Join(errs...)
}

// dial connects to the first address that answers. Its error is that of the last address, as in clickhouse-go.
func (p *inserters) dial(ctx context.Context) (in *inserter, err error) {
	addrs := p.options.Addr
	first := p.first()
	for i := range addrs {
		var client *ch.Client
		if client, err = p.connect(ctx, addrs[(first+i)%len(addrs)]); err == nil {
			now := time.Now()
			return &inserter{client, now, now}, nil
		}
	}
	return nil, err
}

// first returns the index of the address to try first.
func (p *inserters) first() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dialed++
	switch p.options.ConnOpenStrategy {
	case clickhouse.ConnOpenRoundRobin:
		return p.dialed
	case clickhouse.ConnOpenRandom:
		return rand.IntN(len(p.options.Addr))
	}
	return 0
}

func (p *inserters) connect(ctx context.Context, addr string) (*ch.Client, error) {
	conn, err := p.dialNet(ctx, addr)
	if err != nil {
		return nil, err
	}
	o := &p.options
	compression, _ := chCompression(o.Compression.Method) // Open has checked it
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

func (p *inserters) dialNet(ctx context.Context, addr string) (net.Conn, error) {
	plain := &net.Dialer{Timeout: p.options.DialTimeout}
	switch {
	case p.options.DialContext != nil:
		return p.options.DialContext(ctx, addr)
	case p.options.TLS != nil:
		return (&tls.Dialer{NetDialer: plain, Config: p.options.TLS}).DialContext(ctx, "tcp", addr)
	}
	return plain.DialContext(ctx, "tcp", addr)
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

// asException turns a server's error into the type of clickhouse-go, so that callers need to know one type.
func asException(err error) error {
	var e *ch.Exception
	if !errors.As(err, &e) {
		return err
	}
	return &clickhouse.Exception{Code: int32(e.Code), Name: e.Name, Message: e.Message, StackTrace: e.Stack}
}
