package chtest

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/marketprism/marketprism/internal/chserver"
)

// closeTimeout bounds how long a server may take to shut down when its tests are done.
const closeTimeout = 30 * time.Second

// shared is the server that the tests of this binary share. It outlives every single test and TestMain has nothing
// to pass on to them, so it is a variable of the package.
var shared struct {
	sync.Mutex
	server *chserver.Server // nil until the first test needs it
	main   bool             // Main was called, before any test
}

// Main runs the tests of a package and then closes the server they share. TestMain must do nothing else: Main
// also turns the test binary into the server when that is started. It does not return.
func Main(m interface{ Run() int }) {
	chserver.Main()
	shared.main = true
	code := m.Run()
	if err := closeShared(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// sharedServer returns the shared server and starts it when it is the first to ask.
func sharedServer(t testing.TB) *chserver.Server {
	t.Helper()
	Require(t)
	shared.Lock()
	defer shared.Unlock()
	requireMain(t)
	if shared.server == nil {
		server, err := chserver.Start(t.Context(), Config())
		if err != nil {
			t.Fatal(err)
		}
		shared.server = server
	}
	select {
	case <-shared.server.Exited():
		t.Fatalf("chtest: the shared ClickHouse has ended; the end of its log:\n%s", shared.server.Log())
	default:
	}
	return shared.server
}

// requireMain fails the test at once where the child process of a server would run the tests again.
func requireMain(t testing.TB) {
	t.Helper()
	if !shared.main {
		t.Fatal("chtest: ClickHouse is this test program, started a second time. It needs: func TestMain(m *testing.M) { chtest.Main(m) }")
	}
}

func closeShared() error {
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		return nil
	}
	return shared.server.Close()
}

// Config returns the configuration of the shared server, which a test can change and pass to Start. TTLs act within a
// few seconds instead of hours, because the background tasks look for work every second.
func Config() chserver.Config {
	return chserver.Config{
		CloseTimeout: closeTimeout,
		LogLevel:     "error", // a test that fails shows the log, in which a loaded machine repeats one warning
		Grants:       []string{"SYSTEM ON *.*", "REMOTE ON *.*", "TABLE ENGINE ON *"},
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

// Start starts a server for this test alone and closes it at the end of the test, which fails when the server has
// ended by itself. Without a Dir in the configuration the test's temporary folder is used.
//
// After Close or Crash, Start(t, server.Config()) starts the server again, with the same data and at the same
// addresses.
func Start(t testing.TB, config chserver.Config) *chserver.Server {
	t.Helper()
	Require(t)
	requireMain(t)
	if config.Dir == "" {
		config.Dir = t.TempDir()
	}
	if config.CloseTimeout == 0 {
		config.CloseTimeout = closeTimeout
	}
	server, err := chserver.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
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
