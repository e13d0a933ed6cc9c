package monitoring

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tool returns the path of a program of the monitoring chain. Without it the test skips, or under
// make monitoring-check, which sets MONITORING=1, fails.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("MONITORING") != "" {
		t.Fatalf("%s is not installed: apt-get install prometheus prometheus-alertmanager systemd", name)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// slow skips what takes longer than a unit test may, unless make monitoring-check asks for it.
func slow(t *testing.T) {
	t.Helper()
	if os.Getenv("MONITORING") == "" {
		t.Skip("it takes minutes: make monitoring-check runs it")
	}
}

// run runs a program and returns what it printed, and whether it ended well.
func run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return string(out), err
}

func mustRun(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := run(t, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return out
}
