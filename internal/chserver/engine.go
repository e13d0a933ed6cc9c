package chserver

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// LibraryEnv is the environment variable with the path of the engine's library (libchdb.so). It has priority over
// the installed one.
const LibraryEnv = "MARKETPRISM_CHDB_LIB"

const (
	// libraryPackage is the npm package with the library.
	libraryPackage = "@chdb/lib-linux-x64-gnu"
	// packagedLibrary is where engine/install.sh leaves the library in the folder of the engine.
	packagedLibrary = "node_modules/" + libraryPackage + "/libchdb.so"
	// installedLibrary is the same, relative to the root of this repository.
	installedLibrary = ".engine/" + packagedLibrary
)

// installer is how the engine is installed: the script, and the package with its pinned version.
//
//go:embed engine
var installer embed.FS

// An Engine is the ClickHouse of this machine.
type Engine struct {
	Library string // absolute path of libchdb.so
}

// Find looks for the engine: the library that LibraryEnv names, else the one installed in the folder
// .engine of the working directory or of a folder above it, up to the first that holds a go.mod; else the
// one that Install has installed for this user.
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
			_, err = os.Stat(path) // #nosec G703 -- it is only looked for
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
	if engine, ok := findAbove(dir); ok {
		return engine, nil
	}
	if dir, err = userDir(); err != nil {
		return Engine{}, ErrNotInstalled // a user without a home has installed none
	}
	engine := Engine{Library: filepath.Join(dir, packagedLibrary)}
	if !exists(engine.Library) {
		return Engine{}, ErrNotInstalled
	}
	return engine, nil
}

// findAbove looks for an installed engine in dir and the folders above it.
func findAbove(dir string) (Engine, bool) {
	for {
		path := filepath.Join(dir, installedLibrary)
		if exists(path) {
			return Engine{Library: path}, true
		}
		parent := filepath.Dir(dir)
		if exists(filepath.Join(dir, "go.mod")) || parent == dir {
			return Engine{}, false
		}
		dir = parent
	}
}

// userDir is the folder of this user's engine of the pinned version, for programs of other modules: theirs do not have it,
// and the module cache is read-only.
func userDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("chserver: the folder of the engine: %w", err)
	}
	text, err := installer.ReadFile("engine/package.json")
	if err != nil {
		return "", fmt.Errorf("chserver: %w", err)
	}
	var pinned struct{ Dependencies map[string]string }
	if err := json.Unmarshal(text, &pinned); err != nil {
		return "", fmt.Errorf("chserver: package.json of the engine: %w", err)
	}
	return filepath.Join(cache, "marketprism", "engine-"+pinned.Dependencies[libraryPackage]), nil
}

// Install installs the engine of the pinned version for this user, in the user's cache folder, with npm. Where it is
// installed already it does nothing. log gets what npm and the script report.
//
// The error is ErrUnsupported on a platform without an engine, ctx's, or that of the script, whose text is in log.
func Install(ctx context.Context, log io.Writer) (Engine, error) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return Engine{}, ErrUnsupported
	}
	dir, err := userDir()
	if err != nil {
		return Engine{}, err
	}
	scripts, err := os.MkdirTemp("", "marketprism-engine-") // the module cache may have lost them, or their mode
	if err != nil {
		return Engine{}, fmt.Errorf("chserver: %w", err)
	}
	defer os.RemoveAll(scripts)
	if err := os.CopyFS(scripts, installer); err != nil {
		return Engine{}, fmt.Errorf("chserver: %w", err)
	}
	cmd := exec.CommandContext(ctx, "sh", filepath.Join(scripts, "engine", "install.sh"), dir) // #nosec G204 -- the script of this module
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return Engine{}, fmt.Errorf("chserver: installing the engine in %s: %w", dir, errors.Join(context.Cause(ctx), err))
	}
	return Engine{Library: filepath.Join(dir, packagedLibrary)}, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

var (
	// ErrNotInstalled means that no engine was found; its text names the command that installs one.
	ErrNotInstalled = errors.New("chserver: the ClickHouse engine is not installed; run `go run github.com/marketprism/marketprism/chstore/chtest/engine`, or " +
		"`make engine` in MarketPrism's repository, or name the library in " + LibraryEnv)

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
