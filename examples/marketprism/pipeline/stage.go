package pipeline

import (
	"context"
	"errors"
)

// A stageFunc runs until its context ends.
type stageFunc func(context.Context) error

// stageRuns are stages that end together.
type stageRuns []*stageRun

// startAll starts stages under ctx. If one ends by itself, failed is called with the reason.
func startAll(ctx context.Context, failed context.CancelCauseFunc, stages ...stageFunc) stageRuns {
	var runs stageRuns
	for _, run := range stages {
		runs = append(runs, start(ctx, failed, run))
	}
	return runs
}

// stop ends all stages and waits for them.
func (r stageRuns) stop() {
	for _, s := range r {
		s.cancel()
	}
	for _, s := range r {
		s.stop()
	}
}

// end stops all stages, and returns the errors of those that failed.
func (r stageRuns) end() error {
	r.stop()
	var err error
	for _, s := range r {
		err = errors.Join(err, s.err())
	}
	return err
}

// A stageRun runs a stage in a goroutine.
type stageRun struct {
	cancel context.CancelFunc
	done   chan struct{}
	result error
}

// start runs a stage under ctx. If it ends by itself, failed is called with the reason.
func start(ctx context.Context, failed context.CancelCauseFunc, run stageFunc) *stageRun {
	ctx, cancel := context.WithCancel(ctx)
	s := &stageRun{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.result = run(ctx)
		if ctx.Err() == nil {
			failed(s.result)
		}
	}()
	return s
}

// stop ends the stage and waits for it.
func (s *stageRun) stop() {
	s.cancel()
	<-s.done
}

// err blocks until the stage has ended, and returns its error, nil if it was stopped and ended in order.
func (s *stageRun) err() error {
	<-s.done
	return s.result
}
