package sinktest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/sink"
)

// A Recorder is a sink that keeps copies of all records. The zero Recorder is ready to use, from any
// number of goroutines.
type Recorder struct {
	mu     sync.Mutex
	recs   []marketprism.Record
	writes []int
	grown  chan struct{} // closed at the next Write; nil without a Wait
}

// Write keeps copies of recs. It fails, keeping nothing, if ctx has ended or records are not valid.
func (r *Recorder) Write(ctx context.Context, recs []marketprism.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var refused []sink.Refusal
	copies := make([]marketprism.Record, len(recs))
	for i := range recs {
		if err := recs[i].Validate(); err != nil {
			refused = append(refused, sink.Refusal{Index: i, Err: err})
		}
		copies[i] = recs[i].Clone()
	}
	if refused != nil {
		return &sink.RefusedError{Records: refused}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recs = append(r.recs, copies...)
	r.writes = append(r.writes, len(recs))
	if r.grown != nil {
		close(r.grown)
		r.grown = nil
	}
	return nil
}

// Records returns all records written so far, in order, repetitions included. The records belong to the
// Recorder: do not change them.
func (r *Recorder) Records() []marketprism.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.recs)
}

// Unique returns Records without those whose Key came before, as the reader of a sink that drops
// repetitions sees them.
func (r *Recorder) Unique() []marketprism.Record { return unique(r.Records()) }

// Writes returns the number of records of each Write, in order.
func (r *Recorder) Writes() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.writes)
}

// Reset forgets everything.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recs, r.writes = nil, nil
}

// Wait blocks until there are n or more Records and returns them, or the error of ctx if that ends first.
func (r *Recorder) Wait(ctx context.Context, n int) ([]marketprism.Record, error) {
	for {
		r.mu.Lock()
		recs := slices.Clone(r.recs)
		if r.grown == nil {
			r.grown = make(chan struct{})
		}
		grown := r.grown
		r.mu.Unlock()
		if len(recs) >= n {
			return recs, nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return nil, fmt.Errorf("sinktest: %d of %d records came: %w", len(recs), n, ctx.Err())
		}
	}
}

// unique drops the records whose key came before.
func unique(recs []marketprism.Record) []marketprism.Record {
	seen := make(map[string]bool, len(recs))
	return slices.DeleteFunc(slices.Clone(recs), func(r marketprism.Record) bool {
		key := r.Key()
		again := seen[key]
		seen[key] = true
		return again
	})
}
