package recording_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/internal/recording"
)

func newZstd(w io.Writer) (binance.CompressionWriter, error) { return zstd.NewWriter(w) }

// recorders returns a configuration for each compression, by the suffix of the files.
func recorders(dir string) map[string]binance.RecorderConfig {
	all := make(map[string]binance.RecorderConfig)
	for suffix, cfg := range map[string]binance.RecorderConfig{
		".ndjson": {Plain: true}, ".gz": {}, ".zst": {Compression: binance.Compression{Suffix: ".zst", NewWriter: newZstd}},
	} {
		cfg.Dir, cfg.MaxBytes, cfg.FlushEvery = dir, 100_000, 20*time.Millisecond
		all[suffix] = cfg
	}
	return all
}

// record follows a fake exchange with a Recorder and prints how many lines the operating system has,
// with each record, until it is killed.
func record(t *testing.T, cfg binance.RecorderConfig) {
	srv, err := binancetest.New(binancetest.Config{Tick: 20 * time.Millisecond, Symbols: binancetest.Symbols("BTCUSDT", "ETHUSDT", "BNBUSDT")})
	require.NoError(t, err)
	r, err := binance.NewRecorder(cfg)
	require.NoError(t, err)
	client, err := binance.NewClient(binance.Config{
		Endpoints: binance.Endpoints{REST: srv.RESTURL(), Stream: srv.StreamURL()}, Recorder: r,
	})
	require.NoError(t, err)
	books, err := binance.NewDepthSyncer(client, binance.DepthConfig{Symbols: srv.Listed(), Tickers: true, Handler: func(context.Context, *marketprism.Record) error {
		fmt.Println(r.Stats().Flushed)
		return nil
	}})
	require.NoError(t, err)
	go srv.Run(t.Context()) //nolint:errcheck // it is killed
	go r.Run(t.Context())   //nolint:errcheck // it is killed
	t.Error(books.Run(t.Context()))
}

// A Recorder is killed with SIGKILL. All lines that its Stats counted as flushed can be read from its
// files, with no line missing between them.
func TestRecorderIsKilled(t *testing.T) {
	if dir := os.Getenv("RECORD_INTO"); dir != "" {
		record(t, recorders(dir)[os.Getenv("RECORD_AS")])
		return
	}
	for suffix := range recorders("") {
		t.Run(suffix, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRecorderIsKilled$")
			child.Env = append(os.Environ(), "RECORD_INTO="+dir, "RECORD_AS="+suffix)
			out, err := child.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, child.Start())
			flushed := 0
			for lines := bufio.NewScanner(out); flushed < 400; {
				require.True(t, lines.Scan(), "the recorder ended by itself")
				flushed, err = strconv.Atoi(lines.Text())
				require.NoError(t, err, lines.Text())
			}
			require.NoError(t, child.Process.Kill())
			require.Error(t, child.Wait())

			files, err := filepath.Glob(filepath.Join(dir, "*"))
			require.NoError(t, err)
			require.Greater(t, len(files), 1, "no file was full")
			slices.Sort(files)
			all := readFiles(t, files)
			require.GreaterOrEqual(t, len(all), flushed)
			checkNothingMissing(t, all)
			for _, f := range files {
				require.True(t, strings.HasSuffix(f, suffix), f)
			}
		})
	}
}

// readFiles reads files as one recording. Only the last one may be cut.
func readFiles(t *testing.T, files []string) (all []recording.Line) {
	t.Helper()
	for i, file := range files {
		r, err := recording.Open(file)
		if err != nil {
			require.ErrorIs(t, err, recording.ErrTruncated)
			require.Equal(t, len(files)-1, i, "%s: %v", file, err)
			continue
		}
		for line, err := range r.Lines() {
			if err != nil {
				require.ErrorIs(t, err, recording.ErrTruncated)
				require.Equal(t, len(files)-1, i, "%s: %v", file, err)
				break
			}
			all = append(all, line)
		}
		require.NoError(t, r.Close())
	}
	return all
}

// checkNothingMissing checks that the depth events of each symbol follow one another.
func checkNothingMissing(t *testing.T, all []recording.Line) {
	t.Helper()
	var d binance.Decoder
	var m binance.Message
	last := make(map[string]int64)
	for _, l := range all {
		if l.Kind != recording.WS {
			continue
		}
		require.NoError(t, d.Decode(l.Frame, &m))
		if m.Type != binance.MessageDepth {
			continue
		}
		if before := last[m.Symbol]; before != 0 {
			require.Equal(t, before+1, m.Update.FirstID, m.Symbol)
		}
		last[m.Symbol] = m.Update.LastID
	}
	require.Len(t, last, 3)
}

// FuzzCut cuts a recording anywhere. Every line flushed before the cut can be read, no other line comes
// out, and the error is ErrTruncated.
func FuzzCut(f *testing.F) {
	for _, kind := range []uint8{0, 1, 2} {
		f.Add(kind, uint8(5), uint16(7), uint32(100))
		f.Add(kind, uint8(40), uint16(3000), uint32(40_000))
		f.Add(kind, uint8(3), uint16(0), uint32(0))
	}
	f.Fuzz(func(t *testing.T, kind, lines uint8, width uint16, cut uint32) {
		file, ends := cutFile(t, kind, int(lines), int(width))
		file = file[:int(cut)%(len(file)+1)]
		whole := 0
		for whole < len(ends) && ends[whole] <= len(file) {
			whole++
		}
		r, err := recording.NewReader("cut", strings.NewReader(string(file)))
		if err != nil {
			require.ErrorIs(t, err, recording.ErrTruncated)
			require.Zero(t, whole)
			return
		}
		defer r.Close()
		got := 0
		for line, err := range r.Lines() {
			if err != nil {
				var at *recording.LineError
				require.ErrorAs(t, err, &at)
				require.ErrorIs(t, err, recording.ErrTruncated)
				break
			}
			require.Equal(t, int64(got), line.ReceivedAt.UnixNano())
			got++
		}
		require.GreaterOrEqual(t, got, whole)
		require.LessOrEqual(t, got, int(lines))
	})
}

// cutFile makes a recording with a flush after each line, and returns where each flush ended.
func cutFile(t *testing.T, kind uint8, lines, width int) (file []byte, ends []int) {
	t.Helper()
	var b strings.Builder
	var w io.Writer = &b
	flush := func() error { return nil }
	switch kind % 3 {
	case 1:
		zip := gzip.NewWriter(&b)
		w, flush = zip, zip.Flush
	case 2:
		zip, err := newZstd(&b)
		require.NoError(t, err)
		w, flush = zip, zip.Flush
	}
	for i := range lines {
		_, err := fmt.Fprintf(w, "{\"ts\":%d,\"kind\":\"ws\",\"frame\":{\"stream\":\"x\",\"data\":\"%s\"}}\n", i, strings.Repeat("x", width))
		require.NoError(t, errors.Join(err, flush()))
		ends = append(ends, b.Len())
	}
	return []byte(b.String()), ends
}
