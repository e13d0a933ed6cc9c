//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package wal

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// Lock locks the file until it is closed or the process ends in any way.
func Lock(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, filePerm) // #nosec G304 -- the folder is a setting
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, &os.PathError{Op: "flock", Path: path, Err: err}
	}
	return f, nil
}

// SyncDir makes the creation and removal of files in dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir) // #nosec G304 -- the folder is a setting
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}
