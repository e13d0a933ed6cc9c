package metrics

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/gorilla/websocket"

	"github.com/marketprism/marketprism/binance"
)

// Hooks returns what is to be among the Hooks of the market's Client.
func (e *Exchange) Hooks() *binance.Hooks {
	return &binance.Hooks{
		ConnectDone:  e.connected,
		Rotated:      func(i binance.RotateInfo) { e.reconnects.of(rotateReason(i.Reason)).inc() },
		Disconnected: e.disconnected,
		SnapshotDone: func(i binance.SnapshotInfo) { e.snapshots.of(snapshotResult(i.Err)).inc() },
		RequestDone:  e.requested,
		Synced:       func(i binance.SyncInfo) { e.resyncTook.Observe(i.Elapsed.Seconds()) },
		Gap:          func(i binance.GapInfo) { e.resyncs.of(i.Gap.Reason.String()).inc() },
		DecodeFailed: func(i binance.DecodeInfo) { e.undecoded.of(decodeChannel(i.Err)).inc() },
	}
}

func (e *Exchange) connected(i binance.ConnectInfo) {
	if i.Err != nil {
		if !errors.Is(i.Err, context.Canceled) {
			e.conns.failed(i.Conn)
			e.reconnects.of("dial_error").inc()
		}
		return
	}
	e.conns.opened(i.Conn)
}

func (e *Exchange) disconnected(i binance.DisconnectInfo) {
	ended := errors.Is(i.Err, context.Canceled) || errors.Is(i.Err, binance.ErrClosed)
	e.conns.closed(i.Conn, ended)
	if reason := disconnectReason(i.Err); reason != "" && !ended {
		e.reconnects.of(reason).inc()
	}
}

// disconnectReason returns "" for the end of a connection that is not needed, and of a rotated one, which the hook
// Rotated reports.
func disconnectReason(err error) string {
	var closed *websocket.CloseError
	var refused *binance.SubscribeError
	switch {
	case errors.Is(err, binance.ErrReplaced), errors.Is(err, binance.ErrRotation), errors.Is(err, binance.ErrClosed):
		return ""
	case errors.Is(err, binance.ErrSilent):
		return "ping_timeout"
	case errors.Is(err, binance.ErrShutdown), errors.As(err, &closed):
		return "server_close"
	case errors.Is(err, binance.ErrNoAck), errors.As(err, &refused):
		return "subscribe"
	}
	return "read_error"
}

func rotateReason(r binance.RotateReason) string {
	switch r {
	case binance.RotateAge:
		return "max_age"
	case binance.RotateShutdown:
		return "server_close"
	case binance.RotateRequest:
		return "manual"
	case binance.RotateSilent:
		return "stale"
	}
	return Other
}

func snapshotResult(err error) string {
	var refused *binance.APIError
	var decode *binance.DecodeError
	var netErr net.Error
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &refused) && (refused.Status == 429 || refused.Status == 418):
		return "rate_limited"
	case refused != nil:
		return "http_error"
	case errors.As(err, &decode), errors.Is(err, binance.ErrWrongSymbol), errors.Is(err, binance.ErrBodyTooLarge):
		return "decode_error"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return "timeout"
	}
	return Other
}

// decodeChannel names what the stream of a frame that made no sense carries.
func decodeChannel(err error) string {
	var decode *binance.DecodeError
	if !errors.As(err, &decode) {
		return Other
	}
	_, kind, _ := strings.Cut(decode.Stream, "@")
	switch {
	case strings.HasPrefix(kind, "depth"):
		return "depth"
	case kind == "trade", kind == "aggTrade":
		return "trade"
	case kind == "bookTicker":
		return "ticker"
	}
	return Other
}

// connections are those of a market, by their number. A connection that is being replaced is open twice.
type connections struct {
	mu   sync.Mutex
	open map[int]int
	gone map[int]bool // ended by this program
}

func (c *connections) change(conn, by int, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open, c.gone = make(map[int]int), make(map[int]bool)
	}
	c.open[conn] = max(0, c.open[conn]+by)
	c.gone[conn] = ended && c.open[conn] == 0
}

func (c *connections) opened(conn int)             { c.change(conn, 1, false) }
func (c *connections) closed(conn int, ended bool) { c.change(conn, -1, ended) }
func (c *connections) failed(conn int)             { c.change(conn, 0, false) }

// count returns how many connections are in each state.
func (c *connections) count() (connected, backoff, closed int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn, n := range c.open {
		switch {
		case n > 0:
			connected++
		case c.gone[conn]:
			closed++
		default:
			backoff++
		}
	}
	return connected, backoff, closed
}

func (e *Exchange) requested(i binance.RequestInfo) {
	endpoint := known(i.Path, endpoints)
	e.restTook[endpoint].Observe(i.Elapsed.Seconds())
	e.rest[endpoint].of(statusClass(i.Status)).inc()
}

func statusClass(status int) string {
	switch {
	case status == http.StatusTeapot, status == http.StatusTooManyRequests:
		return strconv.Itoa(status)
	case status >= 200 && status < 600:
		return strconv.Itoa(status/100) + "xx"
	}
	return "error"
}
