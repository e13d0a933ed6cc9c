package binance

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// The states a caller may ask for with errors.Is.
var (
	// ErrNotSynced says that a symbol's book is not known at present. It comes as a *NotSyncedError.
	ErrNotSynced = errors.New("binance: book is not synced")
	// ErrUnknownSymbol says that a symbol is not one of those a DepthSyncer follows.
	ErrUnknownSymbol = errors.New("binance: symbol is not followed")
	// ErrRunning says that a DepthSyncer is running already.
	ErrRunning = errors.New("binance: DepthSyncer is running already")
	// ErrStopped says that a DepthSyncer's Run has returned.
	ErrStopped = errors.New("binance: DepthSyncer has stopped")

	// ErrSilent says that a connection was given up because neither a frame nor a ping nor the answer to
	// one had come for longer than any live connection is silent.
	ErrSilent = errors.New("binance: connection is silent")
	// ErrShutdown says that the exchange announced the end of the connection.
	ErrShutdown = errors.New("binance: server shuts down")
	// ErrNoAck says that a subscription was not acknowledged in time.
	ErrNoAck = errors.New("binance: subscription was not acknowledged")
	// ErrReplaced says that a connection was closed since another one carries all its streams.
	ErrReplaced = errors.New("binance: connection was replaced")
	// ErrHandover says that a connection that was to replace another one did not carry all its streams.
	ErrHandover = errors.New("binance: replacement does not carry every stream")
	// ErrClosed says that a Stream was closed by its user.
	ErrClosed = errors.New("binance: stream is closed")
	// ErrTooManyStreams says that a connection cannot take the streams asked for.
	ErrTooManyStreams = errors.New("binance: too many streams for one connection")

	// ErrBodyTooLarge says that an answer was longer than any the exchange gives.
	ErrBodyTooLarge = errors.New("binance: answer is too large")
	// ErrWrongSymbol says that a snapshot came for another symbol than was asked for.
	ErrWrongSymbol = errors.New("binance: answer is for another symbol")
)

// An APIError is an HTTP answer other than 200.
type APIError struct {
	Status  int    // HTTP status
	Code    int    // the exchange's code, as -1121; 0 if the body is none of its own
	Message string // the exchange's message, or the beginning of a body that is not JSON

	// RetryAfter is how long the exchange asks to stay away (429 and 418); 0 if it does not say. The
	// Client that got the error sends nothing before that time has passed.
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

// Temporary reports whether the same request may succeed later: the exchange was busy, or this IP
// has used up its weight.
func (e *APIError) Temporary() bool {
	return e.Status >= 500 || e.Status == http.StatusTooManyRequests || e.Status == http.StatusTeapot || e.Status == http.StatusRequestTimeout
}

// A NotSyncedError is the ErrNotSynced of one symbol.
type NotSyncedError struct {
	Symbol string
	State  orderbook.State
}

func (e *NotSyncedError) Error() string {
	return fmt.Sprintf("binance: book of %s is not synced: %v", e.Symbol, e.State)
}

// Unwrap returns ErrNotSynced.
func (e *NotSyncedError) Unwrap() error { return ErrNotSynced }

// An UnknownSymbolsError names symbols that the exchange does not list. Streams of such symbols are
// acknowledged by the exchange and stay silent.
type UnknownSymbolsError struct {
	Market  marketprism.Market
	Symbols []string
}

func (e *UnknownSymbolsError) Error() string {
	return fmt.Sprintf("binance: %s does not list %s", e.Market, strings.Join(e.Symbols, ", "))
}

// A SubscribeError says that the exchange refused a subscription.
type SubscribeError struct {
	Streams []string // those of the refused request
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
