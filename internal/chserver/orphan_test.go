//go:build linux && amd64

package chserver

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The roles of the test binary as a program that starts a server.
const (
	roleRunning = "running" // its server runs; it waits to be killed
	roleLaunch  = "launch"  // it dies the moment it has launched its server
)

const dirEnv = "CHSERVER_TEST_DIR"

// playParent is the whole program of a role. It never returns.
func playParent(role string) {
	config, err := Config{Dir: os.Getenv(dirEnv)}.withDefaults()
	if err == nil {
		config.Engine, err = Find()
	}
	switch {
	case err != nil:
	case role == roleLaunch:
		err = launchAndDie(config)
	default:
		var s *Server
		if s, err = Start(context.Background(), config); err == nil {
			fmt.Println(s.Pid())
			<-s.Exited()
		}
	}
	fmt.Println("error:", err)
	os.Exit(1)
}

func launchAndDie(config Config) error {
	lock, err := lockDir(context.Background(), config.Dir, dirLockWait)
	if err != nil {
		return err
	}
	if err := prepareDir(config); err != nil {
		return err
	}
	s, _, err := launch(config, lock)
	if err != nil {
		return err
	}
	fmt.Println(s.Pid())
	return syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

// startParent runs the test binary in a role and returns its process and the pid of the server it has started.
func startParent(t *testing.T, role, dir string) (parent *exec.Cmd, server string) {
	t.Helper()
	requireEngine(t)
	parent = exec.Command("/proc/self/exe")
	parent.Env = append(os.Environ(), roleEnv+"="+role, dirEnv+"="+dir)
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	t.Cleanup(func() {
		_ = parent.Process.Kill() // it may be dead already
		_ = parent.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.NotContains(t, line, "error")
	return parent, strings.TrimSpace(line)
}

// The server holds the lock of its folder until it has ended, so a second server can start there only after that.
// Nothing killed the first one, so it shut down by itself.
func TestNoOrphanWhenTheParentIsKilled(t *testing.T) {
	dir := t.TempDir()
	parent, _ := startParent(t, roleRunning, dir)
	require.Len(t, processesIn(t, dir), 1)
	require.NoError(t, parent.Process.Kill())

	s := startServer(t, Config{Dir: dir})
	processes := processesIn(t, dir)
	require.Len(t, processes, 1, "%q", processes)
	require.Equal(t, "1", query(t, s, "SELECT 1"))
}

func TestNoOrphanWhenTheParentDiesDuringStart(t *testing.T) {
	dir := t.TempDir()
	startParent(t, roleLaunch, dir)
	lock, err := lockDir(t.Context(), dir, time.Minute)
	require.NoError(t, err)
	require.NoError(t, lock.Close())
	require.Empty(t, processesIn(t, dir))
}

// processExists reports whether a process runs under this id.
func processExists(pid int) bool { return syscall.Kill(pid, 0) == nil }
