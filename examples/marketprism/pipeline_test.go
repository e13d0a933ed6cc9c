package main

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
	"github.com/marketprism/marketprism/internal/chserver/chtest"
)

func TestMain(m *testing.M) { chtest.Main(m) }

const recordings = "../../../shared/recordings"

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

	opt := testOptions(t, "-source", "recording", "-for", "0", "-speed", "0", filepath.Join(recordings, name+".ndjson.gz"))
	chtest.Require(t)
	p, output := runPipeline(t, t.Context(), opt)
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
	archive, err := openArchive(t.Context(), opt)
	require.NoError(t, err)
	defer func() { require.NoError(t, archive.stop()) }()
	for symbol, w := range want {
		inst := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: symbol}
		book, err := archive.store.BookAt(t.Context(), inst, p.live[inst].at)
		require.NoError(t, err, symbol)
		require.Equal(t, w.FinalUpdateID, book.LastID(), symbol)
		sum := hash(book)
		require.Equal(t, w.SHA256, hex.EncodeToString(sum[:]), symbol)
	}
	stored := make(map[marketprism.Kind]uint64)
	for symbol := range want {
		for rec, err := range archive.store.Records(t.Context(), chstore.Query{
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
	opt := testOptions(t, "-symbols", "BTCUSDT,ETHUSDT", "-for", "0")
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()

	p := newPipeline(opt, tempFile(t))
	result := make(chan error, 1)
	go func() { result <- p.run(ctx) }()
	require.Eventually(t, func() bool { return p.tally.count(stored, marketprism.KindUpdate) > 20 }, time.Minute, 10*time.Millisecond)
	interrupt()
	require.NoError(t, <-result)
	for _, k := range marketprism.Kinds {
		require.Equal(t, p.tally.count(received, k), p.tally.count(stored, k), k)
	}
}

// TestAbsentServers starts without NATS, and without ClickHouse: the error names the address.
func TestAbsentServers(t *testing.T) {
	err := newPipeline(testOptions(t, "-nats", "nats://127.0.0.1:1"), tempFile(t)).run(t.Context())
	require.ErrorContains(t, err, "127.0.0.1:1")
	err = newPipeline(testOptions(t, "-clickhouse", "127.0.0.1:1"), tempFile(t)).run(t.Context())
	var connect *chstore.ConnectError
	require.True(t, errors.As(err, &connect), "%v", err)
	require.Equal(t, "127.0.0.1:1", connect.Addr)
}

func TestOptions(t *testing.T) {
	for _, args := range [][]string{
		{"-source", "paper"}, {"-source", "recording"}, {"x.ndjson"}, {"-symbols", " , "}, {"-for", "-1s"}, {"-drain", "0s"}, {"-nonsense"},
	} {
		_, err := parseOptions(args, io.Discard)
		require.Error(t, err, args)
	}
	opt, err := parseOptions([]string{"-symbols", "A, B"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []string{"A", "B"}, opt.symbols)
}

func testOptions(t *testing.T, args ...string) options {
	opt, err := parseOptions(append([]string{"-data", t.TempDir()}, args...), io.Discard)
	require.NoError(t, err)
	return opt
}

func runPipeline(t *testing.T, ctx context.Context, opt options) (*pipeline, string) {
	out := tempFile(t)
	p := newPipeline(opt, out)
	err := p.run(ctx)
	text, readErr := os.ReadFile(out.Name())
	require.NoError(t, readErr)
	require.NoError(t, err, string(text))
	return p, string(text)
}

func tempFile(t *testing.T) *os.File {
	f, err := os.Create(filepath.Join(t.TempDir(), "output"))
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}
