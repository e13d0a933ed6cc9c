package sink

import (
	"errors"
	"fmt"
)

// ErrLocked is the error of NewSpill for a folder that another Spill uses, in this process or another.
var ErrLocked = errors.New("sink: folder is in use by another Spill")

// A DiskError is the error of a Spill whose folder cannot be read or written: no space is left, it is
// read-only, the disk is broken. Records that Write returned it for are not accepted.
type DiskError struct {
	Err error // names the operation and the file; for errors.Is with syscall.ENOSPC and fs.ErrPermission
}

func (e *DiskError) Error() string { return "sink: spill: " + e.Err.Error() }

func (e *DiskError) Unwrap() error { return e.Err }

// A CorruptError tells of bytes in a Spill's folder that were written and do not read back. It is the
// cause in the Gap records that stand for what they held.
type CorruptError struct {
	Segment  string // path of the file
	Kept     string // path of the copy that is kept for a person to look at; "" if the file was gone
	From, To int64  // offsets in it
	Err      error  // what is wrong
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("sink: spill: %s is corrupt from byte %d to %d: %v", e.Segment, e.From, e.To, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

var (
	errNoSpillSink = errors.New("sink: NewSpill needs a destination")

	// errBefore is the cause in Gaps of a Spill that was opened behind damage.
	errBefore = errors.New("sink: spill: records were lost to damage before the restart")
)
