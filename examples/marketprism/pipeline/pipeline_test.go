package pipeline

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/examples/marketprism/config"
	"github.com/marketprism/marketprism/examples/marketprism/engines"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
)

func TestMain(m *testing.M) { chtest.Main(m) }

const recordings = "../../../../shared/recordings"

// expectation is what an independent oracle says of a symbol at the end of a recording.
type expectation struct {
	FinalUpdateID int64 `json:"finalUpdateId"`
	Applied       uint64
	BookTickers   uint64 `json:"bookTickers"`
	SHA256        string `json:"sha256"`
}

// TestRecording sends real traffic the whole way, over real sockets, NATS and ClickHouse, and holds
// the books that come back out of ClickHouse against the oracle.
func TestRecording(t *testing.T) {
	const name = "binance-spot-20211012"
	text, err := os.ReadFile(filepath.Join(recordings, name+".expected.json"))
	if os.IsNotExist(err) {
		t.Skipf("no recordings at %s", recordings)
	}
	require.NoError(t, err)
	var want map[string]expectation
	require.NoError(t, json.Unmarshal(text, &want))

	cfg := testConfig(t, "--source", "recording", "--for", "0", "--speed", "0", "--recording", filepath.Join(recordings, name+".ndjson.gz"))
	chtest.Require(t)
	p := newRun(t, cfg)
	err = p.Run(t.Context())
	printed, readErr := os.ReadFile(p.out.Name())
	require.NoError(t, readErr)
	output := string(printed)
	require.NoError(t, err, output)
	require.Equal(t, len(want), strings.Count(output, "equal at update id"), output)

	var updates, tickers uint64
	for _, w := range want {
		updates += w.Applied
		tickers += w.BookTickers
	}
	for s := range stages {
		require.EqualValues(t, updates, p.tally.count(s, marketprism.KindUpdate), "updates %v", s)
		require.EqualValues(t, len(want), p.tally.count(s, marketprism.KindSnapshot), "snapshots %v", s)
		require.EqualValues(t, tickers, p.tally.count(s, marketprism.KindTicker), "tickers %v", s)
		require.EqualValues(t, 2, p.tally.count(s, marketprism.KindAggTrade), "aggregate trades %v", s)
	}

	// The archive as a later process finds it.
	archive, err := engines.OpenArchive(t.Context(), cfg.ClickHouse, engines.Embedded{Dir: cfg.Data}, chstore.Config{Database: cfg.Database})
	require.NoError(t, err)
	defer func() { require.NoError(t, archive.Close()) }()
	for symbol, w := range want {
		inst := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: symbol}
		book, err := archive.Store.BookAt(t.Context(), inst, p.live[inst].at)
		require.NoError(t, err, symbol)
		require.Equal(t, w.FinalUpdateID, book.LastID(), symbol)
		sum := hash(book)
		require.Equal(t, w.SHA256, hex.EncodeToString(sum[:]), symbol)
	}
	stored := make(map[marketprism.Kind]uint64)
	for symbol := range want {
		for rec, err := range archive.Store.Records(t.Context(), chstore.Query{
			Instrument: marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: symbol},
		}) {
			require.NoError(t, err)
			stored[rec.Kind()]++
		}
	}
	require.EqualValues(t, updates, stored[marketprism.KindUpdate])
	require.EqualValues(t, tickers, stored[marketprism.KindTicker])
	require.EqualValues(t, 2, stored[marketprism.KindAggTrade])
}

// TestInterrupt ends a simulated run as Ctrl-C does: everything received is stored, and the books are
// equal.
func TestInterrupt(t *testing.T) {
	chtest.Require(t)
	cfg := testConfig(t, "--symbols", "BTCUSDT,ETHUSDT", "--for", "0")
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()

	p := newRun(t, cfg)
	result := make(chan error, 1)
	go func() { result <- p.Run(ctx) }()
	require.Eventually(t, func() bool { return p.tally.count(stored, marketprism.KindUpdate) > 20 }, time.Minute, 10*time.Millisecond)
	require.Contains(t, p.report().State, "SIMULATED, ", "for the command status")
	interrupt()
	require.NoError(t, <-result)
	for _, k := range marketprism.Kinds() {
		require.Equal(t, p.tally.count(received, k), p.tally.count(stored, k), k)
	}
}

// TestAbsentServers starts without NATS, and without ClickHouse: the error names the address.
func TestAbsentServers(t *testing.T) {
	err := newRun(t, testConfig(t, "--nats", "nats://127.0.0.1:1")).Run(t.Context())
	require.ErrorContains(t, err, "127.0.0.1:1")
	err = newRun(t, testConfig(t, "--clickhouse", "127.0.0.1:1")).Run(t.Context())
	var connect *chstore.ConnectError
	require.True(t, errors.As(err, &connect), "%v", err)
	require.Equal(t, "127.0.0.1:1", connect.Addr)
}

func testConfig(t *testing.T, args ...string) config.Config {
	s := config.New()
	require.NoError(t, s.Flags().Parse(append([]string{"--data", t.TempDir()}, args...)))
	require.NoError(t, s.Load("", os.Environ()))
	return s.Config
}

func newRun(t *testing.T, cfg config.Config) *Pipeline {
	p, err := New("marketprism", "0.0.0", cfg, tempFile(t), io.Discard)
	require.NoError(t, err)
	return p
}

func tempFile(t *testing.T) *os.File {
	f, err := os.Create(filepath.Join(t.TempDir(), "output"))
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}
