package main

import (
	"context"
	"errors"
)

// A stageRun is a Run(ctx) error in a goroutine of its own.
type stageRun struct {
	cancel context.CancelFunc
	done   chan struct{}
	result error
}

// start runs a stage under ctx. If it ends by itself, failed is called with the reason.
func start(ctx context.Context, failed context.CancelCauseFunc, run func(context.Context) error) *stageRun {
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

// err returns why the stage ended, nil if it was because it should; it waits for that.
func (s *stageRun) err() error {
	<-s.done
	if errors.Is(s.result, context.Canceled) {
		return nil
	}
	return s.result
}
