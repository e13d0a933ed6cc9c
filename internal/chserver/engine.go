package chserver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// LibraryEnv is the environment variable with the path of the engine's library (libchdb.so). It has priority over
// the installed one.
const LibraryEnv = "MARKETPRISM_CHDB_LIB"

// installedLibrary is where engine/install.sh leaves the library, relative to the module root.
const installedLibrary = ".engine/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so"

// An Engine is the ClickHouse of this machine.
type Engine struct {
	Library string // absolute path of libchdb.so
}

// Find looks for the engine: the library that LibraryEnv names, else the one installed in the folder
// .engine of the working directory or of a folder above it, up to the first that holds a go.mod.
//
// The error is ErrUnsupported on a platform without an engine, ErrNotInstalled where none is found, and
// wraps fs.ErrNotExist when LibraryEnv names a file that does not exist.
func Find() (Engine, error) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return Engine{}, ErrUnsupported
	}
	if named := os.Getenv(LibraryEnv); named != "" {
		path, err := filepath.Abs(named)
		if err == nil {
			_, err = os.Stat(path)
		}
		if err != nil {
			return Engine{}, fmt.Errorf("chserver: the library that %s names: %w", LibraryEnv, err)
		}
		return Engine{Library: path}, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return Engine{}, fmt.Errorf("chserver: looking for the engine: %w", err)
	}
	return findAbove(dir)
}

// findAbove looks for an installed engine in dir and the folders above it.
func findAbove(dir string) (Engine, error) {
	for {
		path := filepath.Join(dir, installedLibrary)
		if exists(path) {
			return Engine{Library: path}, nil
		}
		parent := filepath.Dir(dir)
		if exists(filepath.Join(dir, "go.mod")) || parent == dir {
			return Engine{}, ErrNotInstalled
		}
		dir = parent
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

var (
	// ErrNotInstalled means that no engine was found; its text names the command that installs one.
	ErrNotInstalled = errors.New("chserver: the ClickHouse engine is not installed; run `make engine`, or name the library in " + LibraryEnv)

	// ErrUnsupported means that there is no engine for this operating system and processor.
	ErrUnsupported = errors.New("chserver: there is a ClickHouse engine for linux/amd64 only")

	// ErrDirInUse means that another server runs on the same Config.Dir.
	ErrDirInUse = errors.New("chserver: another server runs in this folder")

	// ErrIsHost means that Start was called in a process that was itself started as a ClickHouse
	// server: its main or TestMain does not call Main first.
	ErrIsHost = errors.New("chserver: this process should be a ClickHouse server: call chserver.Main first in main or TestMain")
)

// An ExitError reports that the server process ended by itself.
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
