package binance_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/internal/recording"
	"github.com/marketprism/marketprism/orderbook"
)

// recorded runs test on a fake exchange while a Recorder runs, and returns the files it has written.
func recorded(t *testing.T, cfg binance.RecorderConfig, s setup, test func(t *testing.T, h *harness, r *binance.Recorder)) []string {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r, err := binance.NewRecorder(cfg)
		if err != nil {
			t.Fatal(err)
		}
		s.client.Recorder, s.server.Network = r, binancetest.InMemory()
		h := newHarness(t, s)
		defer h.close()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- r.Run(ctx) }()
		test(t, h, r)
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	files, err := filepath.Glob(filepath.Join(cfg.Dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	return files
}

// lines reads recordings as one; the error is that of the last.
func lines(t *testing.T, files ...string) (all []recording.Line, err error) {
	t.Helper()
	for _, file := range files {
		in, err := recording.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		for {
			l, err := in.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				return all, err
			}
			all = append(all, l)
		}
	}
	return all, nil
}

// A recording gives the same books again, both line by line and when it is played back as an exchange.
func TestRecordingGivesTheSameBooks(t *testing.T) {
	for _, market := range []marketprism.Market{marketprism.Spot, marketprism.USDM} {
		t.Run(string(market), func(t *testing.T) {
			server := exchange(3)
			server.Market = market
			want := make(map[string]orderbook.Snapshot)
			live := setup{server: server, depth: binance.DepthConfig{Tickers: true, AggTrades: true, MaxConnAge: -1}}
			files := recorded(t, binance.RecorderConfig{Dir: t.TempDir(), MaxAge: 4 * time.Second}, live, func(t *testing.T, h *harness, r *binance.Recorder) {
				h.ready()
				h.live(h.srv.Listed()...)
				h.live(h.srv.Listed()...)
				h.stop()
				if err := h.end(); err != nil {
					t.Error(err)
				}
				for symbol, b := range h.books {
					want[symbol] = b.book.Snapshot()
				}
			})
			if len(files) < 3 {
				t.Errorf("%d files of 4 s in 10 s", len(files))
			}
			all, err := lines(t, files...)
			if err != nil {
				t.Fatal(err)
			}
			for symbol, book := range replay(t, market, all) {
				if got := book.Snapshot(); !slices.Equal(got.Bids, want[symbol].Bids) || !slices.Equal(got.Asks, want[symbol].Asks) || got.LastID != want[symbol].LastID {
					t.Errorf("%s: the replayed book at %d differs from the one at %d", symbol, got.LastID, want[symbol].LastID)
				}
				delete(want, symbol)
			}
			if len(want) > 0 {
				t.Errorf("no replay of %v", want)
			}
		})
	}
}

// replay runs a recording through the decoder and the sync core, as examples/replay does.
func replay(t *testing.T, market marketprism.Market, all []recording.Line) map[string]*orderbook.Book {
	t.Helper()
	cfg := orderbook.SyncerConfig{SnapshotTimeout: -1}
	if market != marketprism.Spot {
		cfg.Continuity = orderbook.Linked
	}
	syncers := make(map[string]*orderbook.Syncer)
	fetches := make(map[string]orderbook.FetchID)
	books := make(map[string]*orderbook.Book)
	of := func(symbol string, at time.Time) *orderbook.Syncer {
		if syncers[symbol] == nil {
			s, err := orderbook.NewSyncer(cfg)
			if err != nil {
				t.Fatal(err)
			}
			syncers[symbol], books[symbol] = s, s.Book()
			fetches[symbol] = s.Connected(at).Fetch
		}
		return syncers[symbol]
	}
	var d binance.Decoder
	var m binance.Message
	for _, l := range all {
		if symbol, ok := l.DepthSymbol(); ok {
			var snap orderbook.Snapshot
			if _, err := d.DecodeSnapshot(l.Body, &snap); err != nil {
				t.Fatal(err)
			}
			of(symbol, l.ReceivedAt).Snapshot(l.ReceivedAt, fetches[symbol], &snap)
		}
		if l.Kind == recording.WS {
			if err := d.Decode(l.Frame, &m); err != nil {
				t.Fatal(err)
			}
			if m.Type == binance.MessageDepth {
				of(m.Symbol, l.ReceivedAt).Update(l.ReceivedAt, &m.Update)
			}
		}
	}
	for symbol, s := range syncers {
		if s.State() != orderbook.Synced || s.Stats().Gaps != 0 {
			t.Errorf("%s: %v with %+v", symbol, s.State(), s.Stats())
		}
	}
	return books
}

func TestRecordingIsPlayedAsAnExchange(t *testing.T) {
	dir := t.TempDir()
	live := setup{server: exchange(3), depth: binance.DepthConfig{Tickers: true}}
	files := recorded(t, binance.RecorderConfig{Dir: dir, Name: "spot", Plain: true}, live, func(t *testing.T, h *harness, r *binance.Recorder) {
		h.ready()
		h.live(h.srv.Listed()...)
	})
	if len(files) != 1 || !strings.HasPrefix(filepath.Base(files[0]), "spot-20000101T") || !strings.HasSuffix(files[0], ".ndjson") {
		t.Fatalf("files: %v", files)
	}
	server := binancetest.Config{Playback: &binancetest.Playback{Path: files[0], WaitFor: []string{"depth", "bookTicker"}}}
	bubble(t, setup{server: server, depth: binance.DepthConfig{Tickers: true}}, func(t *testing.T, h *harness) {
		<-h.srv.Played()
		synctest.Wait()
		if err := h.srv.PlaybackErr(); err != nil {
			t.Fatal(err)
		}
		h.ready()
		if s := h.syncer.Stats(); s.Gaps != 0 || s.Snapshots != 3 || s.Updates == 0 || s.Tickers == 0 {
			t.Errorf("stats: %+v", s)
		}
	})
}

