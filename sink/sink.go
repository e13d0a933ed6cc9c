package sink

import (
	"context"
	"fmt"

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
	// A Sink says for itself whether Write may be called concurrently; none in this module forbids it.
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
