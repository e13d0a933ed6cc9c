package sink

import (
	"errors"
	"fmt"
)

// The states in which a Buffer does not accept records, or does not run.
var (
	// ErrFull is the error of a Write for which there is no room under Fail, and the cause in the
	// Gap records that DropOldest leaves.
	ErrFull = errors.New("sink: buffer is full")
	// ErrTooLarge is the error of a Write with a single record that exceeds MaxBytes.
	ErrTooLarge = errors.New("sink: record is larger than the whole buffer")
	// ErrClosed is the error of Write once the ctx of Run has ended, and of a Flush that can no
	// longer succeed.
	ErrClosed = errors.New("sink: buffer is closed")
	// ErrStarted is the error of every Run but the first.
	ErrStarted = errors.New("sink: Buffer.Run was called before")
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