// After a crash at any time, the file can be read at least to its last flush.
func TestRecordingAfterACrash(t *testing.T) {
	for _, plain := range []bool{false, true} {
		dir := t.TempDir()
		var left []byte
		var flushed int
		cfg := binance.RecorderConfig{Dir: dir, FlushEvery: time.Second, Plain: plain}
		recorded(t, cfg, setup{server: exchange(2)}, func(t *testing.T, h *harness, r *binance.Recorder) {
			h.ready()
			time.Sleep(10*time.Second + 500*time.Millisecond)
			synctest.Wait()
			files, _ := filepath.Glob(filepath.Join(dir, "*"))
			var err error
			if left, err = os.ReadFile(files[0]); err != nil {
				t.Fatal(err)
			}
			flushed = int(r.Stats().Lines)
		})
		crashed := filepath.Join(t.TempDir(), "crashed")
		if err := os.WriteFile(crashed, left, 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := lines(t, crashed)
		if err != nil && !errors.Is(err, recording.ErrTruncated) {
			t.Error(err)
		}
		if len(all) > flushed || len(all) < flushed-2*10 {
			t.Errorf("%d lines of %d can be read", len(all), flushed)
		}
	}
}

func TestRecordingIsVerbatimAndBounded(t *testing.T) {
	dir := t.TempDir()
	lost := 0
	cfg := binance.RecorderConfig{Dir: dir, MaxBytes: 20_000, QueueBytes: 100_000, Lost: func() { lost++ }}
	odd := `{"stream":"x@y",` + "\n" + `"data":{"text":"a\nb","n":1.50}}`
	server := exchange(1)
	server.Symbols[0].Levels = 20
	files := recorded(t, cfg, setup{server: server}, func(t *testing.T, h *harness, r *binance.Recorder) {
		h.ready()
		time.Sleep(100 * time.Millisecond)
		h.srv.SendRaw(odd)
		h.srv.SendRaw(`{"stream":"x@y","data":{`)                                       // no JSON
		h.srv.SendRaw(`{"stream":"x@y","data":"` + strings.Repeat("x", 200_000) + `"}`) // more than the queue holds
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if s := r.Stats(); s.Lost != 1 || s.Skipped != 2 || s.Files < 2 || s.Bytes < 20_000 {
			t.Errorf("stats: %+v", s)
		}
	})
	if lost != 1 {
		t.Errorf("Lost was called %d times", lost)
	}
	all, err := lines(t, files...)
	if err != nil {
		t.Fatal(err)
	}
	found := slices.ContainsFunc(all, func(l recording.Line) bool { return string(l.Frame) == strings.ReplaceAll(odd, "\n", " ") })
	depth, ok := all[1].DepthSymbol()
	if !found || !ok || depth != victim || !bytes.HasPrefix([]byte(all[1].Path), []byte("/api/v3/depth?")) {
		t.Errorf("verbatim: %v, second line: %s", found, all[1].Path)
	}
	for _, f := range files {
		if info, _ := os.Stat(f); info.Size() == 0 || info.Mode()&0o077 != 0 {
			t.Errorf("%s has %d bytes, and others may use it: %v", f, info.Size(), info.Mode())
		}
	}
}

func TestRecorderFails(t *testing.T) {
	for want, cfg := range map[string]binance.RecorderConfig{
		"Dir is empty":  {},
		"FlushEvery -1": {Dir: "x", FlushEvery: -1},
		"QueueBytes -1": {Dir: "x", QueueBytes: -1},
		"want both":     {Dir: "x", Compression: binance.Compression{Suffix: ".zst"}},
		"exclude each other": {Dir: "x", Plain: true, Compression: binance.Compression{
			Suffix: ".x", NewWriter: func(io.Writer) (binance.CompressionWriter, error) { return nil, nil },
		}},
	} {
		if _, err := binance.NewRecorder(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	noRoom := errors.New("no compression")
	for want, cfg := range map[error]binance.RecorderConfig{
		os.ErrNotExist: {Dir: filepath.Join(t.TempDir(), "missing")},
		noRoom: {Dir: t.TempDir(), Compression: binance.Compression{
			Suffix: ".x", NewWriter: func(io.Writer) (binance.CompressionWriter, error) { return (*gzip.Writer)(nil), noRoom },
		}},
	} {
		recorderFails(t, cfg, want)
	}
}

// recorderFails checks that a Recorder fails with an error, and that the books are unaffected.
func recorderFails(t *testing.T, cfg binance.RecorderConfig, want error) {
	synctest.Test(t, func(t *testing.T) {
		r, err := binance.NewRecorder(cfg)
		if err != nil {
			t.Fatal(err)
		}
		server := exchange(1)
		server.Network = binancetest.InMemory()
		h := newHarness(t, setup{server: server, client: binance.Config{Recorder: r}})
		defer h.close()
		if err := r.Run(t.Context()); !errors.Is(err, want) {
			t.Errorf("Run = %v", err)
		}
		h.ready()
		h.live(victim)
		if s := r.Stats(); s.Lost < 50 || s.Lines != 0 {
			t.Errorf("stats: %s", fmt.Sprintf("%+v", s))
		}
	})
}
