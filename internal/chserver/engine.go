package chserver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// LibraryEnv is the environment variable that names the engine's library (libchdb.so) and so goes before
// the installed one.
const LibraryEnv = "MARKETPRISM_CHDB_LIB"

// installedLibrary is where engine/install.sh leaves the library, relative to the module root.
const installedLibrary = ".engine/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so"

// Engine says how ClickHouse can be had on this machine.
type Engine struct {
	Library string // absolute path of libchdb.so
}

// Find looks for the engine: the library that LibraryEnv names, else the one installed in the folder
// .engine of the working directory or of a folder above it, up to the first that holds a go.mod.
//
// The error is ErrUnsupported on a platform without an engine, ErrNotInstalled where none is found, and
// wraps fs.ErrNotExist when LibraryEnv names a file that is not there.
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
