package readers_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/golden"
	"github.com/marketprism/marketprism/internal/recording/recordingtest"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink/dayfile"
	"github.com/marketprism/marketprism/sink/hftbacktest"
	"github.com/marketprism/marketprism/sink/nautilus"
	"github.com/marketprism/marketprism/sink/parquet"
	"github.com/marketprism/marketprism/sink/tardis"
)

const (
	recordings = "../../../shared/recordings"
	pythonName = "MARKETPRISM_TEST_READERS" // the path of a Python with the readers, as install.sh prints it
)

// An answer is what one reader made of one instrument.
type answer struct {
	Reader string   `json:"reader"`
	Symbol string   `json:"symbol"`
	Hashes []string `json:"hashes"` // of the books at the end of each span
	Trades *int     `json:"trades"` // where the reader counts them
}

// allReaders are those of read.py.
var allReaders = []string{"duckdb", "polars", "pyarrow", "pandas", "csv", "hftbacktest", "nautilus"}

// read writes records in every format and returns what the readers make of them.
func read(t *testing.T, records []marketprism.Record, symbols ...string) []answer {
	t.Helper()
	python := os.Getenv(pythonName)
	if python == "" {
		t.Skip("the readers are not installed: " + pythonName + "=$(internal/readers/install.sh) makes them known")
	}
	root := t.TempDir()
	for _, format := range []dayfile.Format{parquet.Format{}, tardis.Format{}, hftbacktest.Format{}, nautilus.Format{}} {
		w, err := dayfile.New(dayfile.Config{Dir: filepath.Join(root, format.Name()), NoSync: true}, format)
		require.NoError(t, err)
		require.NoError(t, w.Write(t.Context(), records))
		require.NoError(t, w.Flush(t.Context(), time.Time{}))
		require.NoError(t, w.Close())
	}
	cmd := exec.CommandContext(t.Context(), python, append([]string{"read.py", root}, symbols...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	var answers []answer
	for line := range bytes.Lines(out) {
		if line[0] != '{' {
			continue // of hftbacktest's validation
		}
		var a answer
		require.NoError(t, json.Unmarshal(line, &a), "%s", line)
		answers = append(answers, a)
	}
	require.Len(t, answers, len(allReaders)*len(symbols), stderr.String())
	return answers
}

// Every reader rebuilds the books of the scenario: the one before the gap and the one at the end.
func TestGolden(t *testing.T) {
	records, books := golden.Load(t)
	for _, a := range read(t, records, golden.Instrument().Symbol) {
		want := []string{books[4].SHA256, books[6].SHA256}
		if a.Reader == "hftbacktest" { // which has no earlier book
			want = want[1:]
		}
		require.Equal(t, want, a.Hashes, a.Reader)
		if a.Trades != nil {
			require.Equal(t, 3, *a.Trades, a.Reader)
		}
	}
}

// Every reader rebuilds the books of real traffic, as an independent program computed them.
func TestRecordings(t *testing.T) {
	for name, market := range map[string]marketprism.Market{
		"binance-spot-20211012": marketprism.Spot, "binance-usdm-20210722": marketprism.USDM, "binance-usdm-20240808": marketprism.USDM,
	} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(recordings, name+".expected.json"))
			if err != nil {
				t.Skipf("no recordings of the exchange beside the repository: %v", err)
			}
			var expected map[string]struct {
				SHA256 string `json:"sha256"`
			}
			require.NoError(t, json.Unmarshal(text, &expected))
			require.NotEmpty(t, expected)
			symbols := slices.Sorted(maps.Keys(expected))
			var records []marketprism.Record
			trades := make(map[string]int)
			recordingtest.Collect(t, market, filepath.Join(recordings, name+".ndjson.gz"), func(rec marketprism.Record, _ *orderbook.Book) {
				records = append(records, rec)
				if rec.Trade != nil {
					trades[rec.Instrument.Symbol]++
				}
			})
			for _, a := range read(t, records, symbols...) {
				require.NotEmpty(t, a.Hashes, a.Reader)
				require.Equal(t, expected[a.Symbol].SHA256, a.Hashes[len(a.Hashes)-1], "%s of %s", a.Symbol, a.Reader)
				if a.Trades != nil {
					require.Equal(t, trades[a.Symbol], *a.Trades, "%s of %s", a.Symbol, a.Reader)
				}
			}
		})
	}
}

// The hash of the scenario's books is that of their text, so that an error of the scenario shows here.
func TestHashes(t *testing.T) {
	_, books := golden.Load(t)
	for _, b := range books {
		sum := sha256.Sum256([]byte(b.Text))
		require.Equal(t, b.SHA256, hex.EncodeToString(sum[:]))
	}
}
