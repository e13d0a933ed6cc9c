// Package failure classifies the errors of publishing to JetStream.
package failure

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The classes, which natsbus exports under the same names.
var (
	ErrStreamFull  = errors.New("stream is full")
	ErrUnavailable = errors.New("server does not confirm")
	ErrNoStream    = errors.New("no stream takes this subject")
	ErrTooLarge    = errors.New("message is too large")
	ErrReadOnly    = errors.New("stream is read-only")
	ErrClosed      = errors.New("connection is closed")

	// ErrIncompatible is about streams and durables, and no result of Classify.
	ErrIncompatible = errors.New("the existing one has another form")
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

// lookUpTimeout bounds the question whether a stream takes a subject.
const lookUpTimeout = 2 * time.Second

// Explain classifies a failure of publishing on subject. Where no stream has answered, it asks the server whether one
// takes the subject: the server reports that there is no listener only if there is no core subscription, such as that of
// "nats sub", either (https://github.com/nats-io/nats.go/issues/1461, https://github.com/nats-io/nats-server/issues/8038);
// and a server that is starting, or electing a leader, does not answer a message for which there is a stream.
func Explain(ctx context.Context, js jetstream.StreamManager, subject string, err error) error {
	if isUnanswered(err) {
		ctx, cancel := context.WithTimeout(ctx, lookUpTimeout)
		defer cancel()
		if _, lookUp := js.StreamNameBySubject(ctx, subject); errors.Is(lookUp, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("%w: %w", ErrNoStream, err)
		}
	}
	return Classify(err)
}

// isUnanswered reports whether a message was published and no stream has answered; some other subscriber may have.
func isUnanswered(err error) bool {
	for _, unanswered := range []error{
		jetstream.ErrNoStreamResponse, nats.ErrNoResponders, jetstream.ErrAsyncPublishTimeout, context.DeadlineExceeded,
		nats.ErrTimeout, jetstream.ErrInvalidJSAck,
	} {
		if errors.Is(err, unanswered) {
			return true
		}
	}
	return false
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
