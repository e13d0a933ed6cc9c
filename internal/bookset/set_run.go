package bookset

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/marketprism/marketprism"
)

// Grace is how long the handler may take for the current record, and for the Gap records that end
// the books, after the context of Run has ended.
const Grace = 5 * time.Second

// WithGrace returns a context that ends Grace after ctx does. The handler gets it.
func WithGrace(ctx context.Context) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	timer := time.AfterFunc(math.MaxInt64, cancel)
	stop := context.AfterFunc(ctx, func() { timer.Reset(Grace) })
	return late, func() {
		stop()
		timer.Stop()
		cancel()
	}
}

// RunBegan notes the begin of a Run. It reports false if one is running already.
func (s *Set[K, S, E]) RunBegan() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		return false
	}
	s.running, s.ended, s.failed = true, nil, false
	return true
}

// Running reports whether a Run has begun and not ended.
func (s *Set[K, S, E]) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running
}

// RunEnded notes the end of a Run with its result, and wakes those that wait in Ready.
func (s *Set[K, S, E]) RunEnded(err error) {
	s.mu.Lock()
	s.running, s.ended = false, s.errors.Stopped
	if err != nil {
		s.ended = fmt.Errorf("%w: %w", s.errors.Stopped, err)
	}
	s.mu.Unlock()
	s.Changed()
}

// Changed makes those that wait in Ready look again: a book was synced or removed.
func (s *Set[K, S, E]) Changed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.news)
	s.news = make(chan struct{})
}

// A HandlerError is an error of the handler on its way to the caller of Run.
type HandlerError struct{ Err error }

func (e *HandlerError) Error() string { return "handler: " + e.Err.Error() }

// Unwrap returns the handler's error.
func (e *HandlerError) Unwrap() error { return e.Err }

// Handle calls the handler, which may be nil, while no other call of it runs. The first error of the
// handler in a Run is a *HandlerError. From then on the handler is not called, and Handle returns
// context.Canceled: the Run is about to end.
func (s *Set[K, S, E]) Handle(ctx context.Context, handler func(context.Context, *marketprism.Record) error, rec *marketprism.Record) error {
	if handler == nil {
		return nil
	}
	s.handling <- struct{}{}
	defer func() { <-s.handling }()
	if s.failed {
		return context.Canceled
	}
	if err := handler(ctx, rec); err != nil {
		s.failed = true
		return &HandlerError{err}
	}
	return nil
}
