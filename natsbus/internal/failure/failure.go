// Package failure classifies the errors of publishing to JetStream.
package failure

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The classes, which natsbus exports under the same names.
var (
	ErrStreamFull  = errors.New("stream is full")
	ErrUnavailable = errors.New("server does not confirm")
	ErrTooLarge    = errors.New("message is too large")
	ErrReadOnly    = errors.New("stream is read-only")
	ErrClosed      = errors.New("connection is closed")
)

// Codes of server errors that the client library does not name (nats-server, errors.json).
const (
	CodeInsufficientResources jetstream.ErrorCode = 10023
	CodeMemoryExceeded        jetstream.ErrorCode = 10028
	CodeStorageExceeded       jetstream.ErrorCode = 10047
	CodeHeaderTooLarge        jetstream.ErrorCode = 10097 // headers of more than 64 KiB

	codeStoreFailed  jetstream.ErrorCode = 10077 // a limit of the stream was reached
	codeStreamSealed jetstream.ErrorCode = 10109
)

// Code returns the server's code of an error; 0 if it has none.
func Code(err error) jetstream.ErrorCode {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.ErrorCode
	}
	return 0
}

// Classify wraps err in its class. An error of an unknown kind is ErrUnavailable, which may pass.
func Classify(err error) error {
	if errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", class(err), err)
}

func class(err error) error {
	switch {
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining), errors.Is(err, jetstream.ErrJetStreamPublisherClosed):
		return ErrClosed
	case errors.Is(err, nats.ErrMaxPayload):
		return ErrTooLarge
	}
	switch Code(err) {
	case codeStoreFailed, CodeStorageExceeded, CodeInsufficientResources, CodeMemoryExceeded:
		return ErrStreamFull
	case jetstream.JSErrCodeStreamMessageExceedsMaximum, CodeHeaderTooLarge:
		return ErrTooLarge
	case codeStreamSealed:
		return ErrReadOnly
	}
	return ErrUnavailable
}
