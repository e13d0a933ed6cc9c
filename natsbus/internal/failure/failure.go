// Package failure judges what an error of JetStream means: it may pass, there is no room, or it is permanent.
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
	CodeHeaderTooLarge jetstream.ErrorCode = 10097 // headers of more than 64 KiB

	codeAccountExceeded       jetstream.ErrorCode = 10002 // a limit of the account was reached; its HTTP code is 400
	codeInsufficientResources jetstream.ErrorCode = 10023
	codeMemoryExceeded        jetstream.ErrorCode = 10028
	codeStorageExceeded       jetstream.ErrorCode = 10047
	codeStoreFailed           jetstream.ErrorCode = 10077 // a limit of the stream was reached
	codeStreamSealed          jetstream.ErrorCode = 10109
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
	if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrTooLarge) {
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
	if NoRoom(err) {
		return ErrStreamFull
	}
	switch Code(err) {
	case codeStoreFailed:
		return ErrStreamFull
	case jetstream.JSErrCodeStreamMessageExceedsMaximum, CodeHeaderTooLarge:
		return ErrTooLarge
	case codeStreamSealed:
		return ErrReadOnly
	}
	return ErrUnavailable
}

// NoRoom reports whether the server, or the account, has no room for what was asked, however much the stream may hold.
func NoRoom(err error) bool {
	switch Code(err) {
	case codeAccountExceeded, codeInsufficientResources, codeMemoryExceeded, codeStorageExceeded:
		return true
	}
	return false
}

// IsTemporary reports whether a classified failure of publishing may pass by itself: room is made, or the server answers
// again.
func IsTemporary(err error) bool {
	return errors.Is(err, ErrStreamFull) || errors.Is(err, ErrUnavailable)
}

// IsPermanent reports whether a request that failed with err, or a publishing that failed with the classified err, will
// never succeed. After ErrNoStream it may: the owner may make the stream. The server counts most such requests as bad
// ones, with the HTTP code 400, but also those that meet a limit, where room may be made (nats-server v2.15, errors.json:
// 10002, 10026).
func IsPermanent(err error) bool {
	for _, final := range []error{
		ErrTooLarge, ErrReadOnly, ErrClosed, ErrIncompatible, nats.ErrConnectionClosed, nats.ErrConnectionDraining,
		jetstream.ErrStreamNotFound, jetstream.ErrJetStreamNotEnabled, jetstream.ErrJetStreamNotEnabledForAccount,
	} {
		if errors.Is(err, final) {
			return true
		}
	}
	var api *jetstream.APIError
	return errors.As(err, &api) && api.Code == 400 && !IsTemporary(err) && !NoRoom(err) &&
		api.ErrorCode != jetstream.JSErrCodeMaximumConsumersLimit
}
