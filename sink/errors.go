package sink

import (
	"errors"
	"fmt"
)

// The states of a Buffer or a Spill in which it does not accept records, or does not run.
var (
	// ErrFull is the error of a Write without room under Fail, and the cause in the
	// Gap records of DropOldest and DropNewest.
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

// ErrLocked is the error of NewSpill for a folder that another Spill uses, in this process or another.
var ErrLocked = errors.New("sink: folder is in use by another Spill")

// A DiskError is the error of a Spill whose folder cannot be read or written: no space is left, it is
// read-only, the disk is broken. A Write that returns it has not accepted its records.
type DiskError struct {
	Err error // names the operation and the file; for errors.Is with syscall.ENOSPC and fs.ErrPermission
}

func (e *DiskError) Error() string { return "sink: spill: " + e.Err.Error() }

func (e *DiskError) Unwrap() error { return e.Err }

// A CorruptError names bytes in a Spill's folder that do not read back as they were written. It is the
// cause in the Gap records for the lost records.
type CorruptError struct {
	Segment  string // path of the file
	Kept     string // path of the file with these bytes, for inspection; "" if there are none, or no room for them
	From, To int64  // offsets in it
	Err      error  // what is wrong
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("sink: spill: %s is corrupt from byte %d to %d: %v", e.Segment, e.From, e.To, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

var (
	errNoSpillSink = errors.New("sink: NewSpill needs a destination")

	// errBefore is the cause in Gaps of a Spill that was opened after damage.
	errBefore = errors.New("sink: spill: records were lost to damage before the restart")
)
