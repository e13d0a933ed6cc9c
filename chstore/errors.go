package chstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/sink"
)

var (
	// ErrNoSnapshot is the error of BookAt where no snapshot at or before the time is stored.
	ErrNoSnapshot = errors.New("chstore: no snapshot at or before that time")
	// ErrOrigin is the cause in a *RecordError for a record whose Origin names a source but no position in it.
	ErrOrigin = errors.New("origin has a source but sequence 0")
	// ErrQuery is wrapped by the errors of Books, Replay and Check for a query they cannot answer.
	ErrQuery = errors.New("chstore: invalid query")
	// ErrTime is the cause in a *RecordError for a time that a DateTime64(9) cannot hold: before 1970 or after 2262-04-11.
	ErrTime = errors.New("time is before 1970 or after 2262-04-11")
	// ErrWatermarkRegressed is wrapped by a *WatermarkError.
	ErrWatermarkRegressed = errors.New("chstore: the tables hold less than before")
)

var (
	// errFence is the error of a fence that failed. It is Retryable.
	errFence = errors.New("an earlier INSERT has not ended")
	// errLeaseEnded is the error of a lease that ended during a Write and was claimed again.
	errLeaseEnded = errors.New("chstore: the lease ended during a Write")
	// errClaim is the error of a claim that left no trace: its token was recorded by a server that then crashed.
	errClaim = errors.New("chstore: the claim of a lease was lost")
)

// A ConnectError says that no ClickHouse can be used at an address.
type ConnectError struct {
	Addr string // host:port, several joined by commas
	Err  error
}

func (e *ConnectError) Error() string {
	return fmt.Sprintf("chstore: no ClickHouse to use at %s: %v (start one there, or give the address of another: "+
		"clickhouse://user:password@host:9000, the port of the native protocol)", e.Addr, e.Err)
}

func (e *ConnectError) Unwrap() error { return e.Err }

// A RecordError says which record cannot be stored, and that nothing of the Write was. Err is
// that of marketprism.Record.Validate, ErrTime or ErrOrigin.
type RecordError struct {
	Index int    // of the record in the Write
	Key   string // of the record
	Err   error
}

var _ sink.PermanentError = (*RecordError)(nil)

func (e *RecordError) Error() string {
	return fmt.Sprintf("chstore: record %d, %s: %v", e.Index, e.Key, e.Err)
}

func (e *RecordError) Unwrap() error { return e.Err }

// Permanent returns true: writing the record again cannot help.
func (e *RecordError) Permanent() bool { return true }

// An InsertError says which INSERT failed. Whether its rows are stored may be unknown; writing the
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

// A LeaseError says that another Store writes the records of a source to a table. It is Retryable: the
// lease ends with Release, or by itself when its holder is gone.
type LeaseError struct {
	Table, Source string
	Holder        string    // differs from store to store
	Until         time.Time // by the server's clock
}

func (e *LeaseError) Error() string {
	return fmt.Sprintf("chstore: another store, %s, writes the records of %q to %s, at least until %s",
		e.Holder, e.Source, e.Table, e.Until.Format(time.RFC3339))
}

// A WatermarkError says that records which were stored are gone: a disk is not mounted, a
// partition was dropped, an older copy was restored. Nothing was inserted. To store the missing records again
// would make duplicates once the disk is back, and ClickHouse does not start with such parts, so
// an operator has to look. It is not Retryable.
type WatermarkError struct {
	Table     string // "" where the source as a whole was asked about
	Partition uint32
	Source    string
	Had, Has  uint64 // highest sequence
}

func (e *WatermarkError) Error() string {
	where := "no table"
	if e.Table != "" {
		where = fmt.Sprintf("partition %d of %s", e.Partition, e.Table)
	}
	return fmt.Sprintf("%v: %s has %q up to sequence %d, and it was stored up to %d", ErrWatermarkRegressed, where, e.Source, e.Has, e.Had)
}

func (e *WatermarkError) Unwrap() error { return ErrWatermarkRegressed }

// A SchemaError says that a table in the database is not the one this package would have made.
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

// A MissingError is the error of BookAt for a time at which the book is not synced, because updates
// before it are missing.
type MissingError struct {
	Instrument marketprism.Instrument
	At         time.Time // the time asked for
	After      int64     // the last update id before the missing range
	Next       int64     // the first update id after it; 0 if nothing later is stored
	From, To   time.Time // the last and the next time at which the book is synced; zero if there is none
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
	return fmt.Sprintf("chstore: book of %s at %s is not synced: updates after id %d are missing, from %s to %s",
		e.Instrument, e.At.Format(time.RFC3339Nano), e.After, since, until)
}

// withCause adds the error of an ended context, which the driver often reports as a network timeout.
func withCause(ctx context.Context, err error) error {
	if ended := context.Cause(ctx); ended != nil && !errors.Is(err, ended) {
		return fmt.Errorf("%w: %w", ended, err)
	}
	return err
}

// Retryable reports whether the same call may succeed later without any change: the
// server was busy, restarting or out of reach. It is false for a canceled context, and for errors of the
// schema, of access rights and of the records themselves. Joined errors, as those of the
// tables of one Write, must all be retryable.
func Retryable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, ErrWatermarkRegressed) {
		return false
	}
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return !slices.ContainsFunc(joined.Unwrap(), func(e error) bool { return !Retryable(e) })
	}
	if isLeaseError(err) {
		return true
	}
	var exception *clickhouse.Exception
	if errors.As(err, &exception) {
		return isTransient(exception.Code)
	}
	return errors.Is(err, clickhouse.ErrAcquireConnTimeout) || errors.Is(err, errFence) || isNetworkError(err)
}

