package natsbus

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Why a Write failed, for errors.Is on the *PublishError. A Write waits for the first two to pass and
// returns the others at once.
var (
	// ErrStreamFull: the stream is at its limit of bytes or messages, or the server's disk is.
	ErrStreamFull = errors.New("stream is full")
	// ErrUnavailable: the server is not connected, does not answer in time, or is overloaded.
	ErrUnavailable = errors.New("server does not confirm")
	// ErrNoStream: the server answers, and no stream takes the subject. EnsureStreams makes them.
	ErrNoStream = errors.New("no stream takes this subject")
	// ErrTooLarge: the message exceeds the server's or the stream's limit of size.
	ErrTooLarge = errors.New("message is too large")
	// ErrReadOnly: the stream takes no more messages, because it is sealed.
	ErrReadOnly = errors.New("stream is read-only")
	// ErrDenied: the server does not allow the connection to publish on the subject. It says so only on
	// the connection, so it is noticed after AckTimeout.
	ErrDenied = errors.New("publishing on this subject is not allowed")
	// ErrClosed: the connection or the Publisher has been closed by its owner.
	ErrClosed = errors.New("connection is closed")
)

// errUnanswered stands for the cause where ctx ended while messages were in flight.
var errUnanswered = fmt.Errorf("%w: no answer yet", ErrUnavailable)

// A PublishError tells which record is the first that a Write could not get stored.
type PublishError struct {
	Subject  string // where it would have gone
	Key      string // the record's Key
	Attempts int    // how often it was tried
	Err      error  // one of the errors above, with the server's words, or a *CodecError
	Ended    error  // the end of ctx, if that ended the Write; nil otherwise
}

func (e *PublishError) Error() string {
	text := fmt.Sprintf("natsbus: publish %s to %s: %v", e.Key, e.Subject, e.Err)
	if e.Ended != nil {
		text += fmt.Sprintf(" (gave up after %d attempts: %v)", e.Attempts, e.Ended)
	}
	return text
}

// Unwrap returns Err, and Ended where it is set.
func (e *PublishError) Unwrap() []error {
	if e.Ended == nil {
		return []error{e.Err}
	}
	return []error{e.Err, e.Ended}
}

// Permanent reports whether the record can never be published: it is too large, or has no form on the
// bus. See sink.Permanent.
func (e *PublishError) Permanent() bool {
	var codec *CodecError
	return errors.Is(e.Err, ErrTooLarge) || errors.As(e.Err, &codec)
}

// Codes of server errors that the client library does not name (nats-server, errors.json).
const (
	codeInsufficientResources jetstream.ErrorCode = 10023
	codeMemoryExceeded        jetstream.ErrorCode = 10028
	codeStorageExceeded       jetstream.ErrorCode = 10047
	codeStoreFailed           jetstream.ErrorCode = 10077 // a limit of the stream was reached
	codeHeaderTooLarge        jetstream.ErrorCode = 10097 // headers of more than 64 KiB
	codeStreamSealed          jetstream.ErrorCode = 10109
)

// classify wraps the cause of a failure in the error that says what it means. An error that it does
// not know is taken to pass: the Write goes on, and Hooks.Retrying tells of it.
func classify(err error) error {
	var (
		codec *CodecError
		api   *jetstream.APIError
	)
	switch {
	case errors.As(err, &codec), errors.Is(err, ErrUnavailable):
		return err
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining), errors.Is(err, jetstream.ErrJetStreamPublisherClosed):
		return fmt.Errorf("%w: %w", ErrClosed, err)
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.As(err, &api):
		switch api.ErrorCode {
		case codeStoreFailed, codeStorageExceeded, codeInsufficientResources, codeMemoryExceeded:
			return fmt.Errorf("%w: %w", ErrStreamFull, err)
		case jetstream.JSErrCodeStreamMessageExceedsMaximum, codeHeaderTooLarge:
			return fmt.Errorf("%w: %w", ErrTooLarge, err)
		case codeStreamSealed:
			return fmt.Errorf("%w: %w", ErrReadOnly, err)
		}
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// headerTooLarge tells whether a message has more headers than the server takes, whatever its body.
func headerTooLarge(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == codeHeaderTooLarge
}

// permanent tells whether waiting cannot help.
func permanent(err error) bool {
	return !errors.Is(err, ErrStreamFull) && !errors.Is(err, ErrUnavailable)
}
