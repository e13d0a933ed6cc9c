package chserver

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
)

// Server is a ClickHouse server that runs as a child process. Start makes one. Its methods may be called
// from several goroutines at once.
type Server struct {
	config   Config // with folder, engine and ports filled in
	tempDir  bool
	cmd      *exec.Cmd
	terminal *os.File // the near end of the server's standard input

	killed  atomic.Bool   // the process ends because Kill says so
	exited  chan struct{} // closed when the process is gone
	exitErr error         // how it ended; read after exited is closed
}

// Addr is host:port of the native protocol.
func (s *Server) Addr() string { return loopback(s.config.TCPPort) }

// HTTPAddr is host:port of the HTTP protocol.
func (s *Server) HTTPAddr() string { return loopback(s.config.HTTPPort) }

// Dir is the folder with the server's data and log.
func (s *Server) Dir() string { return s.config.Dir }

// Pid is the process id.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Config is the server's configuration with its folder, engine and ports filled in: once the
// server is gone, Start(ctx, s.Config()) starts it again with the same data and at the same addresses.
func (s *Server) Config() Config { return s.config }

// Exited is closed when the server process has ended, for whatever reason.
func (s *Server) Exited() <-chan struct{} { return s.exited }

// Log returns the last lines of the server's log, at most 32 KiB.
func (s *Server) Log() string { return logTail(s.config.Dir) }

// Stop shuts the server down cleanly and waits for its end; then it removes the folder if that is a
// temporary one. When ctx ends first, the server is killed. Close the clients first: for one that is still
// connected the server waits about five seconds.
//
// The error is ctx's, or an *ExitError when the server had ended by itself or fails while it shuts down. Stop
// after Kill or a second Stop returns nil.
func (s *Server) Stop(ctx context.Context) error {
	var stopErr error
	s.terminal.Close()
	select {
	case <-s.exited:
		if s.exitErr != nil && !s.killed.Load() {
			stopErr = &ExitError{Dir: s.config.Dir, Err: s.exitErr, Log: s.Log()}
		}
	case <-ctx.Done():
		stopErr = fmt.Errorf("chserver: killed ClickHouse in %s, which did not shut down in time: %w", s.config.Dir, ctx.Err())
		s.Kill()
	}
	if s.tempDir {
		if err := os.RemoveAll(s.config.Dir); err != nil && stopErr == nil {
			stopErr = fmt.Errorf("chserver: removing the server's folder: %w", err)
		}
	}
	return stopErr
}

// Kill ends the server as a crash does, by SIGKILL, and waits for its end. The folder stays, even a temporary
// one, until Stop is called.
func (s *Server) Kill() {
	s.killed.Store(true)
	// An error means that the process is gone already, which is what is wanted.
	_ = s.cmd.Process.Kill()
	<-s.exited
	s.terminal.Close()
}

// reap waits for the end of the process and makes it known.
func (s *Server) reap() {
	s.exitErr = s.cmd.Wait()
	close(s.exited)
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func logPath(dir string) string { return filepath.Join(dir, "server.log") }
