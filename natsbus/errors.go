package natsbus

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/marketprism/marketprism/natsbus/internal/failure"
	"github.com/marketprism/marketprism/sink"
)

// Why a Write failed, for errors.Is on the *PublishError. A Write waits for the first two to pass and returns the
// others at once.
var (
	// ErrStreamFull: the stream is at its limit of bytes or messages, or the account or the server's disk is.
	ErrStreamFull = failure.ErrStreamFull
	// ErrUnavailable: the server is not connected, does not answer in time, or is overloaded.
	ErrUnavailable = failure.ErrUnavailable
	// ErrNoStream: the server answers, and no stream takes the subject. EnsureStreams makes the streams. While another
	// program has a core subscription to the subject, a Write learns of it after AckTimeout.
	ErrNoStream = failure.ErrNoStream
	// ErrTooLarge: the message exceeds the size limit of the server or the stream, or its subject has more than 1024 bytes.
	ErrTooLarge = failure.ErrTooLarge
	// ErrReadOnly: the stream accepts no messages, because it is sealed.
	ErrReadOnly = failure.ErrReadOnly
	// ErrDenied: the server forbids the connection to publish on the subject. It says so only on the connection,
	// so a Write learns of it after AckTimeout.
	ErrDenied = errors.New("publishing on this subject is not allowed")
	// ErrClosed: the connection or the Publisher has been closed by its owner.
	ErrClosed = failure.ErrClosed
)

// Why a Run returned, for errors.Is.
var (
	// ErrRunning: Run is running already.
	ErrRunning = errors.New("natsbus: already running")
	// ErrOldServer: the server cannot reset a durable.
	ErrOldServer = errors.New("nats-server 2.14 or newer is needed")
)

// Why a stream cannot be made or changed, for errors.Is on the *StreamError.
var (
	// ErrWouldDelete: a new limit is below what the stream holds.
	ErrWouldDelete = errors.New("the new limit would delete messages that the stream holds")
	// ErrStorage: the server, or the account, has less room than the limits of the stream reserve.
	ErrStorage = errors.New("the server has too little storage")
	// ErrReplicas: there are not that many servers.
	ErrReplicas = errors.New("the server cannot keep that many replicas")
	// ErrIncompatible: a stream of that name has another form, or another stream has the subjects. On a
	// *ConsumerError: a durable of that name has another form.
	ErrIncompatible = failure.ErrIncompatible
)

// errUnanswered is the failure of a message that was in flight when ctx ended.
var errUnanswered = fmt.Errorf("%w: no answer yet", ErrUnavailable)

// A PublishError is the failure of a Write: the first record that could not be stored, and why.
type PublishError struct {
	Subject  string // of the record's message
	Key      string // the record's Key
	Attempts int
	Err      error // one of the errors above with the server's words, or a *CodecError
	Ended    error // the end of ctx, if that ended the Write; nil otherwise

	// Refused are all records of the Write that can never be published, where the first failure is one of those. See
	// sink.Refused.
	Refused []sink.Refusal
}

func (e *PublishError) Error() string {
	text := fmt.Sprintf("natsbus: publish %s to %s: %v", e.Key, e.Subject, e.Err)
	if e.Ended != nil {
		text += fmt.Sprintf(" (gave up after %d attempts: %v)", e.Attempts, e.Ended)
	}
	return text
}

// Unwrap returns Err, Ended where it is set, and a *sink.RefusedError where records are refused.
func (e *PublishError) Unwrap() []error {
	errs := []error{e.Err}
	if e.Ended != nil {
		errs = append(errs, e.Ended)
	}
	if len(e.Refused) > 0 {
		errs = append(errs, &sink.RefusedError{Records: e.Refused})
	}
	return errs
}

// Permanent reports whether the record can never be published: it is too large, or has no form on the
// bus. See sink.Permanent.
func (e *PublishError) Permanent() bool { return isRefusal(e.Err) }

// isRefusal reports whether a record can never be published: it is too large, or has no form on the bus.
func isRefusal(err error) bool {
	var codec *CodecError
	return errors.Is(err, ErrTooLarge) || errors.As(err, &codec)
}

// isPermanentPublish reports whether a Write whose classified error is err will never succeed.
func isPermanentPublish(err error) bool { return !failure.IsTemporary(err) }

// isPermanent reports whether a request of a Consumer that failed with err will never succeed.
func isPermanent(err error) bool { return errors.Is(err, ErrOldServer) || failure.IsPermanent(err) }

// A StreamError is the failure to make, change or read a stream.
type StreamError struct {
	Stream string
	Op     string // "create", "update", "look up" or "read"
	Err    error
}

func (e *StreamError) Error() string {
	text := fmt.Sprintf("natsbus: %s stream %s: %v", e.Op, e.Stream, e.Err)
	switch {
	case errors.Is(e.Err, jetstream.ErrJetStreamNotEnabled), errors.Is(e.Err, jetstream.ErrJetStreamNotEnabledForAccount):
		text += "; start the server with JetStream (nats-server -js)"
	case errors.Is(e.Err, ErrStorage):
		text += "; give the server more storage (max_file_store) or the stream less (MaxBytes)"
	case errors.Is(e.Err, ErrReplicas):
		text += "; more than one replica needs a cluster"
	case failure.Code(e.Err) == codeSubjectOverlap:
		text += "; another stream already takes these subjects: use its name, or another Prefix"
	}
	return text
}

func (e *StreamError) Unwrap() error { return e.Err }

// Codes of server errors that the client library does not name (nats-server, errors.json).
const (
	codeNoPeers              jetstream.ErrorCode = 10005
	codeSubjectOverlap       jetstream.ErrorCode = 10065
	codeReplicasNotSupported jetstream.ErrorCode = 10074
)

// streamError returns a *StreamError with err classified, or nil.
func streamError(stream, op string, err error) error {
	if err == nil {
		return nil
	}
	if failure.NoRoom(err) {
		err = fmt.Errorf("%w: %w", ErrStorage, err)
	}
	switch failure.Code(err) {
	case codeReplicasNotSupported, codeNoPeers:
		err = fmt.Errorf("%w: %w", ErrReplicas, err)
	case codeSubjectOverlap:
		err = fmt.Errorf("%w: %w", ErrIncompatible, err)
	}
	return &StreamError{Stream: stream, Op: op, Err: err}
}
