package sink

import (
	"errors"
	"fmt"
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
