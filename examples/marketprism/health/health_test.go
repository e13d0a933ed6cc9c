package health_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/examples/marketprism/health"
)

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestHealthFollowsTheLoopAndReadinessTheChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var missing error
		h := health.New(10*time.Second, health.Check{Name: "bus", Ready: func(context.Context) error { return missing }})
		served := h.Handler(http.NotFoundHandler())
		expect := func(path string, code int, text string) {
			t.Helper()
			gotCode, gotText := get(t, served, path)
			require.Equal(t, code, gotCode)
			require.Contains(t, gotText, text)
		}
		expect("/healthz", 200, "ok")
		expect("/readyz", 200, "ok")
		missing = errors.New("no connection")
		expect("/healthz", 200, "ok")
		expect("/readyz", 503, "bus: no connection")
		missing = nil
		time.Sleep(11 * time.Second)
		expect("/healthz", 503, "has hung")
		expect("/readyz", 503, "has hung")
		h.Beat()
		expect("/healthz", 200, "ok")
		expect("/metrics", 404, "")
	})
}

// A check that hangs until the end of its context does not hang the answer.
func TestACheckHasABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := health.New(time.Hour, health.Check{Name: "store", Ready: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }})
		code, text := get(t, h.Handler(nil), "/readyz")
		require.Equal(t, 503, code)
		require.Contains(t, text, "store: context deadline exceeded")
	})
}
