package sink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// A Stage is a part of a program that records pass through, such as a driver, a Buffer or a consumer.
type Stage struct {
	Name string // in errors; "" means its number

	// Run is its Run. It returns soon after ctx ends, and then nil if everything was brought to its end in order.
	Run func(ctx context.Context) error

	// Flush, which may be nil, is called before ctx ends, while Run still runs: that of a Spill leaves nothing on the disk.
	// It is not called once a later stage has failed.
	Flush func(ctx context.Context) error

	// Timeout bounds Flush, and once more the time that Run takes to return after its ctx has ended. 0 means 15 s, longer
	// than a DepthSyncer and a Buffer take; negative means no bound.
	Timeout time.Duration
}

// name returns the Name, or the number of a stage with that index.
func (s *Stage) name(index int) string { return cmp.Or(s.Name, strconv.Itoa(index+1)) }

// RunStages runs the stages of a program, in the order in which records pass them: the source first, the last sink last. It
// starts them from the last to the first, and runs them until ctx ends or one of them returns. Then it ends them from the
// first to the last: the context of each ends, and it is waited for, before that of the next. So what a stage writes at its
// end, such as the Gaps that end the books, finds the stages after it at work.
//
// RunStages returns nil if every stage did, else a *StageError for each that failed, joined. A stage that overruns its
// Timeout is left behind, and the others are ended all the same. A source that returns nil ends all in order, as the end of
// ctx does. The contexts of the stages have the values of ctx. Nothing runs if a stage has no Run.
func RunStages(ctx context.Context, stages ...Stage) error {
	for i := range stages {
		if stages[i].Run == nil {
			return &StageError{Stage: stages[i].name(i), Err: errNoRun}
		}
	}
	returned := make(chan struct{}, len(stages))
	runs := make([]stageRun, len(stages))
	for i := len(stages) - 1; i >= 0; i-- {
		runs[i].start(ctx, &stages[i], i, returned)
	}
	if len(runs) > 0 {
		select {
		case <-ctx.Done():
		case <-returned:
		}
	}
	var errs []error
	for i := range runs {
		errs = append(errs, runs[i].end(ctx, runs[i+1:]))
	}
	return errors.Join(errs...)
}

// A stageRun is a Stage that runs.
type stageRun struct {
	*Stage
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error // of Run; set before done is closed
}

// start runs the stage of that index in a goroutine.
func (r *stageRun) start(ctx context.Context, stage *Stage, index int, returned chan<- struct{}) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	*r = stageRun{Stage: stage, name: stage.name(index), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer func() {
			close(r.done)
			returned <- struct{}{}
		}()
		r.err = r.Run(ctx)
	}()
}

// returned reports whether Run has returned.
func (r *stageRun) returned() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// end flushes the stage, ends it and waits for it, each within its bound. The error is a *StageError.
func (r *stageRun) end(ctx context.Context, later []stageRun) error {
	flushed := r.flush(ctx, later)
	r.cancel()
	bounded, cancel := r.bound(ctx)
	defer cancel()
	select {
	case <-r.done:
	case <-bounded.Done():
	}
	failed := StageError{Stage: r.name, Overran: !r.returned()}
	if failed.Overran {
		failed.Err = errors.Join(fmt.Errorf("it had not ended %v after its context", r.timeout()), flushed)
	} else {
		failed.Err = errors.Join(r.err, flushed)
	}
	if failed.Err == nil {
		return nil
	}
	return &failed
}

// flush calls Flush, unless the stage has returned or a later one has failed.
func (r *stageRun) flush(ctx context.Context, later []stageRun) error {
	if r.Flush == nil || r.returned() || slices.ContainsFunc(later, func(l stageRun) bool { return l.returned() && l.err != nil }) {
		return nil
	}
	bounded, cancel := r.bound(ctx)
	defer cancel()
	flushed := make(chan struct{})
	defer close(flushed)
	go func() {
		select {
		case <-r.done: // nothing flushes any more
			cancel()
		case <-flushed:
		}
	}()
	if err := r.Flush(bounded); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

func (r *stageRun) timeout() time.Duration { return cmp.Or(r.Timeout, 15*time.Second) }

// bound returns a context with the values of ctx that ends after the Timeout.
func (r *stageRun) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx = context.WithoutCancel(ctx)
	if d := r.timeout(); d > 0 {
		return context.WithTimeout(ctx, d)
	}
	return context.WithCancel(ctx)
}
