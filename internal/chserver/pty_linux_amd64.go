package chserver

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openTerminal opens a new pseudo terminal and returns its near and its far end. Neither becomes the
// controlling terminal of this process.
func openTerminal() (near, far *os.File, err error) {
	near, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("chserver: opening a pseudo terminal: %w", err)
	}
	defer func() {
		if err != nil {
			near.Close()
		}
	}()
	raw, err := near.SyscallConn()
	if err != nil {
		return nil, nil, fmt.Errorf("chserver: pseudo terminal: %w", err)
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
		return nil, nil, fmt.Errorf("chserver: unlocking the pseudo terminal: %w", err)
	}
	far, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("chserver: opening the far end of the pseudo terminal: %w", err)
	}
	return near, far, nil
}
