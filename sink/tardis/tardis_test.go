package tardis_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/internal/golden"
	"github.com/marketprism/marketprism/sink/dayfile"
	"github.com/marketprism/marketprism/sink/tardis"
)

// The expected files are by the documents of Tardis and by two independent readers, nautilus_trader and hftbacktest.
func TestGolden(t *testing.T) {
	dir := t.TempDir()
	w, err := dayfile.New(dayfile.Config{Dir: dir}, tardis.Format{Depth: 5})
	require.NoError(t, err)
	records, books := golden.Load(t)
	require.NoError(t, w.Write(t.Context(), records))
	require.NoError(t, w.Flush(t.Context(), time.Time{}))
	require.NoError(t, w.Close())

	expected, err := filepath.Glob("testdata/*.csv")
	require.NoError(t, err)
	require.Len(t, expected, 5)
	for _, path := range expected {
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(want), unzip(t, filepath.Join(dir, filepath.Base(path)+".gz")), path)
	}
	m, err := dayfile.ReadManifest(dir, golden.Instrument(), records[0].ReceivedAt)
	require.NoError(t, err)
	end := books[len(books)-1]
	require.Equal(t, end.SHA256, m.BookSHA256)
	require.Equal(t, end.CRC32C, m.BookCRC32C)
	require.Len(t, m.Files, 5)
}

func unzip(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	z.Multistream(false)
	text, err := io.ReadAll(z)
	require.NoError(t, err)
	return string(text)
}
