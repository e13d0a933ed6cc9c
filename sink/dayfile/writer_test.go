package dayfile_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/golden"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/dayfile"
)

// lines is a Format of one text file a day: a line for each event.
type lines struct {
	fail error // of Convert
}

func (lines) Name() string { return "lines" }

func (l lines) Convert(_ context.Context, day *dayfile.Day) error {
	file, err := day.Create(dayfile.Escape(day.Instrument.Symbol) + "/" + day.Date.Format(time.DateOnly) + ".txt")
	if err != nil {
		return err
	}
	for e, err := range day.Book() {
		if err != nil {
			return err
		}
		flags := ""
		for _, flag := range []struct {
			name string
			set  bool
		}{{" opens", e.Opens}, {" start", e.StartOfDay}, {" made", e.Made}} {
			if flag.set {
				flags += flag.name
			}
		}
		fmt.Fprintf(file, "%d span %d %v%s at %s: %d\n", e.Seq, e.Span, e.Record.Kind(), flags, e.Local.Format("15:04:05.000"), e.Book.LastID())
	}
	for e, err := range day.Trades() {
		if err != nil {
			return err
		}
		fmt.Fprintf(file, "%d trade %d\n", e.Seq, e.Record.Trade.ID)
	}
	return l.fail
}

func open(t *testing.T, dir string, format dayfile.Format) *dayfile.Writer {
	t.Helper()
	w, err := dayfile.New(dayfile.Config{Dir: dir, NoSync: true}, format)
	require.NoError(t, err)
	return w
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	require.NoError(t, err)
	return string(text)
}

var midnight = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

func record(at time.Duration) marketprism.Record {
	return marketprism.Record{
		Instrument: marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "BTCUSDT"},
		ReceivedAt: midnight.Add(at),
	}
}

func snapshot(at time.Duration, id int64) marketprism.Record {
	r := record(at)
	r.Snapshot = &orderbook.Snapshot{LastID: id, Bids: []orderbook.Level{{Price: orderbook.One, Quantity: orderbook.One}}}
	return r
}

func update(at time.Duration, first, last int64) marketprism.Record {
	r := record(at)
	r.EventTime = r.ReceivedAt
	r.Update = &orderbook.Update{FirstID: first, LastID: last, EventTime: r.EventTime}
	return r
}

func gap(at time.Duration, after int64) marketprism.Record {
	r := record(at)
	r.Gap = &orderbook.Gap{After: after, Reason: orderbook.GapDisconnect}
	return r
}

func trade(at time.Duration, id int64) marketprism.Record {
	r := record(at)
	r.EventTime = r.ReceivedAt
	r.Trade = &marketprism.Trade{ID: id, Price: 1, Quantity: 1, TradeTime: r.ReceivedAt}
	return r
}

// A book goes on at midnight, and an update that was received before its snapshot comes after it.
func TestDays(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, lines{})
	recs := []marketprism.Record{
		snapshot(-2*time.Second, 10), update(-3*time.Second, 9, 11), trade(-time.Second, 7), update(-time.Second, 12, 12),
		update(time.Second, 13, 14), trade(2*time.Second, 8), gap(3*time.Second, 14), snapshot(4*time.Second, 20),
	}
	require.NoError(t, w.Write(t.Context(), recs[:5]))
	require.NoError(t, w.Write(t.Context(), recs[3:])) // two of them again, one of the day before
	require.NoError(t, w.Flush(t.Context(), time.Time{}))
	require.Equal(t, `1 span 1 snap opens at 23:59:58.000: 10
2 span 1 depth at 23:59:58.000: 11
4 span 1 depth at 23:59:59.000: 12
3 trade 7
`, read(t, dir, "BTCUSDT", "2026-03-01.txt"))
	require.Equal(t, `4 span 1 snap start at 00:00:00.000: 12
5 span 1 depth at 00:00:01.000: 14
9 span 1 gap at 00:00:03.000: 14
10 span 2 snap opens at 00:00:04.000: 20
8 trade 8
`, read(t, dir, "BTCUSDT", "2026-03-02.txt"))
	m, err := dayfile.ReadManifest(dir, recs[0].Instrument, midnight)
	require.NoError(t, err)
	require.EqualValues(t, 2, m.Copies)
	require.Len(t, m.Spans, 2)
	require.Len(t, m.Gaps, 1)

	var refused *sink.RefusedError
	require.ErrorAs(t, w.Write(t.Context(), []marketprism.Record{update(5*time.Second, 21, 21)}), &refused)
	require.ErrorIs(t, refused.Records[0].Err, dayfile.ErrLate)
	require.NoError(t, w.Close())
	require.ErrorIs(t, w.Write(t.Context(), recs), dayfile.ErrClosed)
}

