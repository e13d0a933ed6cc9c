package natsbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/internal/redact"
)

// A ConnectError is the failure to connect to a server.
type ConnectError struct {
	URL string // without user and password
	Err error
}

func (e *ConnectError) Error() string {
	text := fmt.Sprintf("natsbus: no connection to NATS at %s: %v", e.URL, e.Err)
	switch {
	case errors.Is(e.Err, nats.ErrAuthorization), errors.Is(e.Err, nats.ErrAuthExpired):
		return text + "; check the credentials"
	case errors.Is(e.Err, context.Canceled):
		return text
	}
	return text + "; is the address right, and a server running there (nats-server -js)?"
}

func (e *ConnectError) Unwrap() error { return e.Err }

// Connect opens a connection to a server, or to one of several with commas between, with the options of Options and
// with the caller's own, which come later and win: TLS, credentials, handlers. It fails with a *ConnectError if the
// server is not there. An open connection that breaks is made again, without limit.
func Connect(ctx context.Context, address string, more ...nats.Option) (*nats.Conn, error) {
	type result struct {
		nc  *nats.Conn
		err error
	}
	done := make(chan result, 1)
	go func() {
		nc, err := nats.Connect(address, append(Options(), more...)...)
		done <- result{nc, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, &ConnectError{URL: redact.Addresses(address, ""), Err: withoutAddress(r.err)}
		}
		return r.nc, nil
	case <-ctx.Done():
		go func() { // nats.Connect takes no context; its own time-out ends it
			if r := <-done; r.err == nil {
				r.nc.Close()
			}
		}()
		return nil, &ConnectError{URL: redact.Addresses(address, ""), Err: context.Cause(ctx)}
	}
}

// Open connects to a server as Connect does, makes its streams with the zero StreamsConfig, and returns a Publisher with the
// zero PublisherConfig, whose Close closes the connection too. Its JS serves NewConsumer and all else. It fails with a
// *ConnectError or a *StreamError. A user who may not make streams, as SECURITY.md advises for collectors, calls Connect and
// NewPublisher instead.
func Open(ctx context.Context, address string, more ...nats.Option) (*Publisher, error) {
	nc, err := Connect(ctx, address, more...)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err == nil {
		err = EnsureStreams(ctx, js, StreamsConfig{})
	}
	var p *Publisher
	if err == nil {
		p, err = NewPublisher(js, PublisherConfig{})
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	p.owned = true
	return p, nil
}

// Options returns the connection options that the guarantees of this package need. They differ from the library's
// defaults in three points: a connection is made again without limit, not sixty times; a dead one is noticed within
// half a minute, not after four; and publishing without a connection fails at once, so that the Publisher knows of it
// and keeps the order.
//
// Asynchronous errors, such as a permission denied, go to the library's handler, which prints them; ConnHooks or
// nats.ErrorHandler replace it.
func Options() []nats.Option {
	return []nats.Option{
		nats.Name("marketprism/natsbus"),
		nats.Timeout(5 * time.Second),
		nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(reconnectDelay),
		nats.ReconnectBufSize(-1),
		nats.PingInterval(10 * time.Second),
		nats.MaxPingsOutstanding(2),
	}
}

// reconnectDelay doubles from 100 ms to 5 s, half of it random, so that the clients of a server that comes back do not
// all come at one moment.
func reconnectDelay(attempts int) time.Duration {
	d := min(100*time.Millisecond<<min(attempts, 10), 5*time.Second)
	return d/2 + rand.N(d/2) // #nosec G404 -- spreads attempts
}

// errAddress is the cause in a ConnectError for an address that is none.
var errAddress = errors.New("it is not of the form nats://HOST:4222")

// withoutAddress replaces an error of parsing, which quotes the address, or its part with the password.
func withoutAddress(err error) error {
	if parse := (*url.Error)(nil); errors.As(err, &parse) {
		return errAddress
	}
	return err
}

// ConnHooks observe a connection. Any field may be nil. The client library calls them one at a time, on a goroutine of
// its own, after the state of the connection has changed; they must not block.
type ConnHooks struct {
	Disconnected func(error)          // the connection has broken; nil after an orderly end
	Reconnected  func(server string)  // it is open again, to the server of that address
	Closed       func(error)          // it is closed for good; the last error, nil if there was none
	Failed       func(AsyncErrorInfo) // an asynchronous error has arrived
}

// An AsyncErrorInfo describes an asynchronous error: one that is not the result of a call.
type AsyncErrorInfo struct {
	// Kind is "slow_consumer" where the client has dropped messages of a subscription, "permission" where the
	// server has denied a subject, and otherwise "other".
	Kind    string
	Subject string // of the subscription concerned; "" if there is none
	Err     error
}

// Options returns the options, for Connect, of a connection that h observes. They replace handlers that earlier options
// set.
func (h *ConnHooks) Options() []nats.Option {
	return []nats.Option{
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { hook.Call(h.Disconnected, err) }),
		nats.ReconnectHandler(func(nc *nats.Conn) { hook.Call(h.Reconnected, nc.ConnectedUrlRedacted()) }),
		nats.ClosedHandler(func(nc *nats.Conn) { hook.Call(h.Closed, nc.LastError()) }),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			info := AsyncErrorInfo{Kind: asyncErrorKind(err), Err: err}
			if sub != nil {
				info.Subject = sub.Subject
			}
			hook.Call(h.Failed, info)
		}),
	}
}

func asyncErrorKind(err error) string {
	switch {
	case errors.Is(err, nats.ErrSlowConsumer):
		return "slow_consumer"
	case errors.Is(err, nats.ErrPermissionViolation):
		return "permission"
	}
	return "other"
}

// TeeConnHooks returns ConnHooks that call each of hooks, in order. nil ones are left out.
func TeeConnHooks(hooks ...*ConnHooks) *ConnHooks {
	var all ConnHooks
	for _, h := range hooks {
		if h == nil {
			continue
		}
		all.Disconnected = hook.Join(all.Disconnected, h.Disconnected)
		all.Reconnected = hook.Join(all.Reconnected, h.Reconnected)
		all.Closed = hook.Join(all.Closed, h.Closed)
		all.Failed = hook.Join(all.Failed, h.Failed)
	}
	return &all
}

// LogConnHooks returns ConnHooks that log. The log handler must not block.
func LogConnHooks(l *slog.Logger) *ConnHooks {
	return &ConnHooks{
		Disconnected: func(err error) {
			if err != nil { // else by Close, which Closed reports
				l.Warn("connection to the bus is broken", "err", err)
			}
		},
		Reconnected: func(server string) { l.Info("connected to the bus again", "server", server) },
		Closed:      func(err error) { l.Info("connection to the bus is closed", "err", err) },
		Failed: func(i AsyncErrorInfo) {
			l.Error("error on the connection to the bus", "kind", i.Kind, "subject", i.Subject, "err", i.Err)
		},
	}
}
