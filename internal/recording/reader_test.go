package recording

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

const (
	restLine = `{"ts":1633998512320639000,"kind":"rest","path":"/api/v3/depth?symbol=BTCUSDT&limit=1000","body":{"lastUpdateId":7,"bids":[],"asks":[]}}`
	wsLine   = `{"ts":1633998512320639001,"kind":"ws","frame":{"stream":"btcusdt@trade","data":{"e":"trade"}}}`
)

func gzipped(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func zstandard(t *testing.T, text string) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	return w.EncodeAll([]byte(text), nil)
}

func readAll(t *testing.T, file []byte) ([]Line, error) {
	t.Helper()
	r, err := NewReader("test", bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	defer func() { require.NoError(t, r.Close()) }()
	var lines []Line
	for l, err := range r.Lines() {
		if err != nil {
			return lines, err
		}
		lines = append(lines, l)
	}
	return lines, nil
}

func TestEveryCompressionGivesTheSameLines(t *testing.T) {
	text := restLine + "\n\n" + wsLine + "\n"
	for name, file := range map[string][]byte{
		"plain": []byte(text), "gzip": gzipped(t, text), "zstd": zstandard(t, text),
		"no last newline": []byte(strings.TrimSuffix(text, "\n")),
	} {
		t.Run(name, func(t *testing.T) {
			lines, err := readAll(t, file)
			require.NoError(t, err)
			require.Len(t, lines, 2)

			rest, ws := lines[0], lines[1]
			require.Equal(t, REST, rest.Kind)
			require.Equal(t, int64(1633998512320639000), rest.ReceivedAt.UnixNano())
			require.JSONEq(t, `{"lastUpdateId":7,"bids":[],"asks":[]}`, string(rest.Body))
			symbol, ok := rest.DepthSymbol()
			require.True(t, ok)
			require.Equal(t, "BTCUSDT", symbol)

			require.Equal(t, WS, ws.Kind)
			require.Equal(t, time.Nanosecond, ws.ReceivedAt.Sub(rest.ReceivedAt))
			stream, data, err := ws.Stream()
			require.NoError(t, err)
			require.Equal(t, "btcusdt@trade", stream)
			require.Equal(t, `{"e":"trade"}`, string(data))
			_, ok = ws.DepthSymbol()
			require.False(t, ok)
		})
	}
}

func TestEmptyRecordingHasNoLines(t *testing.T) {
	for name, file := range map[string][]byte{"plain": nil, "gzip": gzipped(t, ""), "zstd": zstandard(t, "")} {
		lines, err := readAll(t, file)
		require.NoError(t, err, name)
		require.Empty(t, lines, name)
	}
}

func TestBrokenLineIsNamed(t *testing.T) {
	for name, tc := range map[string]struct {
		line string
		want error
	}{
		"no JSON":        {`nonsense`, nil},
		"no object":      {`[1]`, nil},
		"unknown kind":   {`{"ts":1,"kind":"udp","frame":{}}`, ErrKind},
		"no kind":        {`{"ts":1,"frame":{}}`, ErrKind},
		"no time":        {`{"kind":"ws","frame":{}}`, ErrMissing},
		"no frame":       {`{"ts":1,"kind":"ws"}`, ErrMissing},
		"no path":        {`{"ts":1,"kind":"rest","body":{}}`, ErrMissing},
		"no body":        {`{"ts":1,"kind":"rest","path":"/x"}`, ErrMissing},
		"fractional ts":  {`{"ts":1.5,"kind":"ws","frame":{}}`, nil},
		"longer than ok": {`{"x":"` + strings.Repeat("x", MaxLine) + `"}`, ErrTooLong},
	} {
		t.Run(name, func(t *testing.T) {
			lines, err := readAll(t, []byte(wsLine+"\n"+tc.line+"\n"+wsLine+"\n"))
			require.Len(t, lines, 1, "lines before the broken one are returned")
			var at *LineError
			require.ErrorAs(t, err, &at)
			require.Equal(t, 2, at.Line)
			require.Equal(t, "test", at.Name)
			if tc.want != nil {
				require.ErrorIs(t, err, tc.want)
			}
		})
	}
}

func TestErrorComesAgain(t *testing.T) {
	r, err := NewReader("test", strings.NewReader("x\n"+wsLine))
	require.NoError(t, err)
	_, first := r.Next()
	require.Error(t, first)
	_, second := r.Next()
	require.Equal(t, first, second, "a reader does not go on behind a broken line")
}

func TestKilledRecorderLeavesWholeLines(t *testing.T) {
	text := wsLine + "\n" + restLine + "\n"
	long := strings.Repeat(text, 2000)
	zipped, framed := gzipped(t, long), zstandard(t, long)
	for name, file := range map[string][]byte{
		"plain": []byte(text[:len(text)-20]), "gzip": zipped[:len(zipped)-12], "zstd": framed[:len(framed)-12],
	} {
		t.Run(name, func(t *testing.T) {
			lines, err := readAll(t, file)
			require.ErrorIs(t, err, ErrTruncated)
			require.NotEmpty(t, lines)
		})
	}
	_, err := readAll(t, zipped[:5])
	require.ErrorIs(t, err, ErrTruncated, "cut in the header")
}

func TestStreamRefusesOtherFrames(t *testing.T) {
	for _, frame := range []string{`{}`, `[]`, `{"stream":"x"}`, `{"data":{}}`, `{"stream":1,"data":{}}`} {
		l := Line{Kind: WS, Frame: []byte(frame)}
		_, _, err := l.Stream()
		require.ErrorIs(t, err, ErrFrame, frame)
	}
}

func TestDepthSymbolOfOtherRequests(t *testing.T) {
	for _, path := range []string{"/api/v3/time", "/api/v3/depth", "/api/v3/trades?symbol=X", "%zz"} {
		l := Line{Kind: REST, Path: path}
		_, ok := l.DepthSymbol()
		require.False(t, ok, path)
	}
	l := Line{Kind: REST, Path: "/fapi/v1/depth?limit=5&symbol=%E5%B8%81USDT"}
	symbol, ok := l.DepthSymbol()
	require.True(t, ok)
	require.Equal(t, "币USDT", symbol)
}

func TestOpen(t *testing.T) {
	_, err := Open(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)

	path := filepath.Join(t.TempDir(), "r.ndjson.gz")
	require.NoError(t, os.WriteFile(path, gzipped(t, wsLine), 0o600))
	r, err := Open(path)
	require.NoError(t, err)
	_, err = r.Next()
	require.NoError(t, err)
	_, err = r.Next()
	require.True(t, errors.Is(err, io.EOF))
	require.NoError(t, r.Close())
}

func TestRealRecordings(t *testing.T) {
	files, err := filepath.Glob("../../../shared/recordings/*.ndjson.gz")
	require.NoError(t, err)
	if len(files) == 0 {
		t.Skip("no recordings beside the repository (../shared/recordings)")
	}
	for _, file := range files {
		r, err := Open(file)
		require.NoError(t, err)
		snapshots, frames := 0, 0
		for l, err := range r.Lines() {
			require.NoError(t, err)
			if l.Kind == REST {
				_, ok := l.DepthSymbol()
				require.True(t, ok, l.Path)
				snapshots++
				continue
			}
			_, _, err := l.Stream()
			require.NoError(t, err)
			frames++
		}
		want := 4
		if filepath.Base(file) == "binance-usdm-20240808.ndjson.gz" {
			want = 2 // the busy one has two symbols
		}
		require.Equal(t, want, snapshots, file)
		require.Greater(t, frames, 200, file)
		require.NoError(t, r.Close())
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte(restLine + "\n" + wsLine + "\n"))
	f.Add([]byte("\x1f\x8b"))
	f.Add([]byte("\x28\xb5\x2f\xfd"))
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := NewReader("fuzz", bytes.NewReader(file))
		if err != nil {
			var at *LineError
			require.ErrorAs(t, err, &at)
			return
		}
		for l, err := range r.Lines() {
			if err != nil {
				var at *LineError
				require.ErrorAs(t, err, &at)
				break
			}
			require.Contains(t, []Kind{REST, WS}, l.Kind)
			_, _, _ = l.Stream()
			_, _ = l.DepthSymbol()
		}
		require.NoError(t, r.Close())
	})
}
