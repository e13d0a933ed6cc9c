package natsbus

import (
	"context"
	"errors"
	"log/slog"

	"github.com/nats-io/nats.go"

	"github.com/marketprism/marketprism/internal/hook"
)

// ConnHooks observe a connection. Any field may be nil. The client library calls them one at a time, on
// a goroutine of its own, after the state of the connection has changed; they must not block.
type ConnHooks struct {
	Disconnected func(error)          // the connection has broken; nil after an orderly end
	Reconnected  func(server string)  // it is there again, to the server of that address
	Closed       func(error)          // it will not come back; the last error, nil if there was none
	Failed       func(AsyncErrorInfo) // an error came that answers no call
}

// An AsyncErrorInfo describes an error that answers no call.
type AsyncErrorInfo struct {
	Kind    AsyncErrorKind
	Subject string // of the subscription concerned; "" if it is none
	Err     error
}

// An AsyncErrorKind says what such an error is about.
type AsyncErrorKind string

// The kinds.
const (
	AsyncSlowConsumer AsyncErrorKind = "slow_consumer" // messages of a subscription were dropped by the client
	AsyncPermission   AsyncErrorKind = "permission"    // the server did not allow a subject
	AsyncOther        AsyncErrorKind = "other"
)

// Options returns the options of a connection that h observes, for Connect. They take the place of
// handlers that earlier options set.
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

func asyncErrorKind(err error) AsyncErrorKind {
	switch {
	case errors.Is(err, nats.ErrSlowConsumer):
		return AsyncSlowConsumer
	case errors.Is(err, nats.ErrPermissionViolation):
		return AsyncPermission
	}
	return AsyncOther
}

// TeeConnHooks returns ConnHooks that call each of hooks, in order. Nil ones are left out.
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
			level := slog.LevelWarn
			if err == nil {
				level = slog.LevelInfo // by Close
			}
			l.Log(context.Background(), level, "connection to the bus is broken", "err", err)
		},
		Reconnected: func(server string) { l.Info("connected to the bus again", "server", server) },
		Closed:      func(err error) { l.Info("connection to the bus is closed", "err", err) },
		Failed: func(i AsyncErrorInfo) {
			l.Error("error on the connection to the bus", "kind", i.Kind, "subject", i.Subject, "err", i.Err)
		},
	}
}
