package natsbus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// A ConnectError tells which server could not be connected to.
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

// Connect opens a connection to a server, or to one of several with commas between, with the options of Options, and with more of the caller's, which come
// later and win: TLS, credentials, handlers. The server has to be there: the error is a
// *ConnectError. Once it is open, a connection that breaks is made again without end.
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
			return nil, &ConnectError{URL: redact(address), Err: withoutAddress(r.err)}
		}
		return r.nc, nil
	case <-ctx.Done():
		go func() { // nats.Connect takes no context; its own time-out ends it
			if r := <-done; r.err == nil {
				r.nc.Close()
			}
		}()
		return nil, &ConnectError{URL: redact(address), Err: context.Cause(ctx)}
	}
}

// Options returns the connection options that the guarantees of this package are made with. They
// differ from the library's defaults in these points: a connection is made again for ever, not sixty
// times; a dead one is noticed within half a minute, not after four; and what is published while
// there is none fails at once, so that the Publisher knows and keeps the order.
//
// Errors that answer no call, such as a permission denied, go to the library's handler, which prints
// them; set nats.ErrorHandler to have them elsewhere.
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

// reconnectDelay doubles from 100 ms to 5 s, half of it random, so that the clients of a server that
// comes back do not all come at one moment.
func reconnectDelay(attempts int) time.Duration {
	d := min(100*time.Millisecond<<min(attempts, 10), 5*time.Second)
	return d/2 + rand.N(d/2)
}

// withoutAddress returns the reason of an error that quotes an address that cannot be parsed, password
// and all.
func withoutAddress(err error) error {
	var parse *url.Error
	if errors.As(err, &parse) {
		return parse.Err
	}
	return err
}

// redact takes user and password out of a list of addresses.
func redact(urls string) string {
	list := strings.Split(urls, ",")
	for i, text := range list {
		text = strings.TrimSpace(text)
		if u, err := url.Parse(text); err == nil && u.User != nil {
			u.User = nil
			text = u.String()
		} else if _, host, ok := strings.Cut(text, "@"); ok {
			text = host
		}
		list[i] = text
	}
	return strings.Join(list, ",")
}