// isLeaseError reports whether another Store has the lease, or this one does not have it for sure.
func isLeaseError(err error) bool {
	var lease *LeaseError
	return errors.As(err, &lease) || errors.Is(err, errClaim) || errors.Is(err, errLeaseEnded)
}

func isNetworkError(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// exceptionCode returns the code of a server's error (src/Common/ErrorCodes.cpp); 0 if err is not one.
func exceptionCode(err error) int32 {
	var exception *clickhouse.Exception
	if !errors.As(err, &exception) {
		return 0
	}
	return exception.Code
}

// isTransient lists the server's error codes that pass with time (src/Common/ErrorCodes.cpp).
func isTransient(code int32) bool {
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

// A Reason says in one word why a call failed: one of Reasons, for counting.
type Reason string

// Reasons of errors without a type of their own.
const (
	ReasonTooManyParts Reason = "too_many_parts" // merges do not keep up
	ReasonDisk         Reason = "disk"           // no room, or a disk that fails
	ReasonCanceled     Reason = "canceled"       // by the caller's context
)

const (
	reasonTimeout   Reason = "timeout"   // no answer in time, from the server or within it
	reasonNetwork   Reason = "network"   // the connection broke, or none could be opened
	reasonMemory    Reason = "memory"    // a limit of the server's memory
	reasonSchema    Reason = "schema"    // a table or a column is missing, or differs from the expected one
	reasonAuth      Reason = "auth"      // the user is unknown, or lacks a right
	reasonReadOnly  Reason = "readonly"  // the table or the server takes no INSERTs
	reasonFence     Reason = "fence"     // an earlier INSERT has not ended
	reasonLease     Reason = "lease"     // another Store writes the source
	reasonRegressed Reason = "regressed" // the tables hold less than before
	reasonOther     Reason = "other"
)

// reasons has all of them, in the order of the counters.
var reasons = [...]Reason{
	reasonTimeout, reasonNetwork, ReasonTooManyParts, reasonMemory, ReasonDisk, reasonSchema, reasonAuth,
	reasonReadOnly, reasonFence, reasonLease, reasonRegressed, ReasonCanceled, reasonOther,
}

// Reasons returns every Reason: timeout, network, too_many_parts, memory, disk, schema, auth, readonly, fence, lease,
// regressed, canceled and other.
func Reasons() []Reason { return slices.Clone(reasons[:]) }

// ReasonOf returns why a call of this package failed; "" for nil.
func ReasonOf(err error) Reason {
	var (
		exception *clickhouse.Exception
		schema    *SchemaError
		netErr    net.Error
	)
	switch {
	case err == nil:
		return ""
	case errors.As(err, &exception):
		return reasonOfCode(exception.Code)
	case errors.As(err, &schema):
		return reasonSchema
	case isLeaseError(err):
		return reasonLease
	case errors.Is(err, ErrWatermarkRegressed):
		return reasonRegressed
	case errors.Is(err, errFence):
		return reasonFence
	case errors.Is(err, context.Canceled):
		return ReasonCanceled
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, clickhouse.ErrAcquireConnTimeout), errors.As(err, &netErr) && netErr.Timeout():
		return reasonTimeout
	case isNetworkError(err):
		return reasonNetwork
	}
	return reasonOther
}

// reasonOfCode classifies the server's error codes (src/Common/ErrorCodes.cpp).
func reasonOfCode(code int32) Reason {
	switch code {
	case 159, 160, 209: // TIMEOUT_EXCEEDED, TOO_SLOW, SOCKET_TIMEOUT
		return reasonTimeout
	case 198, 203, 210, 279: // DNS_ERROR, NO_FREE_CONNECTION, NETWORK_ERROR, ALL_CONNECTION_TRIES_FAILED
		return reasonNetwork
	case 252: // TOO_MANY_PARTS
		return ReasonTooManyParts
	case 241, 173: // MEMORY_LIMIT_EXCEEDED, CANNOT_ALLOCATE_MEMORY
		return reasonMemory
	case 243, 74, 75, 76: // NOT_ENOUGH_SPACE, CANNOT_READ…, CANNOT_WRITE_TO…, CANNOT_OPEN_FILE
		return ReasonDisk
	case 10, 16, 36, 44, 47, 53, 60, 62, 81, 122: // NOT_FOUND_COLUMN_IN_BLOCK, NO_SUCH_COLUMN_IN_TABLE, BAD_ARGUMENTS,
		// ILLEGAL_COLUMN, UNKNOWN_IDENTIFIER, TYPE_MISMATCH, UNKNOWN_TABLE, SYNTAX_ERROR, UNKNOWN_DATABASE, INCOMPATIBLE_COLUMNS
		return reasonSchema
	case 192, 193, 194, 497, 516: // UNKNOWN_USER, WRONG_PASSWORD, REQUIRED_PASSWORD, ACCESS_DENIED, AUTHENTICATION_FAILED
		return reasonAuth
	case 164, 242: // READONLY, TABLE_IS_READ_ONLY
		return reasonReadOnly
	case 394: // QUERY_WAS_CANCELLED
		return ReasonCanceled
	}
	return reasonOther
}
