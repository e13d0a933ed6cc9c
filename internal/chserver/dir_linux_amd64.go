package chserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// dirLockWait is how long Start waits for an earlier server to leave the folder: one whose parent was
// killed needs a moment to shut down.
const dirLockWait = 10 * time.Second

// lockDir takes the lock of a server's folder, for which it waits at most wait. The server process inherits the open
// file, and the kernel releases the lock with the last process that has it open: however that ends, the
// folder is free then and not earlier. The error is ErrDirInUse or ctx's.
func lockDir(ctx context.Context, dir string, wait time.Duration) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
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

// makeDir creates the server's folder and returns its absolute path.
func makeDir(dir string) (string, error) {
	var err error
	if dir == "" {
		dir, err = os.MkdirTemp("", "clickhouse-")
	} else if dir, err = filepath.Abs(dir); err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return "", fmt.Errorf("chserver: the server's folder: %w", err)
	}
	return dir, nil
}

// prepareDir writes the configuration. It also removes what an earlier server has left of its database
// "system": that lives in memory, so its logs' tables are unknown after a restart, and their remains on
// disk make creating them again fail.
func prepareDir(config Config) error {
	xml, err := config.xml()
	if err != nil {
		return err
	}
	return errors.Join(
		os.RemoveAll(filepath.Join(config.Dir, "data", "data", "system")),
		os.MkdirAll(filepath.Join(config.Dir, "cold"), 0o755),
		os.WriteFile(filepath.Join(config.Dir, "config.xml"), xml, 0o644),
	)
}
