package main

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/short"
)

// A moment is one at which a test interrupts a program: it has printed a text, and some more time has passed.
type moment struct {
	printed string
	after   time.Duration
}

// An interruption is a command in a process of its own with a folder for temporary files of its own.
type interruption struct {
	*process
	temporary string
}

func (w *world) begin(args ...string) interruption {
	w.Helper()
	i := interruption{temporary: w.TempDir()}
	w.secrets = append(slices.Clone(w.secrets), "TMPDIR="+i.temporary)
	i.process = w.start(args...)
	w.secrets = w.secrets[:len(w.secrets)-1]
	return i
}

// requireEnd wants an end in order, or before the work was done, in one plain line, and nothing left behind.
func (i interruption) requireEnd(t *testing.T, before string) {
	t.Helper()
	begin := time.Now()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = i.Wait() // the exit code reports it
	}()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatalf("it has not ended: %s", i.output)
	}
	t.Logf("%v after the interrupt", time.Since(begin).Round(time.Millisecond))
	said := i.output.String()
	code := i.ProcessState.ExitCode()
	status, _ := i.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() { // before main began
		require.Equal(t, syscall.SIGINT, status.Signal(), said)
		require.Empty(t, said)
		return
	}
	require.Contains(t, []int{0, 130}, code, said)
	lines := strings.Split(strings.TrimSuffix(strings.TrimPrefix(said, before), "\n"), "\n")
	last := lines[len(lines)-1]
	require.Contains(t, last, "interrupted", said)
	require.Equal(t, code == 130, strings.HasPrefix(last, "marketprism: interrupted"), "%d: %s", code, said)
	for _, noise := range []string{"context canceled", "chserver:", "goroutine ", "panic", "kind  "} {
		require.NotContains(t, said, noise)
	}
	i.requireNothingLeft(t)
}

func (i interruption) requireNothingLeft(t *testing.T) {
	t.Helper()
	left, err := os.ReadDir(i.temporary)
	require.NoError(t, err)
	require.Empty(t, left)
}

// Ctrl-C ends run in order at any moment, and so does a closed output.
func TestInterruptRun(t *testing.T) {
	short.Skip(t)
	chtest.Require(t)
	t.Setenv("CLICKHOUSE_DSN", "") // the servers are embedded
	w := &world{T: t}
	run := []string{"run", "--for", "0", "--page-listen", "127.0.0.1:0", "--log-level", "error"}
	for _, m := range []moment{
		{}, {"", 20 * time.Millisecond}, {"live page", 0}, {"live page", 200 * time.Millisecond}, {"live page", 500 * time.Millisecond},
		{"embedded NATS", 0}, {"health: ", 0}, {"health: ", 100 * time.Millisecond}, {"books synced", 0},
	} {
		i := w.begin(run...)
		w.eventually(func() bool { return strings.Contains(i.output.String(), m.printed) }, "%s", i.output)
		<-time.After(m.after)
		before := i.output.String()
		require.NoError(t, i.Process.Signal(os.Interrupt))
		i.requireEnd(t, before)
	}

	// run | head -1
	i := interruption{temporary: t.TempDir()}
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, run...)
	cmd.Env = append(os.Environ(), commandEnv+"=1", "TMPDIR="+i.temporary)
	said := &output{}
	cmd.Stderr = said
	pipe, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(pipe).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "live page")
	require.NoError(t, pipe.Close())
	_ = cmd.Wait() // the exit code reports it
	require.Contains(t, []int{0, 130}, cmd.ProcessState.ExitCode(), said)
	require.LessOrEqual(t, strings.Count(said.String(), "\n"), 1, said)
	i.requireNothingLeft(t)
}

// Ctrl-C ends the other roles in order at any moment; a second one ends them at once.
func TestInterruptRoles(t *testing.T) {
	short.Skip(t)
	w := newWorld(t)
	for _, role := range []string{"collect", "archive"} {
		for _, m := range []moment{{}, {"", 20 * time.Millisecond}, {"", 100 * time.Millisecond}, {"health: ", 0}, {"health: ", 50 * time.Millisecond}} {
			i := w.begin(role, "--log-level", "warn")
			w.eventually(func() bool { return strings.Contains(i.output.String(), m.printed) }, "%s", i.output)
			<-time.After(m.after)
			before := i.output.String()
			require.NoError(t, i.Process.Signal(os.Interrupt))
			i.requireEnd(t, before)
		}
	}

	// Without a bus the end takes until --drain.
	i := w.begin("collect", "--drain", "1h", "--log-level", "error", "--data", "")
	w.eventually(func() bool { return w.ready(i.process) }, "%s", i.output)
	_ = w.server.Close()
	require.NoError(t, w.exchange.Walk())
	w.eventually(func() bool { return w.exchange.Walk() == nil && strings.Contains(i.output.String(), "bus away") }, "%s", i.output)
	require.NoError(t, i.Process.Signal(os.Interrupt))
	w.eventually(func() bool { return strings.Contains(i.output.String(), "a second Ctrl-C ends it at once") }, "%s", i.output)
	require.Equal(t, 130, i.end(os.Interrupt), i.output)
	require.Contains(t, i.output.String(), "ended at once by a second interrupt")
	i.requireNothingLeft(t)
}

// make run says what it fetches and compiles before it waits for it, and begins with both at once.
func TestMakeRun(t *testing.T) {
	root := t.TempDir()
	makefile, err := os.ReadFile("../../Makefile")
	require.NoError(t, err)
	write := func(name, text string) {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o755))
	}
	write("Makefile", string(makefile))
	require.NoError(t, syscall.Mkfifo(filepath.Join(root, "both"), 0o600)) // each end opens only when the other one does
	write("internal/chserver/engine/install.sh", "#!/bin/sh\necho engine: about 180 MB >&2\n: > both\n")
	write("programs/go", "#!/bin/sh\n: < both\nmkdir -p bin\nprintf '#!/bin/sh\\necho ran \"$@\"\\n' > bin/marketprism\nchmod +x bin/marketprism\n")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "make", "run", "ARGS=--for 1s")
	cmd.Dir = root
	cmd.Env = []string{"PATH=" + filepath.Join(root, "programs") + ":" + os.Getenv("PATH")}
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", said)
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	require.Len(t, lines, 3, "%s", said)
	slices.Sort(lines[:2])
	require.Equal(t, "engine: about 180 MB", lines[0])
	require.Contains(t, lines[1], "compiling bin/marketprism, a minute the first time")
	require.Equal(t, "ran run --for 1s", lines[2])
}
