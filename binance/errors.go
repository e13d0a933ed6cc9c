package binance

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// The errors a caller may test for with errors.Is.
var (
	// ErrNotSynced says that a symbol's book is not synced. It comes as a *NotSyncedError.
	ErrNotSynced = errors.New("binance: book is not synced")
	// ErrUnknownSymbol says that a DepthSyncer does not have the symbol.
	ErrUnknownSymbol = errors.New("binance: symbol is not followed")
	// ErrRunning says that Run of a DepthSyncer or Recorder was called while it runs.
	ErrRunning = errors.New("binance: Run is running already")
	// ErrStopped says that a DepthSyncer's Run has returned.
	ErrStopped = errors.New("binance: DepthSyncer has stopped")
	// ErrReentrant says that Ready was called by the Handler or a hook, whose goroutine it would wait for.
	ErrReentrant = errors.New("binance: Ready in a Handler or hook would wait for itself")

	// ErrSilent says that no frame, ping or pong came on a connection for longer than a live one is
	// silent.
	ErrSilent = errors.New("binance: connection is silent")
	// ErrShutdown says that the exchange announced that it will close the connection.
	ErrShutdown = errors.New("binance: server shuts down")
	// ErrNoAck says that a subscription was not acknowledged in time.
	ErrNoAck = errors.New("binance: subscription was not acknowledged")
	// ErrReplaced says that a connection was closed because another one carries all its streams.
	ErrReplaced = errors.New("binance: connection was replaced")
	// ErrRotation says that a connection was closed because it did not carry all streams of the one it should replace.
	ErrRotation = errors.New("binance: replacement does not carry every stream")
	// ErrClosed says that Stream.Close was called, or that a DepthSyncer closed a connection without symbols.
	ErrClosed = errors.New("binance: stream is closed")
	// ErrTooManyStreams says that the streams do not fit on one connection.
	ErrTooManyStreams = errors.New("binance: too many streams for one connection")

	// ErrBodyTooLarge says that a REST answer was longer than the bound of its kind.
	ErrBodyTooLarge = errors.New("binance: answer is too large")
	// ErrWrongSymbol says that the exchange answered with the snapshot of another symbol.
	ErrWrongSymbol = errors.New("binance: answer is for another symbol")
)

// An APIError is an HTTP answer other than 200.
type APIError struct {
	Status  int    // HTTP status
	Code    int    // the exchange's code, such as -1121; 0 if the body is not an error of the exchange
	Message string // the exchange's message, or the beginning of a body that is not JSON

	// RetryAfter is the pause that the exchange demands (429 and 418), by Retry-After or by the end of a ban in
	// Message, at most 3 days; 0 if it does not say. The Clients that share the Budget send nothing before it has
	// passed; where a 418 does not say it, for 2 minutes, and twice as long after each further one.
	RetryAfter time.Duration
}

func (e *APIError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "binance: HTTP %d %s", e.Status, http.StatusText(e.Status))
	if e.Code != 0 {
		fmt.Fprintf(&b, ", code %d", e.Code)
	}
	if e.Message != "" {
		fmt.Fprintf(&b, ": %s", e.Message)
	}
	if e.RetryAfter > 0 {
		fmt.Fprintf(&b, " (retry after %v)", e.RetryAfter)
	}
	return b.String()
}

// codeBadSymbol is the exchange's code for a symbol that it does not have: errors.md, "-1121 BAD_SYMBOL: Invalid
// symbol."
const codeBadSymbol = -1121

// Temporary reports whether the same request may succeed later: the exchange was busy, or the IP
// address has used up its weight, or a proxy refused the request.
func (e *APIError) Temporary() bool {
	return e.Status >= 500 || e.Status == http.StatusProxyAuthRequired || e.Status == http.StatusTooManyRequests || e.Status == http.StatusTeapot || e.Status == http.StatusRequestTimeout
}

// A RedirectError says that a request or a websocket handshake was redirected to where it may not go.
type RedirectError struct {
	From, To string // scheme and host, as in "https://api.binance.com"
}

func (e *RedirectError) Error() string {
	return fmt.Sprintf("binance: redirect from %s to %s refused", e.From, e.To)
}

// A PanicError is a panic of a package below, such as that of the websocket protocol, while it handled
// what the exchange or a proxy had sent. The request or the connection has failed, and is made again.
type PanicError struct {
	Value any    // of the panic
	Stack []byte // of its goroutine
}

func (e *PanicError) Error() string { return fmt.Sprintf("binance: panic: %v", e.Value) }

// recovered is deferred, and turns a panic into a *PanicError.
func recovered(err *error) {
	if v := recover(); v != nil {
		*err = &PanicError{Value: v, Stack: debug.Stack()}
	}
}

// A NotSyncedError is the ErrNotSynced of one symbol.
type NotSyncedError struct {
	Symbol string
	State  orderbook.State
	Wait   marketprism.Wait // why, and what is tried next
}

func (e *NotSyncedError) Error() string {
	text := fmt.Sprintf("binance: book of %s is not synced: %v", e.Symbol, e.State)
	if e.Wait.For != "" {
		text += ", " + e.Wait.String()
	}
	return text
}

// Unwrap returns ErrNotSynced.
func (e *NotSyncedError) Unwrap() error { return ErrNotSynced }

// An UnknownSymbolsError names symbols that the exchange does not list. The exchange acknowledges
// their streams, which then stay silent.
type UnknownSymbolsError struct {
	Market  marketprism.Market
	Symbols []string
	Similar map[string]string // the listed symbol of the same letters, by symbol: that of "btcusdt" is "BTCUSDT"
}

func (e *UnknownSymbolsError) Error() string {
	names := slices.Clone(e.Symbols)
	for i, symbol := range names {
		if similar := e.Similar[symbol]; similar != "" {
			names[i] = fmt.Sprintf("%s (%q?)", symbol, similar)
		}
	}
	return fmt.Sprintf("binance: %s does not list %s", e.Market, strings.Join(names, ", "))
}

// A SubscribeError says that the exchange refused a subscription.
type SubscribeError struct {
	Streams []string // of the refused request
	Err     error    // a *StreamError
}

func (e *SubscribeError) Error() string {
	return fmt.Sprintf("binance: subscription of %d streams from %s on refused: %v", len(e.Streams), first(e.Streams), e.Err)
}

// Unwrap returns the exchange's error.
func (e *SubscribeError) Unwrap() error { return e.Err }

func first(s []string) string {
	if len(s) == 0 {
		return "(none)"
	}
	return s[0]
}

// A StreamError is the exchange's refusal of a request on a websocket connection.
type StreamError struct {
	Code    int
	Message string
}

func (e *StreamError) Error() string {
	return fmt.Sprintf("binance: request refused: %s (code %d)", e.Message, e.Code)
}
