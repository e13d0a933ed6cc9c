package command

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/examples/marketprism/engines"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/golden"
	"github.com/marketprism/marketprism/sink/dayfile"
	"github.com/marketprism/marketprism/sink/parquet"
)

// Export writes what the archive has, in every format; the book at the end is the scenario's. Again it makes the same files.
func TestExport(t *testing.T) {
	db := chtest.Open(t)
	archive, err := engines.OpenArchive(t.Context(), db.DSN(), engines.Embedded{}, chstore.Config{Database: db.Name})
	require.NoError(t, err)
	defer archive.Close()
	require.NoError(t, archive.Store.Migrate(t.Context()))
	records, books := golden.Load(t)
	require.NoError(t, archive.Store.Write(t.Context(), records))
	end := books[len(books)-1]
	for _, format := range formats() {
		dir := t.TempDir()
		for range 2 {
			out, errOut := tempFile(t), tempFile(t)
			line := []string{"export", format.Name(), "btcusdt", "--out", dir, "--market", "usdm", "--clickhouse", db.DSN(), "--database", db.Name}
			code := Main(t.Context(), line, out, errOut)
			text, err := os.ReadFile(errOut.Name())
			require.NoError(t, err)
			require.Equal(t, ExitOK, code, string(text))
			text, err = os.ReadFile(out.Name())
			require.NoError(t, err)
			require.Regexp(t, fmt.Sprintf(`^%s 2026-11-30: 5 updates, 3 trades, 1 tickers, 1 gaps in \d files of \d+ bytes\n$`, golden.Instrument()), string(text))
			m, err := dayfile.ReadManifest(dir, golden.Instrument(), records[0].ReceivedAt)
			require.NoError(t, err)
			require.Equal(t, end.SHA256, m.BookSHA256)
		}
		if format.Name() != "parquet" {
			continue
		}
		keys := make(map[string]bool)
		for r, err := range parquet.Read(dir, golden.Instrument(), records[0].ReceivedAt, records[0].ReceivedAt.Add(time.Hour)) {
			require.NoError(t, err)
			keys[r.Key()] = true
		}
		for _, r := range records {
			require.True(t, keys[r.Key()], r.Key())
		}
	}
	requireError(t, ExitUsage, []string{"FORMAT", "parquet, tardis, hftbacktest or nautilus", `"csv"`}, "export", "csv", "btcusdt", "--out", t.TempDir())
}
