package sink

import (
	"errors"
	"fmt"
	"slices"
)

// The states in which a Buffer or a Spill does not accept records, or does not run.
var (
	// ErrFull is the error of a Write for which there is no room under Fail, and the cause in the
	// Gap records that DropOldest and DropNewest leave.
	ErrFull = errors.New("sink: queue is full")
	// ErrTooLarge is the error of a Write with a single record that exceeds MaxBytes.
	ErrTooLarge = errors.New("sink: record is larger than the whole queue")
	// ErrClosed is the error of Write once the ctx of a Buffer's Run has ended or a Spill was closed,
	// and of a Flush that can no longer succeed.
	ErrClosed = errors.New("sink: closed")
	// ErrStarted is the error of every Run but the first.
	ErrStarted = errors.New("sink: Run was called before")
)

// An UndeliveredError is the error of a Buffer's Run that ended with records still queued.
type UndeliveredError struct {
	Records int
	Err     error // the last error of the destination, or why there was no time
}

func (e *UndeliveredError) Error() string {
	return fmt.Sprintf("sink: buffer ended with %d records undelivered: %v", e.Records, e.Err)
}

func (e *UndeliveredError) Unwrap() error { return e.Err }

// A PermanentError is an error of a Sink about the records themselves. Its method reports whether
// writing the same records again can never succeed, as for a record that is too large for the sink.
type PermanentError interface {
	error
	Permanent() bool
}

// Permanent reports whether err says that a record of the Write will never be accepted. The first
// PermanentError in err's chain decides. Of joined errors each one must be permanent: a Tee may have
// failed in one sink for a record and in another for an outage.
func Permanent(err error) bool {
	for err != nil {
		if e, ok := err.(PermanentError); ok {
			return e.Permanent()
		}
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			errs := joined.Unwrap()
			return len(errs) > 0 && !slices.ContainsFunc(errs, func(e error) bool { return !Permanent(e) })
		}
		err = errors.Unwrap(err)
	}
	return false
}
