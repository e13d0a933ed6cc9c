package chserver

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync/atomic"
	"syscall"
)

// hostEnv is set in a process that Main turns into a ClickHouse server, and names the library.
const hostEnv = "MARKETPRISM_CHSERVER_HOST"

// Main must be the first call of main or TestMain in a program that calls Start. Start runs the program a second
// time; in that process Main runs the ClickHouse server and never returns. In the program itself it returns
// at once.
func Main() {
	library, isHost := os.LookupEnv(hostEnv)
	if !isHost {
		return
	}
	// Not os.Exit: the race detector's runtime sleeps a second there, and ClickHouse has already
	// shut down cleanly when serve returns.
	syscall.Exit(serve(library, os.Args))
}

// A Server is a ClickHouse server that runs as a child process. Start makes one. It is safe for concurrent use.
type Server struct {
	config   Config // with folder, engine and ports filled in
	tempDir  bool
	cmd      *exec.Cmd
	terminal *os.File // the near end of the server's standard input

	crashed atomic.Bool   // Crash ended the process
	exited  chan struct{} // closed when the process is gone
	exitErr error         // how it ended; read after exited is closed
}

// Addr is host:port of the native protocol, for this host.
func (s *Server) Addr() string { return s.addr(s.config.TCPPort) }

// HTTPAddr is host:port of the HTTP protocol, "" without one.
func (s *Server) HTTPAddr() string {
	if s.config.HTTPPort == 0 {
		return ""
	}
	return s.addr(s.config.HTTPPort)
}

// addr returns the address of a port for this host: a loopback one where the server listens at all.
func (s *Server) addr(port int) string {
	host := s.config.Host
	if ip := net.ParseIP(host); ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return address(host, port)
}

// DSN is the address of the native protocol with the user and the password of this program. Keep it from arguments,
// variables and logs.
func (s *Server) DSN() string {
	return "clickhouse://" + User + ":" + s.config.Password + "@" + s.Addr()
}

// Dir is the folder with the server's data and log.
func (s *Server) Dir() string { return s.config.Dir }

// Pid is the process id.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Config is the server's configuration with its folder, engine and ports filled in: once the
// server is gone, Start(ctx, s.Config()) starts it again with the same data and at the same addresses.
func (s *Server) Config() Config { return s.config }

// Exited returns a channel that is closed when the server process has ended, for whatever reason.
func (s *Server) Exited() <-chan struct{} { return s.exited }

// Log returns the last lines of the server's log, at most 32 KiB.
func (s *Server) Log() string { return logTail(s.config.Dir) }

// Close shuts the server down cleanly and waits for its end; then it removes the folder if that is a
// temporary one. After Config.CloseTimeout it kills the server. Close the clients first: for one that is still
// connected the server waits about five seconds.
//
// The error wraps context.DeadlineExceeded if the server was killed, or is an *ExitError if the server had ended by
// itself or fails while it shuts down. Close after Crash or a second Close returns nil.
func (s *Server) Close() error {
	ctx := context.Background()
	if timeout := s.config.CloseTimeout; timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	s.terminal.Close()
	select {
	case <-s.exited:
	case <-ctx.Done():
	}
	var closeErr error
	switch {
	case !s.hasExited():
		closeErr = fmt.Errorf("chserver: killed ClickHouse in %s, which did not shut down in time: %w", s.config.Dir, ctx.Err())
		s.Crash()
	case s.exitErr != nil && !s.crashed.Load():
		closeErr = &ExitError{Dir: s.config.Dir, Err: s.exitErr, Log: s.Log()}
	}
	if s.tempDir {
		if err := os.RemoveAll(s.config.Dir); err != nil && closeErr == nil {
			closeErr = fmt.Errorf("chserver: removing the server's folder: %w", err)
		}
	}
	return closeErr
}

// Crash ends the server by SIGKILL, as a crash does, and waits for its end. The folder stays, even a temporary
// one, until Close is called.
func (s *Server) Crash() {
	s.crashed.Store(true)
	// An error means that the process has ended already.
	_ = s.cmd.Process.Kill()
	<-s.exited
	s.terminal.Close()
}

// hasExited reports whether the process has ended; exitErr is valid then.
func (s *Server) hasExited() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

// reap waits for the end of the process and publishes its result.
func (s *Server) reap() {
	s.exitErr = s.cmd.Wait()
	close(s.exited)
}

func address(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

func logPath(dir string) string { return filepath.Join(dir, "server.log") }

// logTailBytes bounds what logTail reads.
const logTailBytes = 32 << 10

// stackFrame matches the lines of a stack trace. The library has no symbols, so they carry no information.
var stackFrame = regexp.MustCompile(`(?m)^\d+\. .* @ 0x[0-9a-f]+\n`)

// logTail returns the last whole lines of the log in a server's folder, or the reason why it cannot be read.
func logTail(dir string) string {
	tail, err := readTail(logPath(dir), logTailBytes)
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	return string(bytes.TrimSpace(stackFrame.ReplaceAll(tail, nil)))
}

// readTail reads the last limit bytes of a file, from the first line that begins within them.
func readTail(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path) // #nosec G304 -- the folder is a setting
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	start := max(0, info.Size()-limit)
	tail, err := io.ReadAll(io.NewSectionReader(file, start, limit))
	if err != nil {
		return nil, err
	}
	if start > 0 {
		if _, rest, found := bytes.Cut(tail, []byte("\n")); found {
			tail = rest
		}
	}
	return tail, nil
}