// Records whose predecessors are missing get a Gap, also across a crash.
func TestMissingRecordsAreGaps(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, lines{})
	require.NoError(t, w.Write(t.Context(), []marketprism.Record{snapshot(1, 10), update(2, 11, 11), update(3, 13, 13), update(4, 14, 14)}))
	require.NoError(t, w.Close())
	w = open(t, dir, lines{})
	require.NoError(t, w.Write(t.Context(), []marketprism.Record{snapshot(5, 20), snapshot(6, 30)}))
	require.NoError(t, w.Flush(t.Context(), time.Time{}))
	require.NoError(t, w.Close())
	require.Equal(t, `1 span 1 snap opens at 00:00:00.000: 10
2 span 1 depth at 00:00:00.000: 11
3 span 1 gap made at 00:00:00.000: 11
5 span 2 snap opens at 00:00:00.000: 20
6 span 2 gap made at 00:00:00.000: 20
6 span 3 snap opens at 00:00:00.000: 30
`, read(t, dir, "BTCUSDT", "2026-03-02.txt"))
}

// A conversion that fails leaves no file, and the next one makes them.
func TestFailedConversion(t *testing.T) {
	dir := t.TempDir()
	failure := errors.New("no more paper")
	w := open(t, dir, lines{fail: failure})
	require.NoError(t, w.Write(t.Context(), []marketprism.Record{snapshot(1, 10)}))
	require.ErrorIs(t, w.Flush(t.Context(), time.Time{}), failure)
	require.NoError(t, w.Close())
	require.Empty(t, finalFiles(t, dir))
	w = open(t, dir, lines{})
	require.NoError(t, w.Flush(t.Context(), time.Time{}))
	require.NoError(t, w.Close())
	require.Len(t, finalFiles(t, dir), 2) // and the manifest
}

// finalFiles returns the files outside the log.
func finalFiles(t *testing.T, dir string) (files []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && !strings.Contains(path, "_log") {
			files = append(files, path)
		}
		return err
	}))
	return files
}

// Whatever byte the log loses at its end, what was accepted before the torn Write is there, and nothing else.
func TestTornLog(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, lines{})
	require.NoError(t, w.Write(t.Context(), []marketprism.Record{snapshot(1, 10)}))
	log := filepath.Join(dir, "_log", "0000000000000001.log")
	first := len(read(t, log))
	require.NoError(t, w.Write(t.Context(), []marketprism.Record{update(2, 11, 11)}))
	require.NoError(t, w.Close())
	whole := read(t, log)
	for size := first; size <= len(whole); size++ {
		dir := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(dir, "_log"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "_log", filepath.Base(log)), []byte(whole[:size]), 0o600))
		var opened dayfile.OpenedInfo
		w, err := dayfile.New(dayfile.Config{Dir: dir, Hooks: &dayfile.Hooks{Opened: func(i dayfile.OpenedInfo) { opened = i }}}, lines{})
		require.NoError(t, err)
		want := 1
		if size == len(whole) {
			want = 2
		} else {
			require.EqualValues(t, size-first, opened.TornBytes)
		}
		require.NoError(t, w.Write(t.Context(), []marketprism.Record{trade(3, 1)}))
		require.NoError(t, w.Flush(t.Context(), time.Time{}))
		require.NoError(t, w.Close())
		require.Equal(t, want+1, strings.Count(read(t, dir, "BTCUSDT", "2026-03-02.txt"), "\n"), "after %d of %d bytes", size, len(whole))
	}
}

