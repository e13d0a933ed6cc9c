package sink_test

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// spilling is a Spill whose Run is under way until stop.
type spilling struct {
	*sink.Spill
	dst    *sinktest.Recorder
	faults sinktest.Faults
	stop   func() // ends Run and closes
}

func openSpill(t testing.TB, dst *sinktest.Recorder, cfg sink.SpillConfig) *spilling {
	t.Helper()
	s := &spilling{dst: dst}
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	cfg.Encode, cfg.Decode = encodeRecord, decodeRecord
	cfg.DirectTimeout = cmp.Or(cfg.DirectTimeout, time.Minute)
	cfg.RetryMin, cfg.RetryMax = time.Microsecond, time.Millisecond
	var err error
	if s.Spill, err = sink.NewSpill(s.faults.Wrap(dst), cfg); err != nil {
		t.Fatal(err)
	}
	s.stop = func() { s.Close() }
	t.Cleanup(func() { s.stop() })
	return s
}

// run starts Run.
func (s *spilling) run(t testing.TB) *spilling {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func (s *spilling) write(t testing.TB, recs []marketprism.Record) {
	t.Helper()
	if err := s.Write(t.Context(), recs); err != nil {
		t.Fatal(err)
	}
}

func (s *spilling) flush(t testing.TB) {
	t.Helper()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// down makes the next n Writes of the destination fail, some with a part or all of them accepted.
func (s *spilling) down(rng *rand.Rand, n int) {
	for range n {
		s.faults.FailAfter([]int{0, 0, rng.IntN(20), 1 << 30}[rng.IntN(4)], errDown)
	}
}

func TestSpillIsASink(t *testing.T) {
	configs := map[string]sink.SpillConfig{
		"Default":    {},
		"Disk":       {DirectTimeout: -1},
		"Small":      {DirectTimeout: -1, SyncInterval: -1, MaxBytes: 1 << 20, SegmentBytes: 4096, MaxBatch: 7},
		"Interval":   {SyncInterval: time.Millisecond, DirectTimeout: -1},
		"Fail":       {Overflow: sink.Fail},
		"DropNewest": {Overflow: sink.DropNewest},
	}
	for name, cfg := range configs {
		t.Run(name, func(t *testing.T) {
			sinktest.TestSink(t, func(t *testing.T) (sink.Sink, func(*testing.T) []marketprism.Record) {
				s := openSpill(t, &sinktest.Recorder{}, cfg).run(t)
				s.down(rand.New(rand.NewPCG(1, 1)), 6)
				return s, func(t *testing.T) []marketprism.Record {
					s.flush(t)
					return s.dst.Unique()
				}
			})
		})
	}
}

func TestSpillGoesLiveAgain(t *testing.T) {
	spilled, live := make(chan sink.SpillingInfo, 9), make(chan struct{}, 9)
	s := openSpill(t, &sinktest.Recorder{}, sink.SpillConfig{Hooks: &sink.SpillHooks{
		Spilling: func(i sink.SpillingInfo) { spilled <- i },
		Live:     func(sink.SpillLiveInfo) { live <- struct{}{} },
	}}).run(t)
	recs := sinktest.Records(1, 30)
	s.write(t, recs[:10])
	if got := s.Stats(); got != (sink.SpillStats{Direct: 10}) {
		t.Errorf("Stats %+v", got)
	}
	s.faults.FailNext(3, errDown)
	s.write(t, recs[10:20])
	if i := <-spilled; i.Records != 10 || i.Err != errDown {
		t.Errorf("Spilling with %+v", i)
	}
	<-live
	s.write(t, recs[20:])
	got := s.Stats()
	if got.Retries != 2 {
		t.Errorf("%d retries", got.Retries)
	}
	if got.Retries = 0; got != (sink.SpillStats{Direct: 20, Spilled: 10, Drained: 10}) {
		t.Errorf("Stats %+v", got)
	}
	wantSame(t, s.dst.Records(), recs)
}

// A destination that does not answer is one that is away.
func TestSpillDoesNotWaitForASlowDestination(t *testing.T) {
	s := openSpill(t, &sinktest.Recorder{}, sink.SpillConfig{DirectTimeout: time.Millisecond}).run(t)
	release := s.faults.Hold()
	recs := sinktest.Records(1, 30)
	s.write(t, recs[:10])
	s.write(t, recs[10:])
	if got := s.Stats(); !got.Spilling || got.Queued != 30 || got.QueuedBytes < 30*12 || got.Segments != 1 {
		t.Errorf("Stats %+v", got)
	}
	release()
	s.flush(t)
	wantSame(t, s.dst.Records(), recs)
}

// Whatever the destination does, and however often the process starts anew, everything that Write
// accepted arrives, first copies in order.
func TestSpillKeepsOrder(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 3))
		var dst sinktest.Recorder
		cfg := sink.SpillConfig{
			Dir: t.TempDir(), SegmentBytes: 300 + rng.Int64N(20_000), MaxBatch: 1 + rng.IntN(100), SyncInterval: -1,
		}
		if rng.IntN(3) == 0 {
			cfg.DirectTimeout = -1
		}
		recs := sinktest.Records(seed, 1000)
		s := openSpill(t, &dst, cfg).run(t)
		for rest := recs; len(rest) > 0; {
			n := min(len(rest), 1+rng.IntN(30))
			s.write(t, rest[:n])
			rest = rest[n:]
			switch p := rng.IntN(30); {
			case p < 8:
				s.down(rng, 1+rng.IntN(4))
			case p < 10:
				s.flush(t)
			case p == 10:
				s.stop()
				s = openSpill(t, &dst, cfg).run(t)
			}
		}
		s.flush(t)
		stats := s.Stats()
		s.stop()
		wantSame(t, dst.Unique(), recs)
		if stats.Queued != 0 || stats.QueuedBytes != 0 {
			t.Errorf("Stats %+v of an empty queue", stats)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func TestSpillKeepsTheQueueOverARestart(t *testing.T) {
	cfg := sink.SpillConfig{Dir: t.TempDir(), SegmentBytes: 5000}
	recs := sinktest.Records(1, 300)
	var dst sinktest.Recorder
	for part := range slices.Chunk(recs, 100) {
		s := openSpill(t, &dst, cfg)
		s.faults.FailNext(1, errDown)
		s.write(t, part) // Run is not running
		s.stop()
	}
	var opened sink.SpillOpenedInfo
	cfg.Hooks = &sink.SpillHooks{Opened: func(i sink.SpillOpenedInfo) { opened = i }}
	s := openSpill(t, &dst, cfg)
	if opened.Records != 300 || opened.Segments < 3 || opened.Bytes == 0 || opened.TornBytes != 0 || opened.PositionLost {
		t.Errorf("Opened %+v", opened)
	}
	if got := s.Stats(); !got.Spilling || got.Queued != 300 {
		t.Errorf("Stats %+v", got)
	}
	s.run(t).flush(t)
	wantSame(t, dst.Records(), recs)
	s.stop()
	if left := segments(t, cfg.Dir); len(left) > 1 {
		t.Errorf("files %q are left", left)
	}
}

func segments(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestSpillIsAloneInItsFolder(t *testing.T) {
	cfg := sink.SpillConfig{Dir: t.TempDir(), Encode: encodeRecord, Decode: decodeRecord}
	s := openSpill(t, &sinktest.Recorder{}, cfg)
	if _, err := sink.NewSpill(s.dst, cfg); !errors.Is(err, sink.ErrLocked) {
		t.Errorf("a second Spill: %v", err)
	}
	s.stop()
	again, err := sink.NewSpill(s.dst, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestSpillCloses(t *testing.T) {
	recs := sinktest.Records(1, 500)
	s, wrote := openBlocked(t, 20_000, recs)
	flushed := make(chan error, 1)
	go func() { flushed <- s.Flush(t.Context()) }()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"waiting Write": <-wrote, "Flush": <-flushed, "Write": s.Write(t.Context(), recs), "Run": s.Run(t.Context()), "Close": s.Close(),
	} {
		if !errors.Is(err, sink.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := s.Run(t.Context()); err != sink.ErrStarted {
		t.Errorf("second Run: %v", err)
	}
}

// A folder that cannot be written is the error of the Write, and nothing is pretended.
func TestSpillTellsOfDiskErrors(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := openSpill(t, &sinktest.Recorder{}, sink.SpillConfig{Dir: dir}).run(t)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	recs := sinktest.Records(1, 60)
	s.faults.FailNext(1, errDown)
	err := s.Write(t.Context(), recs[:30])
	var disk *sink.DiskError
	if !errors.As(err, &disk) || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), dir) {
		t.Errorf("Write: %v", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.faults.FailNext(1, errDown)
	s.write(t, recs)
	s.flush(t)
	wantSame(t, s.dst.Unique(), recs)

	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := sink.SpillConfig{Dir: filepath.Join(dir, "file"), Encode: encodeRecord, Decode: decodeRecord}
	if _, err := sink.NewSpill(s.dst, cfg); !errors.As(err, &disk) {
		t.Errorf("NewSpill: %v", err)
	}
}

func TestSpillConfigIsChecked(t *testing.T) {
	good := sink.SpillConfig{Dir: t.TempDir(), Encode: encodeRecord, Decode: decodeRecord}
	for name, change := range map[string]func(*sink.SpillConfig){
		"Dir":          func(c *sink.SpillConfig) { c.Dir = "" },
		"Encode":       func(c *sink.SpillConfig) { c.Encode = nil },
		"Decode":       func(c *sink.SpillConfig) { c.Decode = nil },
		"MaxBytes":     func(c *sink.SpillConfig) { c.MaxBytes = -1 },
		"SegmentBytes": func(c *sink.SpillConfig) { c.MaxBytes, c.SegmentBytes = 10, 11 },
		"Overflow":     func(c *sink.SpillConfig) { c.Overflow = sink.DropOldest },
		"MaxBatch":     func(c *sink.SpillConfig) { c.MaxBatch = -1 },
		"RetryMax":     func(c *sink.SpillConfig) { c.RetryMin, c.RetryMax = 2, 1 },
	} {
		cfg := good
		change(&cfg)
		if _, err := sink.NewSpill(&sinktest.Recorder{}, cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("wrong %s: %v", name, err)
		}
	}
	if _, err := sink.NewSpill(nil, good); err == nil {
		t.Error("no destination: no error")
	}
}
