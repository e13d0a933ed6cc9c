package nautilus_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	arrow "github.com/apache/arrow-go/v18/parquet"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/internal/golden"
	"github.com/marketprism/marketprism/sink/dayfile"
	"github.com/marketprism/marketprism/sink/internal/columnar"
	"github.com/marketprism/marketprism/sink/nautilus"
)

type goldenFile struct {
	Path     string            `json:"path"`
	Metadata map[string]string `json:"schema_metadata"`
	Rows     []map[string]any  `json:"rows"`
}

func TestGolden(t *testing.T) {
	text, err := os.ReadFile("testdata/nautilus_rows.json")
	require.NoError(t, err)
	var want map[string]goldenFile
	require.NoError(t, json.Unmarshal(text, &want))
	require.Len(t, want, 3)

	dir := t.TempDir()
	w, err := dayfile.New(dayfile.Config{Dir: dir}, nautilus.Format{PricePrecision: 1, SizePrecision: 3})
	require.NoError(t, err)
	records, _ := golden.Load(t)
	require.NoError(t, w.Write(t.Context(), records))
	require.NoError(t, w.Flush(t.Context(), time.Time{}))
	require.NoError(t, w.Close())

	for kind, file := range want {
		r, err := columnar.Open(filepath.Join(dir, filepath.FromSlash(file.Path)))
		require.NoError(t, err, kind)
		for key, value := range file.Metadata {
			require.Equal(t, value, r.Metadata(key), kind)
		}
		require.Equal(t, 1, r.Groups())
		for _, column := range []string{"price", "size", "bid_price", "ask_price", "bid_size", "ask_size"} {
			if file.Rows[0][column+"_raw"] != nil {
				requireNumbers(t, r, file.Rows, column)
			}
		}
		for _, column := range []string{"order_id", "sequence", "ts_event", "ts_init"} {
			requireInts[int64](t, r, file.Rows, column)
		}
		for _, column := range []string{"action", "side", "flags", "aggressor_side"} {
			requireInts[int32](t, r, file.Rows, column)
		}
		require.NoError(t, r.Close())
	}
}

func requireInts[T int32 | int64](t *testing.T, r *columnar.Reader, rows []map[string]any, column string) {
	t.Helper()
	if rows[0][column] == nil {
		return
	}
	got, err := columnar.Read[T](r, 0, column)
	require.NoError(t, err)
	require.Len(t, got.Values, len(rows))
	for i, row := range rows {
		require.Equal(t, int64(row[column].(float64)), int64(float64(got.Values[i])), "%s of row %d", column, i)
	}
}

func requireNumbers(t *testing.T, r *columnar.Reader, rows []map[string]any, column string) {
	t.Helper()
	got, err := columnar.Read[arrow.FixedLenByteArray](r, 0, column)
	require.NoError(t, err)
	for i, row := range rows {
		want, ok := row[column+"_hex"].(string)
		if !ok {
			raw, err := strconv.ParseUint(row[column+"_raw"].(string), 10, 64)
			require.NoError(t, err)
			b := make([]byte, 16)
			for j := range 8 {
				b[j] = byte(raw >> (8 * j))
			}
			want = hex.EncodeToString(b)
		}
		require.Equal(t, want, hex.EncodeToString(got.Values[i]), "%s of row %d", column, i)
	}
}

func TestPrecision(t *testing.T) {
	w, err := dayfile.New(dayfile.Config{Dir: t.TempDir()}, nautilus.Format{PricePrecision: -1})
	require.NoError(t, err)
	records, _ := golden.Load(t)
	require.NoError(t, w.Write(t.Context(), records))
	require.ErrorIs(t, w.Flush(t.Context(), time.Time{}), nautilus.ErrPrecision)
	require.NoError(t, w.Close())
}
