package sinktest

import (
	"context"
	"sync"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/sink"
)

// Faults makes the sinks it wraps fail on purpose. The zero Faults causes no failure. It may be
// used from any number of goroutines.
type Faults struct {
	mu     sync.Mutex
	queue  []fault
	held   chan struct{} // closed by release; nil without a hold
	writes int
	failed int
}

// A fault makes one Write fail.
type fault struct {
	prefix int
	err    error
}

// FailNext makes each of the next n Writes fail with err and accept no record. Calls queue up.
func (f *Faults) FailNext(n int, err error) {
	for range n {
		f.FailAfter(0, err)
	}
}

// FailAfter makes the next Write pass on its first prefix records and then fail with err. A prefix of
// the batch's length or more simulates a lost acknowledgement: all records are accepted, but the Write
// fails. Calls queue up.
func (f *Faults) FailAfter(prefix int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue = append(f.queue, fault{prefix, err})
}

// Hold makes Writes block, like a sink that has stopped answering, until release is called or their
// ctx ends. A second Hold before the release shares the first.
func (f *Faults) Hold() (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held == nil {
		f.held = make(chan struct{})
	}
	held := f.held
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.held == held {
			close(held)
			f.held = nil
		}
	}
}

// Writes returns the number of Writes, and how many of them Faults made fail.
func (f *Faults) Writes() (all, failed int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writes, f.failed
}

// Wrap returns a sink that writes to dst, with the faults of f.
func (f *Faults) Wrap(dst sink.Sink) sink.Sink {
	return sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
		next, held := f.arrive()
		if held != nil {
			select {
			case <-held:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if next == nil {
			return dst.Write(ctx, recs)
		}
		if n := min(next.prefix, len(recs)); n > 0 {
			if err := dst.Write(ctx, recs[:n]); err != nil {
				return err
			}
		}
		return next.err
	})
}

// arrive counts a Write and returns its fault, if any.
func (f *Faults) arrive() (*fault, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes++
	if len(f.queue) == 0 {
		return nil, f.held
	}
	next := f.queue[0]
	f.queue = f.queue[1:]
	f.failed++
	return &next, f.held
}
