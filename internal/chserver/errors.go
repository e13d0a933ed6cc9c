package chserver

import (
	"errors"
	"fmt"
)

var (
	// ErrNotInstalled says that no engine was found; its text names the command that installs one.
	ErrNotInstalled = errors.New("chserver: the ClickHouse engine is not installed; run `make engine`, or name the library in " + LibraryEnv)

	// ErrUnsupported says that there is no engine for this operating system and processor.
	ErrUnsupported = errors.New("chserver: there is a ClickHouse engine for linux/amd64 only")

	// ErrDirInUse says that another server runs on the same Config.Dir.
	ErrDirInUse = errors.New("chserver: another server runs in this folder")

	// ErrIsHost says that Start was called in a process that was itself started to be a ClickHouse
	// server: its main or TestMain lacks the call of Main.
	ErrIsHost = errors.New("chserver: this process should be a ClickHouse server: call chserver.Main first in main or TestMain")
)

// ExitError tells that the server process ended by itself.
type ExitError struct {
	Dir string // the server's folder
	Err error  // how the process ended, an *exec.ExitError; nil for exit code 0
	Log string // the last lines the server wrote
}

func (e *ExitError) Error() string {
	how := "exit status 0"
	if e.Err != nil {
		how = e.Err.Error()
	}
	return fmt.Sprintf("chserver: ClickHouse in %s ended: %s; the end of its log:\n%s", e.Dir, how, e.Log)
}

// Unwrap returns how the process ended.
func (e *ExitError) Unwrap() error { return e.Err }
