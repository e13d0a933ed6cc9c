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

// lockDir takes the lock of a server's folder and waits so long for it. The server process inherits the open
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
