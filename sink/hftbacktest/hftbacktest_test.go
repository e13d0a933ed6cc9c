package hftbacktest_test

import (
	"archive/zip"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/internal/golden"
	"github.com/marketprism/marketprism/sink/dayfile"
	"github.com/marketprism/marketprism/sink/hftbacktest"
)

// The expected files are those of numpy.savez_compressed, and hftbacktest 2.4.4 reads the expected book from them.
func TestGolden(t *testing.T) {
	dir := t.TempDir()
	w, err := dayfile.New(dayfile.Config{Dir: dir}, hftbacktest.Format{})
	require.NoError(t, err)
	records, _ := golden.Load(t)
	require.NoError(t, w.Write(t.Context(), records))
	require.NoError(t, w.Flush(t.Context(), time.Time{}))
	require.NoError(t, w.Close())
	require.Equal(t, array(t, "testdata/hftbacktest_BTCUSDT_20261130.npz"), array(t, filepath.Join(dir, "BTCUSDT_20261130.npz")))
	require.Equal(t, array(t, "testdata/hftbacktest_BTCUSDT_20261130_eod.npz"), array(t, filepath.Join(dir, "BTCUSDT_20261130_eod.npz")))
}

// array returns the bytes of the array in an npz file.
func array(t *testing.T, path string) []byte {
	t.Helper()
	z, err := zip.OpenReader(path)
	require.NoError(t, err)
	defer z.Close()
	require.Len(t, z.File, 1)
	require.Equal(t, "data.npy", z.File[0].Name)
	f, err := z.File[0].Open()
	require.NoError(t, err)
	data, err := io.ReadAll(f)
	require.NoError(t, err)
	return data
}
