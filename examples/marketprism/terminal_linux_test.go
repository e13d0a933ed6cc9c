package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/natsbus"
)

// onTerminal runs a command with a terminal as standard output and error and with more settings in its environment, and
// returns its output.
func onTerminal(t *testing.T, environ []string, args ...string) string {
	t.Helper()
	near, far, err := pty.Open()
	require.NoError(t, err)
	defer near.Close()
	drawn := &output{}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(drawn, near) // ends with an error when the far end is closed
	}()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, args...)
	cmd.Env = append(append(os.Environ(), commandEnv+"=1"), environ...)
	cmd.Stdout, cmd.Stderr = far, far
	err = cmd.Run()
	require.NoError(t, far.Close())
	<-copied
	require.NoError(t, err, "%q: %s", args, drawn)
	return drawn.String()
}

// On a terminal the status is one changing line, and long work has a bar with an estimate; piped output has lines.
func TestTerminal(t *testing.T) {
	short.Skip(t)
	chtest.Require(t)
	data := t.TempDir()
	run := []string{"run", "--for", "3s", "--data", data, "--page-listen", "", "--health-listen", ""}
	const inPlace = "\r\x1b[K"

	drawn := onTerminal(t, nil, run...)
	require.Contains(t, drawn, inPlace)
	require.Contains(t, drawn, "5 of 5 books synced")
	require.Contains(t, drawn, "verified: each of 5 books")
	require.Contains(t, drawn, "next: marketprism check --data "+data)
	require.Regexp(t, `dlq 0`, drawn)
	require.Regexp(t, `weight \d+/6000`, drawn)

	require.Regexp(t, `checking +\d+% .*\[\ds:\d+s\]`, onTerminal(t, nil, "check", "--data", data), "a bar with an estimate")
	require.Regexp(t, `replaying +\d+% `, onTerminal(t, nil, "replay", "--data", data, "--from", "-5m"))

	self, err := os.Executable()
	require.NoError(t, err)
	again := t.TempDir() // the exchange's ids went on while nothing was collected into data
	for _, args := range [][]string{append(run, "--for", "6s", "--data", again), {"check", "--data", again}} {
		cmd := exec.Command(self, args...)
		cmd.Env = append(os.Environ(), commandEnv+"=1")
		piped, err := cmd.CombinedOutput()
		require.NoError(t, err, "%q: %s", args, piped)
		require.NotContains(t, string(piped), "\x1b", args)
		require.NotContains(t, string(piped), "checking", args)
		if args[0] == "run" {
			require.Regexp(t, regexp.MustCompile(`(?m)^ +5s  SIMULATED  5 of 5 books synced`), string(piped))
			require.Equal(t, 5, strings.Count(string(piped), "equal at update id"))
			require.Contains(t, string(piped), "\n5 of the gaps mark the end of the run, one a book\n")
			for line := range strings.Lines(string(piped)) {
				require.False(t, strings.HasPrefix(line, "{") || strings.HasPrefix(line, "warning: ") && !strings.Contains(line, "runs as root"), line)
			}
		}
	}
}

// On a terminal run goes on until Enter, and its page is at a free port if the usual one is taken.
func TestTerminalEnter(t *testing.T) {
	short.Skip(t)
	chtest.Require(t)
	t.Setenv("CLICKHOUSE_DSN", "")
	if listener, err := net.Listen("tcp", "127.0.0.1:8480"); err == nil { // else another program has it
		defer listener.Close()
	}
	near, far, err := pty.Open()
	require.NoError(t, err)
	defer near.Close()
	drawn := &output{}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(drawn, near) // ends with an error when the far end is closed
	}()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "run", "--symbols", "BTCUSDT")
	cmd.Env = append(os.Environ(), commandEnv+"=1", "TMPDIR="+t.TempDir())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = far, far, far
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it has ended unless the test failed
	w := &world{T: t}
	w.eventually(func() bool { return strings.Contains(drawn.String(), "SIMULATED  1 of 1 books synced") }, "%s", drawn)
	_, err = near.WriteString("\n")
	require.NoError(t, err)
	require.NoError(t, cmd.Wait(), "%s", drawn)
	require.NoError(t, far.Close())
	<-copied
	require.Contains(t, drawn.String(), "Enter ends this in order, and so does Ctrl-C")
	require.Regexp(t, `live page: http://127\.0\.0\.1:\d+/ \(port 8480 is taken\)`, drawn.String())
	require.Contains(t, drawn.String(), "verified: each of 1 books")
	require.NotContains(t, drawn.String(), `{"time"`)
}

// The bar of a re-drive counts letters, and has an estimate.
func TestTerminalRedrive(t *testing.T) {
	short.Skip(t)
	w := newWorld(t)
	archiver := w.start("archive", "--redrive=false")
	for i := range 15 {
		_, err := w.bus.JS.Publish(t.Context(), natsbus.Subject("", instrument(symbol), marketprism.KindUpdate), fmt.Appendf(nil, "no record %d", i))
		require.NoError(t, err)
	}
	w.eventually(func() bool { return strings.Contains(archiver.output.String(), "dlq 15") }, "%s", archiver.output)
	require.Equal(t, 0, archiver.end(syscall.SIGTERM), "so that none fails again meanwhile: %s", archiver.output)

	drawn := onTerminal(t, w.secrets, append(w.settings, "dlq", "redrive", "--rate", "20")...)
	require.Regexp(t, `re-driving +\d+% .*\(\d+/15[^)]*\) \[\ds:\d+s\]`, drawn)
	require.Contains(t, drawn, "15 letters put back")
}
