// Package pty opens pseudo terminals: for a program that insists on one, and for tests of what is shown on one.
package pty

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Open opens a new pseudo terminal and returns its near and its far end. Neither becomes the
// controlling terminal of this process.
func Open() (near, far *os.File, err error) {
	near, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("pty: opening: %w", err)
	}
	defer func() {
		if err != nil {
			near.Close()
		}
	}()
	raw, err := near.SyscallConn()
	if err != nil {
		return nil, nil, fmt.Errorf("pty: %w", err)
	}
	var number int
	var ioctlErr error
	err = raw.Control(func(fd uintptr) {
		if ioctlErr = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); ioctlErr == nil {
			number, ioctlErr = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err == nil {
		err = ioctlErr
	}
	if err != nil {
		return nil, nil, fmt.Errorf("pty: unlocking: %w", err)
	}
	far, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("pty: opening the far end: %w", err)
	}
	return near, far, nil
}
