package chserver

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFind(t *testing.T) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		_, err := Find()
		require.ErrorIs(t, err, ErrUnsupported)
		return
	}
	root := t.TempDir()
	below := filepath.Join(root, "a", "b")
	require.NoError(t, os.MkdirAll(below, 0o755))
	t.Chdir(below)
	t.Setenv(LibraryEnv, "")
	t.Setenv("XDG_CACHE_HOME", filepath.Join(root, "cache"))

	_, err := Find()
	require.ErrorIs(t, err, ErrNotInstalled)
	require.ErrorContains(t, err, "make engine")

	installed := filepath.Join(root, installedLibrary)
	require.NoError(t, os.MkdirAll(filepath.Dir(installed), 0o755))
	require.NoError(t, os.WriteFile(installed, nil, 0o644))
	engine, err := Find()
	require.NoError(t, err)
	require.Equal(t, installed, engine.Library, "in a folder above")

	other := filepath.Join(root, "other.so")
	require.NoError(t, os.WriteFile(other, nil, 0o644))
	t.Setenv(LibraryEnv, "../../other.so")
	engine, err = Find()
	require.NoError(t, err)
	require.Equal(t, other, engine.Library, "the environment goes first")

	t.Setenv(LibraryEnv, "missing.so")
	_, err = Find()
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NotErrorIs(t, err, ErrNotInstalled)
	require.ErrorContains(t, err, LibraryEnv)

	t.Setenv(LibraryEnv, "")
	require.NoError(t, os.WriteFile(filepath.Join(root, "a", "go.mod"), nil, 0o644))
	_, err = Find()
	require.ErrorIs(t, err, ErrNotInstalled, "the search ends at the module root")
	dir, err := userDir()
	require.NoError(t, err)
	require.Contains(t, dir, filepath.Join(root, "cache", "marketprism", "engine-"))
	require.NotEqual(t, "engine-", filepath.Base(dir), "the version is in the name")
	require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, packagedLibrary)), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, packagedLibrary), nil, 0o644))
	engine, err = Find()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, packagedLibrary), engine.Library, "the user's own, for programs of other modules")
}
