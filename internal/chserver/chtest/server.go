package chtest

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/marketprism/marketprism/internal/chserver"
)

// Config is the configuration of the shared server, as a start for Start: its TTLs act within a few seconds instead
// of hours, because the background tasks look for work every second.
func Config() chserver.Config {
	return chserver.Config{
		Settings: map[string]string{
			"background_processing_pool_task_sleep_seconds_when_no_work_min":      "0.2",
			"background_processing_pool_task_sleep_seconds_when_no_work_max":      "1",
			"background_move_processing_pool_task_sleep_seconds_when_no_work_min": "0.2",
			"background_move_processing_pool_task_sleep_seconds_when_no_work_max": "1",
		},
		MergeTree: map[string]string{
			"merge_with_ttl_timeout":               "1",
			"merge_with_recompression_ttl_timeout": "1",
		},
	}
}

// Start starts a server for this test alone and stops it at the end of the test, which fails when the server has
// ended by itself. Without a Dir in the configuration the test's temporary folder is used.
//
// A test that has stopped or killed its server starts it again, with the same data and at the same addresses, by
// Start(t, server.Config()).
func Start(t testing.TB, config chserver.Config) *chserver.Server {
	t.Helper()
	Require(t)
	if config.Dir == "" {
		config.Dir = t.TempDir()
	}
	server, err := chserver.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the end of ClickHouse's log:\n%s", server.Log())
		}
	})
	return server
}

// Require skips the test, or fails it in CI, when ClickHouse is not installed. On a platform that has no engine
// it is always skipped. Open and Start call it; so does a test of a program that starts its own server.
func Require(t testing.TB) {
	t.Helper()
	_, err := chserver.Find()
	switch {
	case err == nil:
	case errors.Is(err, chserver.ErrUnsupported):
		t.Skipf("SKIPPED, this test needs ClickHouse: %v", err)
	case errors.Is(err, chserver.ErrNotInstalled) && os.Getenv("CI") != "true":
		t.Skipf("SKIPPED, this test needs ClickHouse: %v", err)
	default:
		t.Fatalf("this test needs ClickHouse: %v", err)
	}
}
