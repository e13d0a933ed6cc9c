//go:build linux && amd64

package chserver

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// npm finds the package by its own configuration; an address in the lock file would bind the installation to one host.
func TestLockFileHoldsNoAddresses(t *testing.T) {
	lock, err := os.ReadFile("engine/package-lock.json")
	require.NoError(t, err)
	require.Contains(t, string(lock), `"integrity": "sha512-`)
	require.NotContains(t, string(lock), "://")
	require.NotContains(t, string(lock), "resolved")
}

// fakeRepository holds the installer where it expects to be, and nothing else.
func fakeRepository(t *testing.T) (root, installer string) {
	t.Helper()
	root = t.TempDir()
	installer = filepath.Join(root, "internal/chserver/engine/install.sh")
	require.NoError(t, os.CopyFS(filepath.Dir(installer), os.DirFS("engine")))
	return root, installer
}

func TestInstallerWithoutNPM(t *testing.T) {
	root, installer := fakeRepository(t)
	programs := t.TempDir()
	for _, name := range []string{"dirname", "uname", "cmp", "flock"} {
		path, err := exec.LookPath(name)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(path, filepath.Join(programs, name)))
	}
	cmd := exec.Command("/bin/sh", installer)
	cmd.Env = []string{"PATH=" + programs}
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "the program npm is missing")
	require.Contains(t, string(out), "tests and examples that need it will not run")
	require.NoDirExists(t, filepath.Join(root, ".engine"))
}

// What is installed already needs neither npm nor the network.
func TestInstallerDoesNothingTheSecondTime(t *testing.T) {
	root, installer := fakeRepository(t)
	library := filepath.Join(root, installedLibrary)
	require.NoError(t, os.MkdirAll(filepath.Dir(library), 0o755))
	require.NoError(t, os.WriteFile(library, []byte("library"), 0o644))
	lock, err := os.ReadFile("engine/package-lock.json")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(root, ".engine/installed-lock.json"), lock, 0o644))

	install := func() ([]byte, error) {
		cmd := exec.Command("/bin/sh", installer)
		cmd.Env = append(os.Environ(), "npm_config_offline=true", "npm_config_cache="+t.TempDir())
		return cmd.CombinedOutput()
	}
	out, err := install()
	require.NoError(t, err, "%s", out)
	require.Empty(t, out)

	require.NoError(t, os.Remove(library))
	out, err = install()
	require.Error(t, err, "a library that has gone is installed again, which cannot work offline")
	require.Contains(t, string(out), "ClickHouse is not installed")
}

// A program of another module has neither the repository nor its Makefile: the script and the pins are in the package, and
// the engine goes to the user's cache folder.
func TestInstall(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("npm_config_offline", "true")
	t.Setenv("npm_config_cache", t.TempDir())
	var log strings.Builder
	dir, err := userDir()
	require.NoError(t, err)
	_, err = Install(t.Context(), &log)
	require.ErrorContains(t, err, dir, "it is not there, and npm may not fetch it")
	require.Contains(t, log.String(), "ClickHouse is not installed")

	library := filepath.Join(dir, packagedLibrary)
	require.NoError(t, os.MkdirAll(filepath.Dir(library), 0o755))
	require.NoError(t, os.WriteFile(library, []byte("library"), 0o644))
	lock, err := os.ReadFile("engine/package-lock.json")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "installed-lock.json"), lock, 0o644))
	log.Reset()
	engine, err := Install(t.Context(), &log)
	require.NoError(t, err)
	require.Equal(t, library, engine.Library)
	require.Empty(t, log.String(), "it is there already")
}
