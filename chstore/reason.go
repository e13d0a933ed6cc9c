package chstore

import (
	"context"
	"errors"
	"io"
	"net"
	"os"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// A Reason says in one word why a call failed: a closed set, for counting.
type Reason string

// The reasons.
const (
	ReasonTimeout      Reason = "timeout"        // no answer in time, from the server or within it
	ReasonNetwork      Reason = "network"        // the connection broke, or none was to be had
	ReasonTooManyParts Reason = "too_many_parts" // merges do not keep up
	ReasonMemory       Reason = "memory"         // a limit of the server's memory
	ReasonDisk         Reason = "disk"           // no room, or a disk that fails
	ReasonSchema       Reason = "schema"         // a table or a column is missing, or another than expected
	ReasonAuth         Reason = "auth"           // the user is not known, or may not
	ReasonReadOnly     Reason = "readonly"       // the table or the server takes no INSERTs
	ReasonFence        Reason = "fence"          // an earlier INSERT has not ended
	ReasonLease        Reason = "lease"          // another Store writes the source
	ReasonRegressed    Reason = "regressed"      // the tables hold less than before
	ReasonCanceled     Reason = "canceled"       // by the caller's context
	ReasonOther        Reason = "other"
)

// reasons are all of them, in the order of the counters.
var reasons = [...]Reason{
	ReasonTimeout, ReasonNetwork, ReasonTooManyParts, ReasonMemory, ReasonDisk, ReasonSchema, ReasonAuth,
	ReasonReadOnly, ReasonFence, ReasonLease, ReasonRegressed, ReasonCanceled, ReasonOther,
}

// Reasons returns every Reason there is.
func Reasons() []Reason { return append([]Reason(nil), reasons[:]...) }

// ReasonOf returns why a call of this package failed; "" for nil.
func ReasonOf(err error) Reason {
	var (
		exception *clickhouse.Exception
		schema    *SchemaError
		held      *LeaseError
		netErr    net.Error
	)
	switch {
	case err == nil:
		return ""
	case errors.As(err, &exception):
		return reasonOfCode(exception.Code)
	case errors.As(err, &schema):
		return ReasonSchema
	case errors.As(err, &held), errors.Is(err, errClaim), errors.Is(err, errLapsed):
		return ReasonLease
	case errors.Is(err, ErrWatermarkRegressed):
		return ReasonRegressed
	case errors.Is(err, errFence):
		return ReasonFence
	case errors.Is(err, context.Canceled):
		return ReasonCanceled
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, clickhouse.ErrAcquireConnTimeout), errors.As(err, &netErr) && netErr.Timeout():
		return ReasonTimeout
	case errors.As(err, &netErr), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return ReasonNetwork
	}
	return ReasonOther
}

// reasonOfCode sorts the server's error codes (src/Common/ErrorCodes.cpp).
func reasonOfCode(code int32) Reason {
	switch code {
	case 159, 160, 209: // TIMEOUT_EXCEEDED, TOO_SLOW, SOCKET_TIMEOUT
		return ReasonTimeout
	case 198, 203, 210, 279: // DNS_ERROR, NO_FREE_CONNECTION, NETWORK_ERROR, ALL_CONNECTION_TRIES_FAILED
		return ReasonNetwork
	case 252: // TOO_MANY_PARTS
		return ReasonTooManyParts
	case 241, 173: // MEMORY_LIMIT_EXCEEDED, CANNOT_ALLOCATE_MEMORY
		return ReasonMemory
	case 243, 74, 75, 76: // NOT_ENOUGH_SPACE, CANNOT_READ…, CANNOT_WRITE_TO…, CANNOT_OPEN_FILE
		return ReasonDisk
	case 10, 16, 36, 44, 47, 53, 60, 62, 81, 122: // NOT_FOUND_COLUMN_IN_BLOCK, NO_SUCH_COLUMN_IN_TABLE, BAD_ARGUMENTS,
		// ILLEGAL_COLUMN, UNKNOWN_IDENTIFIER, TYPE_MISMATCH, UNKNOWN_TABLE, SYNTAX_ERROR, UNKNOWN_DATABASE, INCOMPATIBLE_COLUMNS
		return ReasonSchema
	case 192, 193, 194, 497, 516: // UNKNOWN_USER, WRONG_PASSWORD, REQUIRED_PASSWORD, ACCESS_DENIED, AUTHENTICATION_FAILED
		return ReasonAuth
	case 164, 242: // READONLY, TABLE_IS_READ_ONLY
		return ReasonReadOnly
	case 394: // QUERY_WAS_CANCELLED
		return ReasonCanceled
	}
	return ReasonOther
}
