package sink

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/marketprism/marketprism"
)

// A Sink takes records: a bus, a store, a file, a program of yours.
type Sink interface {
	// Write stores recs in order. Nil means that all are accepted. After an error any of them may
	// be, and writing the same records again is safe: a reader sees each Key once. A record that is
	// not valid (see marketprism.Record.Validate) is an error.
	//
	// Write returns soon after ctx ends, with an error unless all are accepted, and accepts nothing
	// if ctx has ended before. It neither changes recs nor keeps them, or any memory they point to,
	// after it returns.
	//
	// Each Sink documents whether Write may be called concurrently; those of this module allow it.
	Write(ctx context.Context, recs []marketprism.Record) error
}

// Func makes a function a Sink.
type Func func(ctx context.Context, recs []marketprism.Record) error

// Write calls f.
func (f Func) Write(ctx context.Context, recs []marketprism.Record) error { return f(ctx, recs) }

// validate returns the error of the first of recs that is not valid.
func validate(recs []marketprism.Record) error {
	for i := range recs {
		if err := recs[i].Validate(); err != nil {
			return fmt.Errorf("sink: record %d of %d: %w", i, len(recs), err)
		}
	}
	return nil
}

// Tee returns a sink that writes to each of sinks, in order and in the caller's goroutine. It writes to
// all of them even if some fail, and joins their errors. After an error the sinks
// that succeeded have the records already; writing them again is safe by the contract of Sink.
//
// The slowest of sinks sets the pace: put a Buffer before one that others should not wait for. A Tee
// of no sinks accepts everything and keeps nothing.
func Tee(sinks ...Sink) Sink { return tee(slices.Clone(sinks)) }

type tee []Sink

func (t tee) Write(ctx context.Context, recs []marketprism.Record) error {
	if len(t) == 0 { // as each sink would
		return errors.Join(ctx.Err(), validate(recs))
	}
	var errs []error
	for _, s := range t {
		if err := s.Write(ctx, recs); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Filter returns a sink that writes to dst the records for which keep returns true, in order, and
// accepts the others. It does not call dst if none is left. keep must not change or keep the record,
// and is called on every goroutine that writes.
//
// Choose by instrument, or between book, trades and tickers: leaving out an Update or Gap
// without its Snapshot breaks the contract of marketprism.Record, and readers get a wrong book.
func Filter(dst Sink, keep func(r *marketprism.Record) bool) Sink {
	return Func(func(ctx context.Context, recs []marketprism.Record) error {
		kept := make([]marketprism.Record, 0, len(recs))
		for i := range recs {
			if keep(&recs[i]) {
				kept = append(kept, recs[i])
			}
		}
		if len(kept) == 0 {
			return ctx.Err()
		}
		return dst.Write(ctx, kept)
	})
}

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
