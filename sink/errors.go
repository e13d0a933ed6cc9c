package sink

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
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

// A PermanentError is an error about the records of a Write themselves. Its method reports whether
// writing the same records again can never succeed, for example because one is too large for the sink.
type PermanentError interface {
	error
	Permanent() bool
}

// Permanent reports whether err means that a record of the Write will never be accepted. The first
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

// A RefusedError names every record of a Write that the sink will never accept, so that the others can be written
// again at once. It is Permanent.
type RefusedError struct {
	Records []Refusal
}

// A Refusal is one record of a Write that a sink will never accept.
type Refusal struct {
	Index int   // of the record in the Write
	Err   error // why
}

var _ PermanentError = (*RefusedError)(nil)

func (e *RefusedError) Error() string {
	switch len(e.Records) {
	case 0:
		return "sink: records are refused"
	case 1:
		return fmt.Sprintf("sink: record %d is refused: %v", e.Records[0].Index, e.Records[0].Err)
	}
	return fmt.Sprintf("sink: %d records are refused, the first is record %d: %v", len(e.Records), e.Records[0].Index, e.Records[0].Err)
}

// Unwrap returns the Err of each Refusal.
func (e *RefusedError) Unwrap() []error {
	errs := make([]error, len(e.Records))
	for i, f := range e.Records {
		errs[i] = f.Err
	}
	return errs
}

// Permanent returns true.
func (e *RefusedError) Permanent() bool { return true }

// Refused returns which of the n records of a Write its error names as refused, by Index, each once. It returns nil if
// err names none, or is not Permanent: then it is not known whether the others would be accepted.
func Refused(err error, n int) []Refusal {
	if !Permanent(err) {
		return nil
	}
	all := appendRefused(nil, err)
	slices.SortStableFunc(all, func(a, b Refusal) int { return cmp.Compare(a.Index, b.Index) })
	all = slices.CompactFunc(all, func(a, b Refusal) bool { return a.Index == b.Index })
	return slices.DeleteFunc(all, func(f Refusal) bool { return f.Index < 0 || f.Index >= n })
}

// appendRefused appends the records that the RefusedErrors in the tree of err name.
func appendRefused(all []Refusal, err error) []Refusal {
	for err != nil {
		if e, ok := err.(*RefusedError); ok {
			return append(all, e.Records...)
		}
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range joined.Unwrap() {
				all = appendRefused(all, e)
			}
			return all
		}
		err = errors.Unwrap(err)
	}
	return all
}

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

// A StageError names the stage of RunStages that has failed.
type StageError struct {
	Stage   string // its Name, or its number from 1
	Overran bool   // it has not ended within its Timeout, and is left behind
	Err     error  // of Run and Flush, joined, or that it has overrun
}

func (e *StageError) Error() string { return "sink: stage " + e.Stage + ": " + e.Err.Error() }

func (e *StageError) Unwrap() error { return e.Err }

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
	Kept     string // path of the file with these bytes, for inspection; "" if there are none, no room for them, or the disk failed
	From, To int64  // offsets in it
	Err      error  // what is wrong
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("sink: spill: %s is corrupt from byte %d to %d: %v", e.Segment, e.From, e.To, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

var (
	errNoRun         = errors.New("it has no Run")
	errNoSpillSink   = errors.New("sink: NewSpill needs a destination")
	errNoEncodedSink = errors.New("sink: SpillConfig.Peek is set, and the destination is no EncodedSink")

	// errBefore is the cause in Gaps of a Spill that was opened after damage.
	errBefore = errors.New("sink: spill: records were lost to damage before the restart")
)