// A damaged frame ends the spans, and is counted.
func TestDamagedLog(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, lines{})
	require.NoError(t, w.Write(t.Context(), []marketprism.Record{snapshot(1, 10)}))
	log := filepath.Join(dir, "_log", "0000000000000001.log")
	first := len(read(t, log))
	require.NoError(t, w.Write(t.Context(), []marketprism.Record{update(2, 11, 11)}))
	require.NoError(t, w.Write(t.Context(), []marketprism.Record{update(3, 12, 12), snapshot(4, 20)}))
	require.NoError(t, w.Close())
	data := []byte(read(t, log))
	data[first+20] ^= 1
	require.NoError(t, os.WriteFile(log, data, 0o600))
	damage := 0
	w, err := dayfile.New(dayfile.Config{Dir: dir, Hooks: &dayfile.Hooks{Damaged: func(dayfile.DamagedInfo) { damage++ }}}, lines{})
	require.NoError(t, err)
	require.NoError(t, w.Flush(t.Context(), time.Time{}))
	require.NoError(t, w.Close())
	require.Equal(t, 1, damage)
	require.Equal(t, `1 span 1 snap opens at 00:00:00.000: 10
0 span 1 gap at 00:00:00.000: 10
3 span 2 snap opens at 00:00:00.000: 20
`, read(t, dir, "BTCUSDT", "2026-03-02.txt"))
	m, err := dayfile.ReadManifest(dir, record(0).Instrument, midnight)
	require.NoError(t, err)
	require.Equal(t, 1, m.Damaged)
}

// Run makes the files of a day once records of the next one come, and one Writer owns the folder.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	written := make(chan *dayfile.Manifest, 1)
	w, err := dayfile.New(dayfile.Config{Dir: dir, NoSync: true, Hooks: &dayfile.Hooks{Written: func(i dayfile.WrittenInfo) { written <- i.Manifest }}}, lines{})
	require.NoError(t, err)
	_, err = dayfile.New(dayfile.Config{Dir: dir}, lines{})
	require.Error(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	require.NoError(t, w.Write(ctx, []marketprism.Record{snapshot(-1, 10), update(9*time.Minute, 11, 11)}))
	require.NoError(t, w.Write(ctx, []marketprism.Record{update(11*time.Minute, 12, 12)}))
	require.Equal(t, "2026-03-01", (<-written).Date)
	cancel()
	require.NoError(t, <-done)
	require.NoError(t, w.Close())
}

// No symbol leaves the folder.
func TestNames(t *testing.T) {
	for _, symbol := range []string{"../../etc/passwd", "..", ".", "a/b", `a\b`, "币安人生USDT", "a\x00b", strings.Repeat("X", 80)} {
		dir := t.TempDir()
		w := open(t, dir, lines{})
		r := snapshot(1, 1)
		r.Instrument.Symbol = symbol
		require.NoError(t, w.Write(t.Context(), []marketprism.Record{r}))
		require.NoError(t, w.Flush(t.Context(), time.Time{}))
		require.NoError(t, w.Close())
		require.Len(t, finalFiles(t, dir), 2, symbol)
		_, err := dayfile.ReadManifest(dir, r.Instrument, midnight)
		require.NoError(t, err, symbol)
	}
}

// The books at every record are those of the scenario.
func TestGoldenBooks(t *testing.T) {
	records, books := golden.Load(t)
	w := open(t, t.TempDir(), check{t, books})
	require.NoError(t, w.Write(t.Context(), records))
	require.NoError(t, w.Flush(t.Context(), time.Time{}))
	require.NoError(t, w.Close())
}

type check struct {
	t     *testing.T
	books []golden.Book
}

func (check) Name() string { return "check" }

func (c check) Convert(_ context.Context, day *dayfile.Day) error {
	next := 0
	for e, err := range day.Book() {
		require.NoError(c.t, err)
		if e.Record.Gap != nil {
			continue
		}
		text, _ := e.Book.AppendText(nil)
		require.Equal(c.t, c.books[next].Text, string(text))
		require.Equal(c.t, c.books[next].Seq, e.Seq)
		require.Equal(c.t, c.books[next].CRC32C, fmt.Sprintf("%08x", e.Book.Checksum()))
		next++
	}
	require.Len(c.t, c.books, next)
	return nil
}
