package parquet_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/golden"
	"github.com/marketprism/marketprism/sink/dayfile"
	"github.com/marketprism/marketprism/sink/parquet"
)

func write(t *testing.T, dir string, records []marketprism.Record) {
	t.Helper()
	w, err := dayfile.New(dayfile.Config{Dir: dir}, parquet.Format{})
	require.NoError(t, err)
	require.NoError(t, w.Write(t.Context(), records))
	require.NoError(t, w.Finish(t.Context()))
	require.NoError(t, w.Close())
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
