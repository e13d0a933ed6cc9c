package natsbus

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Why a stream cannot be made or changed, for errors.Is on the *StreamError.
var (
	// ErrWouldDelete: a new limit is below what the stream holds.
	ErrWouldDelete = errors.New("the new limit would delete messages that the stream holds")
	// ErrStorage: the server has not the room that the limits of the stream reserve.
	ErrStorage = errors.New("the server has too little storage")
	// ErrReplicas: there are not that many servers.
	ErrReplicas = errors.New("the server cannot keep that many replicas")
	// ErrIncompatible: a stream of that name is of another make, or another has the subjects.
	ErrIncompatible = errors.New("the stream that is there is of another make")
)

// A StreamError tells which stream could not be made, changed or read, and why.
type StreamError struct {
	Stream string
	Op     string // "create", "update" or "look up"
	Err    error
}

func (e *StreamError) Error() string {
	text := fmt.Sprintf("natsbus: %s stream %s: %v", e.Op, e.Stream, e.Err)
	var api *jetstream.APIError
	switch {
	case errors.Is(e.Err, jetstream.ErrJetStreamNotEnabled), errors.Is(e.Err, jetstream.ErrJetStreamNotEnabledForAccount):
		text += "; start the server with JetStream (nats-server -js)"
	case errors.Is(e.Err, ErrStorage):
		text += "; give the server more storage (max_file_store) or the stream less (MaxBytes)"
	case errors.Is(e.Err, ErrReplicas):
		text += "; more than one replica needs a cluster"
	case errors.As(e.Err, &api) && api.ErrorCode == codeSubjectOverlap:
		text += "; another stream already takes these subjects: use its name, or another Prefix"
	}
	return text
}

func (e *StreamError) Unwrap() error { return e.Err }

const (
	codeNoPeers              jetstream.ErrorCode = 10005
	codeSubjectOverlap       jetstream.ErrorCode = 10065
	codeReplicasNotSupported jetstream.ErrorCode = 10074
)

func streamError(stream, op string, err error) error {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &api):
	case api.ErrorCode == codeStorageExceeded || api.ErrorCode == codeMemoryExceeded || api.ErrorCode == codeInsufficientResources:
		err = fmt.Errorf("%w: %w", ErrStorage, err)
	case api.ErrorCode == codeReplicasNotSupported || api.ErrorCode == codeNoPeers:
		err = fmt.Errorf("%w: %w", ErrReplicas, err)
	case api.ErrorCode == codeSubjectOverlap:
		err = fmt.Errorf("%w: %w", ErrIncompatible, err)
	}
	return &StreamError{Stream: stream, Op: op, Err: err}
}

// compatible returns ErrIncompatible for a stream that an update cannot make the one wanted.
func compatible(have, want jetstream.StreamConfig) error {
	switch {
	case have.Storage != want.Storage:
		return fmt.Errorf("%w: its storage is %v, wanted is %v", ErrIncompatible, have.Storage, want.Storage)
	case have.Retention != want.Retention:
		return fmt.Errorf("%w: its retention is %v, wanted is %v", ErrIncompatible, have.Retention, want.Retention)
	case have.Mirror != nil:
		return fmt.Errorf("%w: it is a mirror of %s", ErrIncompatible, have.Mirror.Name)
	case have.Sealed:
		return fmt.Errorf("%w: it is sealed", ErrIncompatible)
	case have.NoAck:
		return fmt.Errorf("%w: it confirms nothing (NoAck)", ErrIncompatible)
	}
	return nil
}
