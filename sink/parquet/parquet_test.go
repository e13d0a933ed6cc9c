package parquet_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/golden"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/dayfile"
	"github.com/marketprism/marketprism/sink/parquet"
	"github.com/marketprism/marketprism/sink/sinktest"
)

func write(t *testing.T, dir string, records []marketprism.Record) {
	t.Helper()
	w, err := dayfile.New(dayfile.Config{Dir: dir}, parquet.Format{})
	require.NoError(t, err)
	require.NoError(t, w.Write(t.Context(), records))
	require.NoError(t, w.Flush(t.Context(), time.Time{}))
	require.NoError(t, w.Close())
}

func finish(t *testing.T, dir string) {
	t.Helper()
	w, err := dayfile.New(dayfile.Config{Dir: dir}, parquet.Format{})
	require.NoError(t, err)
	require.NoError(t, w.Flush(t.Context(), time.Time{}))
	require.NoError(t, w.Close())
}

func TestSink(t *testing.T) {
	sinktest.TestSink(t, func(t *testing.T) (sink.Sink, func(*testing.T) []marketprism.Record) {
		dir := t.TempDir()
		w, err := dayfile.New(dayfile.Config{Dir: dir, NoSync: true}, parquet.Format{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, w.Close()) })
		return w, func(t *testing.T) []marketprism.Record {
			// Another Writer takes a copy of the folder to its end, since a day that has its files takes no more records.
			copied := t.TempDir()
			require.NoError(t, os.CopyFS(copied, os.DirFS(dir)))
			finish(t, copied)
			return readAll(t, copied)
		}
	})
}

// readAll reads the records of all instruments, by the manifests.
func readAll(t *testing.T, dir string) (all []marketprism.Record) {
	t.Helper()
	manifests, err := filepath.Glob(filepath.Join(dir, "_manifest", "*", "*", "*", "*.json"))
	require.NoError(t, err)
	for _, path := range manifests {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		var m dayfile.Manifest
		require.NoError(t, json.Unmarshal(text, &m))
		date, err := time.Parse(time.DateOnly, m.Date)
		require.NoError(t, err)
		in := marketprism.Instrument{Exchange: m.Exchange, Market: marketprism.Market(m.Market), Symbol: m.Symbol}
		for r, err := range parquet.Read(dir, in, date, date) {
			require.NoError(t, err)
			all = append(all, r)
		}
	}
	return all
}

func TestReadReturnsWhatWasWritten(t *testing.T) {
	dir := t.TempDir()
	want, _ := golden.Load(t)
	write(t, dir, want)
	var got []marketprism.Record
	for r, err := range parquet.Read(dir, golden.Instrument(), want[0].ReceivedAt, want[0].ReceivedAt.Add(24*time.Hour)) {
		require.NoError(t, err)
		got = append(got, r)
	}
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, want[i].Key(), got[i].Key())
		require.EqualExportedValues(t, want[i], got[i])
	}
}
