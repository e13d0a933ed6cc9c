//go:build linux && amd64

package chserver

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFailureShowsTheLog(t *testing.T) {
	requireEngine(t)
	dir := t.TempDir()
	_, err := Start(t.Context(), Config{Dir: dir, Timezone: "Nowhere/City"})
	var exit *ExitError
	require.ErrorAs(t, err, &exit)
	require.ErrorContains(t, err, "Cannot load time zone Nowhere/City")
	require.Empty(t, processesIn(t, dir))
}

func TestBrokenLibrary(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "libchdb.so")
	require.NoError(t, os.WriteFile(broken, []byte("not a library"), 0o644))
	_, err := Start(t.Context(), Config{Engine: Engine{Library: broken}})
	require.ErrorContains(t, err, "exit status 1")
	require.ErrorContains(t, err, "cannot open the ClickHouse engine: "+broken)
}

func TestPortTaken(t *testing.T) {
	requireEngine(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	_, err = Start(t.Context(), Config{HTTPPort: listener.Addr().(*net.TCPAddr).Port})
	require.ErrorContains(t, err, "address already in use")
}

func TestDirInUse(t *testing.T) {
	s := startServer(t, Config{})
	_, err := start(t.Context(), mustDefaults(t, s.Config()), 0)
	require.ErrorIs(t, err, ErrDirInUse)
	require.ErrorContains(t, err, s.Dir())
	require.Equal(t, "1", query(t, s, "SELECT 1"), "the first server is not disturbed")
}

func TestStartInHostIsRefused(t *testing.T) {
	t.Setenv(hostEnv, "library")
	_, err := Start(t.Context(), Config{})
	require.ErrorIs(t, err, ErrIsHost)
}

// A context that ends at any moment of the start leaves no process and a folder that can be used at once.
func TestCancelDuringStartLeavesNoProcess(t *testing.T) {
	requireEngine(t)
	dir := t.TempDir()
	cancelled := 0
	for _, after := range []time.Duration{0, time.Millisecond, 10 * time.Millisecond, 40 * time.Millisecond, 80 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		s, err := Start(ctx, Config{Dir: dir})
		cancel()
		if err == nil { // the machine was quicker
			require.NoError(t, s.Close())
			continue
		}
		cancelled++
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Empty(t, processesIn(t, dir))
	}
	require.Positive(t, cancelled)
	startServer(t, Config{Dir: dir})
}

func TestCancelRemovesTheTemporaryFolder(t *testing.T) {
	requireEngine(t)
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := Start(ctx, Config{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	entries, err := os.ReadDir(os.Getenv("TMPDIR"))
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestCloseKillsAfterItsTimeout(t *testing.T) {
	requireEngine(t)
	s, err := Start(t.Context(), Config{Dir: t.TempDir(), CloseTimeout: time.Nanosecond})
	require.NoError(t, err)
	// The server waits some seconds for a client that is still connected.
	conn, err := net.Dial("tcp", s.Addr())
	require.NoError(t, err)
	defer conn.Close()
	require.ErrorIs(t, s.Close(), context.DeadlineExceeded)
	require.False(t, processExists(s.Pid()))
	require.NoError(t, s.Close())
}

func mustDefaults(t *testing.T, c Config) Config {
	t.Helper()
	c, err := c.withDefaults()
	require.NoError(t, err)
	return c
}

// processesIn returns the command lines of all processes that name dir.
func processesIn(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	var found []string
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(line), dir) { // an error means it has just ended
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}
