package chstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/marketprism/marketprism"
)

// ErrNoSnapshot is the error of BookAt where no snapshot at or before the moment is stored.
var ErrNoSnapshot = errors.New("chstore: no snapshot at or before that time")

// errDSN is the cause in a *ConnectError for an address that is none.
var errDSN = errors.New("it is not of the form host:port or clickhouse://user:password@host:port")

// ErrOrigin is the cause in a *RecordError for a record whose Origin names a source but no position
// in it.
var ErrOrigin = errors.New("origin has a source but sequence 0")

// A RecordError tells which record cannot be stored, and that nothing of the Write was. Err is
// marketprism.ErrKind, ErrTime, ErrOrigin or orderbook.ErrGapReason.
type RecordError struct {
	Index int    // of the record in the Write
	Key   string // of the record
	Err   error
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("chstore: record %d, %s: %v", e.Index, e.Key, e.Err)
}

func (e *RecordError) Unwrap() error { return e.Err }

// Permanent returns true: writing the record again cannot succeed (see sink.Permanent). With RecordKey
// a consumer of a bus can dead-letter exactly this record.
func (e *RecordError) Permanent() bool { return true }

// RecordKey returns Key.
func (e *RecordError) RecordKey() string { return e.Key }

// An InsertError tells which INSERT failed. Whether its rows are stored may be unknown; writing the
// same records again settles it. Err is the driver's error: errors.As finds a *clickhouse.Exception
// with the server's code in it.
type InsertError struct {
	Table     string
	Partition uint32
	Rows      int
	Attempts  int
	Err       error
}

func (e *InsertError) Error() string {
	return fmt.Sprintf("chstore: insert of %d rows into %s, partition %d, attempt %d: %v", e.Rows, e.Table, e.Partition, e.Attempts, e.Err)
}

func (e *InsertError) Unwrap() error { return e.Err }

// A SchemaError tells that a table in the database is not the one this package would have made.
type SchemaError struct {
	Table     string
	What      string // "partition key", "table"
	Want, Got string
}

func (e *SchemaError) Error() string {
	if e.Got == "" {
		return fmt.Sprintf("chstore: %s has no %s %s: run Migrate", e.Table, e.What, e.Want)
	}
	return fmt.Sprintf("chstore: %s has the %s %s, want %s", e.Table, e.What, e.Got, e.Want)
}

// A MissingError is the error of BookAt for a moment at which the book is not known, because updates
// before it are missing.
type MissingError struct {
	Instrument marketprism.Instrument
	At         time.Time // the moment asked for
	After      int64     // the last update id before the hole
	Next       int64     // the first update id known after it; 0 if nothing later is stored
	From, To   time.Time // the last and the next moment at which the book is known; zero if there is none
}

func (e *MissingError) Error() string {
	until := "the present"
	if !e.To.IsZero() {
		until = e.To.Format(time.RFC3339Nano)
	}
	since := "the beginning"
	if !e.From.IsZero() {
		since = e.From.Format(time.RFC3339Nano)
	}
	return fmt.Sprintf("chstore: book of %s at %s is not known: updates after id %d are missing, from %s to %s",
		e.Instrument, e.At.Format(time.RFC3339Nano), e.After, since, until)
}

// withCause adds the error of an ended context, which the driver often tells as a network timeout.
func withCause(ctx context.Context, err error) error {
	if ended := context.Cause(ctx); ended != nil && !errors.Is(err, ended) {
		return fmt.Errorf("%w: %w", ended, err)
	}
	return err
}

// Retryable reports whether the same call may succeed later without anything being changed: the
// server was busy, restarting or out of reach. It is false for a canceled context, and for errors of the
// schema, of access rights and of the records themselves. Of several errors joined, as those of the
// tables of one Write, all have to be.
func Retryable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, ErrWatermarkRegressed) {
		return false
	}
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return !slices.ContainsFunc(joined.Unwrap(), func(e error) bool { return !Retryable(e) })
	}
	var held *LeaseError
	if errors.As(err, &held) || errors.Is(err, errClaim) || errors.Is(err, errLapsed) {
		return true
	}
	var exception *clickhouse.Exception
	if errors.As(err, &exception) {
		return transient(exception.Code)
	}
	var netErr net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, clickhouse.ErrAcquireConnTimeout) || errors.Is(err, errFence) || errors.As(err, &netErr)
}

// transient lists the server's error codes that pass with time (src/Common/ErrorCodes.cpp).
func transient(code int32) bool {
	switch code {
	case
		3,   // UNEXPECTED_END_OF_FILE
		74,  // CANNOT_READ_FROM_FILE_DESCRIPTOR
		159, // TIMEOUT_EXCEEDED
		160, // TOO_SLOW
		198, // DNS_ERROR
		201, // QUOTA_EXCEEDED
		202, // TOO_MANY_SIMULTANEOUS_QUERIES
		203, // NO_FREE_CONNECTION
		209, // SOCKET_TIMEOUT
		210, // NETWORK_ERROR
		216, // QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING
		236, // ABORTED
		241, // MEMORY_LIMIT_EXCEEDED
		242, // TABLE_IS_READ_ONLY
		243, // NOT_ENOUGH_SPACE
		252, // TOO_MANY_PARTS
		254, // NO_ACTIVE_REPLICAS
		279, // ALL_CONNECTION_TRIES_FAILED
		285, // TOO_FEW_LIVE_REPLICAS
		286, // UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
		319, // UNKNOWN_STATUS_OF_INSERT
		364, // RECEIVED_ERROR_TOO_MANY_REQUESTS
		394, // QUERY_WAS_CANCELLED
		425, // SYSTEM_ERROR
		473, // DEADLOCK_AVOIDED
		439, // CANNOT_SCHEDULE_TASK
		745, // SERVER_OVERLOADED
		999: // KEEPER_EXCEPTION
		return true
	}
	return false
}
