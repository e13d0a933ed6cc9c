package chserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// startTimeout bounds how long Start waits for the server to listen. On an idle machine with little data that
// takes a fifth of a second.
const startTimeout = time.Minute

// lockFD is the descriptor of the server process for the open lock file, which it neither reads nor writes.
const lockFD = 4

// Start starts a ClickHouse server and returns when it listens. Main must have been called first in this program.
//
// When ctx ends while the server starts, it is killed, and no process is left when Start returns. Later
// ctx has no effect; the caller must call Close.
//
// Errors: those of Find; ErrDirInUse when another server holds Config.Dir and does not leave it within ten
// seconds; an *ExitError with the end of the log when the server does not come up; ctx's; ErrIsHost
// where the call of Main is missing.
func Start(ctx context.Context, config Config) (*Server, error) {
	if _, isHost := os.LookupEnv(hostEnv); isHost {
		return nil, ErrIsHost
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	if config.Engine == (Engine{}) {
		if config.Engine, err = Find(); err != nil {
			return nil, err
		}
	}
	tempDir := config.Dir == ""
	if config.Dir, err = makeDir(config.Dir); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s, err := start(ctx, config, dirLockWait)
	if err != nil {
		if tempDir {
			os.RemoveAll(config.Dir)
		}
		return nil, err
	}
	s.tempDir = tempDir
	return s, nil
}

// start launches the server and waits until it listens. It waits at most lockWait for the folder.
func start(ctx context.Context, config Config, lockWait time.Duration) (*Server, error) {
	lock, err := lockDir(ctx, config.Dir, lockWait)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := checkFree(ctx, config.Host, config.TCPPort, config.HTTPPort); err != nil {
		return nil, err
	}
	if err := prepareDir(config); err != nil {
		return nil, err
	}
	s, ready, err := launch(config, lock)
	if err != nil {
		return nil, err
	}
	defer ready.Close()

	// Reading ends with the ports, or because the process is gone: by itself, or killed for ctx.
	stopWatching := context.AfterFunc(ctx, s.Crash)
	line, _ := bufio.NewReader(ready).ReadString('\n')
	_, err = fmt.Sscan(line, &s.config.TCPPort, &s.config.HTTPPort)
	if err == nil && stopWatching() {
		return s, nil
	}
	s.terminal.Close()
	<-s.exited // ctx is still watched, so this ends
	stopWatching()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("chserver: ClickHouse in %s does not listen yet: %w; the end of its log:\n%s", config.Dir, ctx.Err(), s.Log())
	}
	return nil, &ExitError{Dir: config.Dir, Err: s.exitErr, Log: s.Log()}
}

// launch starts the server process. It writes its ports to the pipe that is the second result.
func launch(config Config, lock *os.File) (*Server, *os.File, error) {
	log, err := os.OpenFile(logPath(config.Dir), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("chserver: %w", err)
	}
	defer log.Close()
	ready, readyFar, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("chserver: %w", err)
	}
	defer readyFar.Close()
	terminal, terminalFar, err := pty.Open()
	if err != nil {
		ready.Close()
		return nil, nil, err
	}
	defer terminalFar.Close()

	// This program, also when its file has been replaced or removed.
	cmd := exec.Command("/proc/self/exe", arguments(config)...) // #nosec G204 -- this program itself
	cmd.Args[0] = "clickhouse"
	cmd.Dir = config.Dir
	// Nothing else of this program's environment: ClickHouse reads variables and files of the home folder.
	cmd.Env = []string{hostEnv + "=" + config.Engine.Library, "HOME=" + config.Dir, "TZ=" + config.Timezone}
	cmd.Stdin = terminalFar
	cmd.Stdout, cmd.Stderr = log, log // a file: unlike a pipe it accepts output after the parent has ended
	cmd.ExtraFiles = []*os.File{readyFD - 3: readyFar, lockFD - 3: lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a Ctrl-C meant for this program must not reach the server
	if err := cmd.Start(); err != nil {
		ready.Close()
		terminal.Close()
		return nil, nil, fmt.Errorf("chserver: starting the server process: %w", err)
	}
	s := &Server{config: config, cmd: cmd, terminal: terminal, exited: make(chan struct{})}
	go s.reap()
	return s, ready, nil
}

// arguments returns the command line that makes clickhouse-local a server. It is interactive, with a
// terminal as its input, for two reasons: it runs until the terminal is hung up; and in the other mode a
// client that resets its connection brings the whole process down (ClickHouse issue 115666).
func arguments(config Config) []string {
	return []string{
		"--config-file=" + filepath.Join(config.Dir, "config.xml"),
		"--path=" + filepath.Join(config.Dir, "data"),
		"--listen_host=" + config.Host,
		fmt.Sprintf("--tcp_port=%d", config.TCPPort),
		fmt.Sprintf("--http_port=%d", max(0, config.HTTPPort)),
		"--log-level=" + config.LogLevel, // the level in the configuration file has no effect
		"--interactive",
		"--disable_suggestion",
		"--history_file=" + filepath.Join(config.Dir, "history"),
		"--query=" + strings.Join(config.statements(), "; "),
	}
}

// checkFree returns an error when one of the configured ports is taken. The server would only log that
// and run without listening.
func checkFree(ctx context.Context, host string, ports ...int) error {
	for _, port := range ports {
		if port <= 0 {
			continue
		}
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address(host, port))
		if err != nil {
			return fmt.Errorf("chserver: the server's port: %w", err)
		}
		listener.Close()
	}
	return nil
}

// dirLockWait is how long Start waits for an earlier server to leave the folder: one whose parent was
// killed needs a moment to shut down.
const dirLockWait = 10 * time.Second

// lockDir takes the lock of a server's folder; it waits for it at most wait. The server process inherits the open
// file, and the kernel releases the lock when the last process that has the file open ends, in whatever way.
// The error is ErrDirInUse or ctx's.
func lockDir(ctx context.Context, dir string, wait time.Duration) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600) // #nosec G304 -- the folder is a setting
	if err != nil {
		return nil, fmt.Errorf("chserver: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, wait, fmt.Errorf("%w: %s", ErrDirInUse, dir))
	defer cancel()
	retry := time.NewTicker(5 * time.Millisecond)
	defer retry.Stop()
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return file, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			file.Close()
			return nil, fmt.Errorf("chserver: locking %s: %w", file.Name(), err)
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, context.Cause(ctx)
		case <-retry.C:
		}
	}
}

// makeDir creates the server's folder, makes it private, and returns its absolute path.
func makeDir(dir string) (string, error) {
	var err error
	if dir == "" {
		dir, err = os.MkdirTemp("", "clickhouse-")
	} else if dir, err = filepath.Abs(dir); err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = os.Chmod(dir, 0o700) // #nosec G302 -- a folder, which an earlier version may have made
	}
	if err != nil {
		return "", fmt.Errorf("chserver: the server's folder: %w", err)
	}
	return dir, nil
}

// prepareDir writes the configuration. It also removes the files of an earlier server's database
// "system": that database is in memory, so after a restart its log tables are unknown, and their files would
// make creating them again fail.
func prepareDir(config Config) error {
	xml, err := config.xml()
	if err != nil {
		return err
	}
	users, err := config.users()
	if err != nil {
		return err
	}
	return errors.Join(
		os.RemoveAll(filepath.Join(config.Dir, "data", "data", "system")),
		os.MkdirAll(filepath.Join(config.Dir, "cold"), 0o700),
		os.WriteFile(filepath.Join(config.Dir, "config.xml"), xml, 0o600),
		os.WriteFile(filepath.Join(config.Dir, "users.xml"), users, 0o600),
	)
}
