// Package health serves the health of a process: /healthz reports whether its main loop runs, /readyz whether its
// dependencies are available.
package health

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/examples/plain"
)

// A Check is a dependency of a process. Ready returns an error while it is unavailable.
type Check struct {
	Name  string
	Ready func(ctx context.Context) error
}

// Health is the health of a process, whose main loop must call Beat.
type Health struct {
	stalled time.Duration
	checks  []Check
	beat    atomic.Int64 // local clock in nanoseconds
}

// checkTimeout bounds all checks of one request together.
const checkTimeout = 3 * time.Second

// New returns the Health of a process whose loop may pause for up to stalled, with its dependencies.
func New(stalled time.Duration, checks ...Check) *Health {
	h := &Health{stalled: stalled, checks: checks}
	h.Beat()
	return h
}

// Beat records an iteration of the main loop.
func (h *Health) Beat() { h.beat.Store(time.Now().UnixNano()) }

// Alive returns an error if the main loop hangs.
func (h *Health) Alive() error {
	if age := time.Since(time.Unix(0, h.beat.Load())); age > h.stalled {
		return fmt.Errorf("the main loop has hung for %v", age.Round(time.Second))
	}
	return nil
}

// Ready returns the errors of all failed checks, and of Alive.
func (h *Health) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	err := h.Alive()
	for _, c := range h.checks {
		if failed := c.Ready(ctx); failed != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", c.Name, failed))
		}
	}
	return err
}

// Handler serves /healthz, /readyz and, unless it is nil, metrics as /metrics.
func (h *Health) Handler(metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, h.Alive()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { answer(w, h.Ready(r.Context())) })
	if metrics != nil {
		mux.Handle("GET /metrics", metrics)
	}
	return mux
}

func answer(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, plain.Text(err.Error()))
		return
	}
	fmt.Fprintln(w, "ok")
}
