package sink_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// A hookLog collects the calls of hooks.
type hookLog struct {
	mu      sync.Mutex
	dropped []marketprism.Record
	corrupt []*sink.CorruptError
}

func (d *hookLog) hooks() *sink.SpillHooks {
	return &sink.SpillHooks{
		Dropped: func(i sink.DroppedInfo) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.dropped = append(d.dropped, i.Record.Clone())
		},
		Corrupt: func(err *sink.CorruptError) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.corrupt = append(d.corrupt, err)
		},
	}
}

// A damaged record is reported, its bytes are kept, the others arrive, and a book that lost a record has a
// Gap, also if the process starts again after the damage.
func TestSpillDamage(t *testing.T) {
	gaps := uint64(0)
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 23))
		var dst sinktest.Recorder
		var seen hookLog
		cfg := sink.SpillConfig{
			Dir: t.TempDir(), DirectTimeout: -1, SegmentBytes: 20_000, MaxBatch: 20, SyncInterval: -1, Hooks: seen.hooks(),
		}
		recs := sinktest.Records(seed, 500)
		s := openSpill(t, &dst, cfg)
		s.write(t, recs[:400])
		s.stop()
		file := flipByte(t, rng, cfg.Dir)

		s = openSpill(t, &dst, cfg).run(t)
		if rng.IntN(2) == 0 { // with or without a restart among the records behind the damage
			if _, err := dst.Wait(t.Context(), 100+rng.IntN(200)); err != nil {
				t.Fatal(err)
			}
			gaps += s.Stats().Gaps
			s.stop()
			s = openSpill(t, &dst, cfg).run(t)
		}
		s.flush(t)
		s.write(t, recs[400:])
		s.flush(t)
		gaps += s.Stats().Gaps
		s.stop()

		// If a restart comes before the batch with the damage is accepted, it is reported again.
		for _, c := range seen.corrupt {
			if _, err := os.Stat(c.Kept); err != nil || c.Segment != file || c.From != seen.corrupt[0].From {
				t.Errorf("Corrupt with %v, %s was damaged: %v", c, file, err)
			}
		}
		if n := len(seen.corrupt); n == 0 || n > 2 || s.Stats().Kept != 1 {
			t.Errorf("%d calls of Corrupt; Stats %+v", n, s.Stats())
		}
		checkMissing(t, recs, dst.Unique(), seen.dropped, 1)
		checkWhole(t, recs, slices.Concat(dst.Unique(), seen.dropped))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if gaps < 20 {
		t.Errorf("%d gaps: too few to prove anything", gaps)
	}
}

// flipByte changes one byte somewhere in the queue.
func flipByte(t *testing.T, rng *rand.Rand, dir string) (file string) {
	t.Helper()
	files := segments(t, dir)
	file = files[rng.IntN(len(files))]
	data := readFile(t, file)
	data[20+rng.IntN(len(data)-20)] ^= byte(1 + rng.IntN(255))
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// checkMissing checks that all but a number of sent arrived or was dropped, and the contract of Record.
func checkMissing(t *testing.T, sent, arrived, dropped []marketprism.Record, want int) {
	t.Helper()
	if missing := countMissing(t, sent, arrived, dropped); missing != want {
		t.Errorf("%d records are missing, want %d", missing, want)
	}
}

// countMissing returns how many of sent neither arrived nor were dropped. It checks the contract of Record, and that each
// book that lost its last record has ended.
func countMissing(t *testing.T, sent, arrived, dropped []marketprism.Record) (missing int) {
	t.Helper()
	known := make(map[string]bool)
	books := make(map[marketprism.Instrument]*arrivedBook)
	for i := range arrived {
		r := &arrived[i]
		known[r.Key()] = true
		if books[r.Instrument] == nil {
			books[r.Instrument] = &arrivedBook{}
		}
		books[r.Instrument].arrive(t, r)
	}
	for i := range dropped {
		if dropped[i].Update == nil {
			t.Errorf("%s was dropped", dropped[i].Key())
		}
		known[dropped[i].Key()] = true
	}
	ends := make(map[marketprism.Instrument]*arrivedBook)
	for i := range sent {
		r := &sent[i]
		if !known[r.Key()] {
			missing++
		}
		if ends[r.Instrument] == nil {
			ends[r.Instrument] = &arrivedBook{}
		}
		ends[r.Instrument].arrive(t, r)
	}
	for instrument, book := range books {
		if end := ends[instrument]; book.known && (!end.known || book.lastID != end.lastID) {
			t.Errorf("the book of %v ends at %d without a Gap, the last id sent is %d", instrument, book.lastID, end.lastID)
		}
	}
	return missing
}

// Whatever is cut off or zeroed, at any offset of any segment: it is reported and counted, everything else arrives, and
// the books concerned have a Gap.
func TestSpillNoticesDamageAnywhere(t *testing.T) {
	short.Skip(t)
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // in memory, for hundreds of queues
	}
	recs := sinktest.Records(7, 200)
	dir := t.TempDir()
	s := openSpill(t, &sinktest.Recorder{}, sink.SpillConfig{Dir: dir, DirectTimeout: -1, SegmentBytes: 4_000, SyncInterval: -1})
	s.write(t, recs)
	s.stop()
	files := segments(t, dir)
	if len(files) < 5 {
		t.Fatalf("%d segments", len(files))
	}
	rng := rand.New(rand.NewPCG(1, 41))
	lost := 0
	for _, file := range files {
		whole := readFile(t, file)
		for _, at := range []int{0, 28, len(whole) - 1, rng.IntN(len(whole)), rng.IntN(len(whole))} {
			for _, change := range [][]byte{
				whole[:at],
				slices.Concat(whole[:at], make([]byte, len(whole)-at)),
				slices.Concat(whole[:at], make([]byte, min(30, len(whole)-at)), whole[min(at+30, len(whole)):]),
			} {
				if bytes.Equal(change, whole) {
					continue
				}
				damaged := t.TempDir()
				if err := os.CopyFS(damaged, os.DirFS(dir)); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(damaged, filepath.Base(file)), change, 0o600); err != nil {
					t.Fatal(err)
				}
				lost += drainDamaged(t, damaged, recs)
				if t.Failed() {
					t.Fatalf("%s changed at %d of %d, %d bytes are left", filepath.Base(file), at, len(whole), len(change))
				}
			}
		}
	}
	if lost < 500 {
		t.Errorf("%d records lost: too few to prove anything", lost)
	}
}

// drainDamaged delivers a damaged queue, checks that the damage is reported, and returns how many records are lost.
func drainDamaged(t *testing.T, dir string, recs []marketprism.Record) (lost int) {
	t.Helper()
	var seen hookLog
	var dst sinktest.Recorder
	s := openSpill(t, &dst, sink.SpillConfig{Dir: dir, DirectTimeout: -1, SyncInterval: -1, MaxBatch: 20, Hooks: seen.hooks()}).run(t)
	s.flush(t)
	stats := s.Stats()
	s.stop()
	lost = countMissing(t, recs, dst.Records(), seen.dropped)
	if stats.Corrupt == 0 || stats.Corrupt != uint64(len(seen.corrupt)) || lost > 0 && stats.Gaps == 0 {
		t.Errorf("%d records are missing; %d calls of Corrupt, Stats %+v", lost, len(seen.corrupt), stats)
	}
	return lost
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Every known book gets its Gap at the damage, an unknown one at its first Update and with the id of that: readers ignore a
// Gap before their book's id, and may have been there since an earlier process.
func TestSpillGapsForDamage(t *testing.T) {
	var seen hookLog
	poison := trade("P", 1)
	var dst sinktest.Recorder
	s := openWithPoison(t, &dst, &seen)
	s.write(t, []marketprism.Record{
		snapshot("B", 4), snapshot("A", 7), poison, update("A", 8), update("B", 5), update("C", 9), update("C", 10),
		snapshot("A", 8), update("A", 9),
	})
	s.run(t).flush(t)
	s.write(t, []marketprism.Record{update("B", 6), snapshot("C", 10), update("C", 11)})
	s.flush(t)
	wantKeys(t, dst.Records(), "B snap 4:0x0", "A snap 7:0x0", "A gap 7-invalid", "B gap 4-invalid", "C gap 9-invalid",
		"A snap 8:0x0", "A depth 9-9", "C snap 10:0x0", "C depth 11-11")
	wantKeys(t, seen.dropped, "A depth 8-8", "B depth 5-5", "C depth 9-9", "C depth 10-10", "B depth 6-6")
	gap := dst.Records()[2].Gap
	var corrupt *sink.CorruptError
	if !errors.As(gap.Err, &corrupt) || !errors.Is(corrupt, errCodec) || corrupt.Kept == "" {
		t.Errorf("the Gap's cause is %v", gap.Err)
	}
	if got := s.Stats(); got.Corrupt != 1 || got.Gaps != 3 || got.Kept != 1 {
		t.Errorf("Stats %+v", got)
	}
}

func openWithPoison(t *testing.T, dst *sinktest.Recorder, seen *hookLog) *spilling {
	t.Helper()
	s, err := sink.NewSpill(dst, sink.SpillConfig{
		Dir: t.TempDir(), Hooks: seen.hooks(), Encode: encodeRecord, DirectTimeout: -1,
		Decode: func(data []byte, r *marketprism.Record) error {
			if err := decodeRecord(data, r); err != nil || r.Instrument.Symbol == "P" {
				return errors.Join(err, errCodec)
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &spilling{Spill: s, dst: dst}
}

func wantKeys(t *testing.T, recs []marketprism.Record, want ...string) {
	t.Helper()
	got := keys(recs)
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("records\n%q, want\n%q", got, want)
		}
	}
}

// A poisonError is permanent.
type poisonError struct{}

func (poisonError) Error() string { return "refused for the test" }

func (poisonError) Permanent() bool { return true }

var errPoison = poisonError{}

// refusing is a destination that refuses some records permanently, and all of them at times.
func refusing(dst sink.Sink, poison map[string]bool, faults *sinktest.Faults) sink.Sink {
	return faults.Wrap(sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
		for i := range recs {
			if poison[recs[i].Key()] {
				return errPoison
			}
		}
		return dst.Write(ctx, recs)
	}))
}

// A permanently refused record does not block the others, and its book gets a Gap.
func TestSpillLeavesOutRefusedRecords(t *testing.T) {
	refusals, dropped := 0, 0
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 29))
		recs := sinktest.Records(seed, 300)
		poison := make(map[string]bool)
		for range 1 + rng.IntN(6) {
			poison[recs[rng.IntN(len(recs))].Key()] = true
		}
		var seen hookLog
		var refused []string
		var left []marketprism.Record
		hooks := seen.hooks()
		hooks.Refused = func(i sink.SpillRefusedInfo) {
			if _, err := os.Stat(i.Kept); err != nil || !errors.Is(i.Err, errPoison) {
				t.Errorf("Refused %+v: %v", i, err)
			}
			refused, left = append(refused, i.Record.Key()), append(left, i.Record.Clone())
		}
		var dst sinktest.Recorder
		var faults sinktest.Faults
		cfg := sink.SpillConfig{
			Dir: t.TempDir(), Encode: encodeRecord, Decode: decodeRecord, DirectTimeout: -1, SyncInterval: -1,
			MaxBatch: 1 + rng.IntN(100), RetryMin: 1, RetryMax: 1000, Hooks: hooks,
		}
		if seed%2 == 0 {
			cfg.Peek = peekRecord
		}
		s, err := sink.NewSpill(encodedSink{refusing(&dst, poison, &faults)}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		running := &spilling{Spill: s, dst: &dst}
		running.write(t, recs[:200])
		faults.FailNext(3, errDown)
		running.run(t).flush(t)
		running.write(t, recs[200:])
		running.flush(t)
		stats := s.Stats()
		running.stop()
		for _, key := range refused {
			if !poison[key] {
				t.Errorf("%s was left out", key)
			}
		}
		if stats.Refused != uint64(len(refused)) || stats.Kept != len(refused) || stats.Unkept != 0 {
			t.Errorf("Stats %+v, %d records were refused", stats, len(refused))
		}
		checkMissing(t, recs, dst.Unique(), seen.dropped, len(refused))
		checkWhole(t, recs, slices.Concat(dst.Unique(), seen.dropped, left))
		refusals, dropped = refusals+len(refused), dropped+len(seen.dropped)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if refusals < 30 || dropped < 100 {
		t.Errorf("%d records refused, %d dropped: too few to prove anything", refusals, dropped)
	}
}

// Refused records that the destination names cost one Write more, however many they are.
func TestSpillLeavesOutNamedRecords(t *testing.T) {
	recs := sinktest.Records(1, 400)
	poison := make(map[string]bool)
	for i := 3; i < len(recs); i += 10 {
		poison[recs[i].Key()] = true
	}
	var seen hookLog
	var dst sinktest.Recorder
	refused := 0
	hooks := seen.hooks()
	hooks.Refused = func(i sink.SpillRefusedInfo) {
		if refused++; !poison[i.Record.Key()] || !errors.Is(i.Err, errPoison) {
			t.Errorf("Refused %+v", i)
		}
	}
	var faults sinktest.Faults
	s, err := sink.NewSpill(faults.Wrap(naming(&dst, poison)), sink.SpillConfig{
		Dir: t.TempDir(), Encode: encodeRecord, Decode: decodeRecord, DirectTimeout: -1, SyncInterval: -1, Hooks: hooks,
	})
	if err != nil {
		t.Fatal(err)
	}
	running := &spilling{Spill: s, dst: &dst}
	running.write(t, recs)
	running.run(t).flush(t)
	defer running.stop()
	if writes, _ := faults.Writes(); writes != 2 || s.Stats().Refused != uint64(refused) {
		t.Errorf("%d Writes, %d records were refused, Stats %+v", writes, refused, s.Stats())
	}
	checkMissing(t, recs, dst.Unique(), seen.dropped, refused)
}

// checkWhole checks that records that were sent are unchanged.
func checkWhole(t *testing.T, sent, got []marketprism.Record) {
	t.Helper()
	byKey := make(map[string]*marketprism.Record)
	for i := range sent {
		byKey[sent[i].Key()] = &sent[i]
	}
	for i := range got {
		if r := byKey[got[i].Key()]; r != nil && !sinktest.Equal(r, &got[i]) {
			t.Errorf("%s: %s", r.Key(), sinktest.Diff(r, &got[i]))
		}
	}
}

// A direct Write returns the refusal of the destination.
func TestSpillReturnsARefusal(t *testing.T) {
	recs := sinktest.Records(1, 10)
	var dst sinktest.Recorder
	s, err := sink.NewSpill(refusing(&dst, map[string]bool{recs[4].Key(): true}, &sinktest.Faults{}), sink.SpillConfig{
		Dir: t.TempDir(), Encode: encodeRecord, Decode: decodeRecord,
	})
	if err != nil {
		t.Fatal(err)
	}
	running := (&spilling{Spill: s, dst: &dst}).run(t)
	defer running.stop()
	if err := s.Write(t.Context(), recs); !errors.Is(err, errPoison) {
		t.Errorf("Write: %v", err)
	}
	running.write(t, recs[:4])
	if got := s.Stats(); !reflect.DeepEqual(got, sink.SpillStats{Direct: 4}) {
		t.Errorf("Stats %+v", got)
	}
}

// A refused record ends its book, in the batch, after it, and once records go directly again.
func TestSpillGapOfARefusal(t *testing.T) {
	var dst sinktest.Recorder
	var faults sinktest.Faults
	var seen hookLog
	live := make(chan struct{}, 9)
	hooks := seen.hooks()
	hooks.Live = func(time.Duration) { live <- struct{}{} }
	a2, b2 := update("A", 2), update("B", 2)
	s, err := sink.NewSpill(refusing(&dst, map[string]bool{a2.Key(): true, b2.Key(): true}, &faults), sink.SpillConfig{
		Dir: t.TempDir(), Encode: encodeRecord, Decode: decodeRecord, DirectTimeout: time.Minute, Hooks: hooks,
	})
	if err != nil {
		t.Fatal(err)
	}
	running := (&spilling{Spill: s, dst: &dst}).run(t)
	defer running.stop()
	faults.FailNext(1, errDown)
	running.write(t, []marketprism.Record{snapshot("A", 1), snapshot("B", 1), a2, b2, snapshot("A", 5), update("A", 6)})
	<-live
	running.write(t, []marketprism.Record{update("A", 7), update("B", 3), snapshot("B", 4), update("B", 5)})
	wantKeys(t, dst.Records(), "A snap 1:0x0", "B snap 1:0x0", "A gap 1-invalid", "B gap 1-invalid", "A snap 5:0x0", "A depth 6-6",
		"A depth 7-7", "B snap 4:0x0", "B depth 5-5")
	wantKeys(t, seen.dropped, "B depth 3-3")
}

// Refused records are kept alone, within a bound, and those beyond it are counted.
func TestSpillBoundsWhatItKeeps(t *testing.T) {
	const room, refusals = 3, 40
	dir := t.TempDir()
	recs := sinktest.Records(3, 2000)
	poison := make(map[string]bool)
	for i := range recs { // updates behind a refused one would be dropped
		if recs[i].Trade != nil && len(poison) < refusals {
			poison[recs[i].Key()] = true
		}
	}
	kept := 0
	var dst sinktest.Recorder
	s, err := sink.NewSpill(encodedSink{refusing(&dst, poison, &sinktest.Faults{})}, sink.SpillConfig{
		Dir: dir, Encode: encodeRecord, Decode: decodeRecord, Peek: peekRecord, DirectTimeout: -1, SyncInterval: -1, KeepBytes: room * 4096,
		MaxBytes: 1 << 20, MaxBatch: 64,
		Hooks: &sink.SpillHooks{Refused: func(i sink.SpillRefusedInfo) {
			if i.Kept == "" {
				return
			}
			kept++
			var r marketprism.Record
			if err := decodeRecord(readFile(t, i.Kept), &r); err != nil || !sinktest.Equal(i.Record, &r) {
				t.Errorf("%s has %s, not %s: %v", i.Kept, r.Key(), i.Record.Key(), err)
			}
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	running := &spilling{Spill: s, dst: &dst}
	running.write(t, recs)
	running.run(t).flush(t)
	stats := s.Stats()
	running.stop()
	if kept != room || stats.Kept != room || stats.KeptBytes != room*4096 || stats.Refused != refusals || stats.Unkept != refusals-room {
		t.Errorf("%d kept, Stats %+v", kept, stats)
	}
	var size int64
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > 1<<20 {
		t.Errorf("the folder has %d bytes", size)
	}
}

// A disk that takes no more holds nothing up: what is damaged or refused is not kept and counted, and the rest arrives. A
// destination that refuses is not away.
func TestSpillGoesOnWhereNothingCanBeKept(t *testing.T) {
	var dst sinktest.Recorder
	dir := t.TempDir()
	cfg := sink.SpillConfig{Dir: dir, SyncInterval: -1}
	s := openSpill(t, &dst, cfg)
	recs := []marketprism.Record{
		snapshot("A", 1), trade("DAMAGED", 1), snapshot("A", 2), update("A", 3), update("A", 4), snapshot("A", 5), trade("P", 1), snapshot("A", 6),
	}
	s.faults.FailNext(1, errDown)
	s.write(t, recs)
	s.stop()
	damageRecord(t, dir, "DAMAGED")
	for offset := range 1000 {
		for _, suffix := range []string{".bad.new", ".refused.new"} { // where such a file is written first
			if err := os.MkdirAll(filepath.Join(dir, fmt.Sprintf("%016d-%010d%s", 1, offset, suffix), "x"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	failed, refused := 0, 0
	s.Spill, _ = sink.NewSpill(naming(&dst, map[string]bool{recs[3].Key(): true}), sink.SpillConfig{
		Dir: dir, Encode: encodeRecord, SyncInterval: -1,
		Decode: func(data []byte, r *marketprism.Record) error {
			if err := decodeRecord(data, r); err != nil || r.Instrument.Symbol == "P" {
				return errors.Join(err, errCodec)
			}
			return nil
		},
		Hooks: &sink.SpillHooks{
			DiskFailed: func(*sink.DiskError) { failed++ },
			Refused: func(i sink.SpillRefusedInfo) {
				if refused++; i.Kept != "" {
					t.Errorf("kept in %s", i.Kept)
				}
			},
		},
	})
	s.run(t).flush(t)
	stats := s.Stats()
	s.stop()
	if stats.Away || stats.Corrupt != 2 || stats.Refused != 1 || stats.Unkept != 3 || stats.Kept != 0 || failed != 3 || refused != 1 {
		t.Errorf("%d failures, %d refusals, Stats %+v", failed, refused, stats)
	}
	wantKeys(t, dst.Records(), "A snap 1:0x0", "A gap 1-invalid", "A snap 2:0x0", "A gap 2-invalid", "A snap 5:0x0", "A gap 5-invalid", "A snap 6:0x0")
}

// A refusal is an answer: the destination is not away, be it during a direct Write or from the queue.
func TestSpillIsNotAwayWhileRecordsAreRefused(t *testing.T) {
	a, b := trade("A", 1), trade("B", 1)
	away := make(chan bool, 9)
	var s *sink.Spill
	var faults sinktest.Faults
	s, err := sink.NewSpill(faults.Wrap(naming(&sinktest.Recorder{}, map[string]bool{a.Key(): true, b.Key(): true})), sink.SpillConfig{
		Dir: t.TempDir(), Encode: encodeRecord, Decode: decodeRecord, SyncInterval: -1,
		Hooks: &sink.SpillHooks{Refused: func(sink.SpillRefusedInfo) { away <- s.Stats().Away }},
	})
	if err != nil {
		t.Fatal(err)
	}
	running := &spilling{Spill: s}
	faults.FailNext(1, errDown)
	running.write(t, []marketprism.Record{a})
	if !s.Stats().Away {
		t.Error("not away after a failure")
	}
	running.run(t)
	defer running.stop()
	if <-away {
		t.Error("away after a refusal from the queue")
	}
	running.flush(t)
}

// A destination that fails is away until it accepts a Write; a queue is behind until it is empty.
func TestSpillAwayAndBehind(t *testing.T) {
	var states []string
	var s *spilling
	note := func(event string) {
		got := s.Stats()
		if got.Away {
			event += " away"
		}
		if got.Spilling {
			event += " behind"
		}
		states = append(states, event)
	}
	live := make(chan struct{}, 1)
	s = openSpill(t, &sinktest.Recorder{}, sink.SpillConfig{MaxBatch: 10, Hooks: &sink.SpillHooks{
		Failed:  func(sink.FailedInfo) { note("failed") },
		Drained: func(sink.WrittenInfo) { note("drained") },
		Live:    func(time.Duration) { note("live"); live <- struct{}{} },
	}})
	note("begin")
	recs := sinktest.Records(1, 40)
	s.faults.FailNext(2, errDown)
	s.write(t, recs[:20])
	note("written")
	s.run(t)
	<-live
	s.write(t, recs[20:])
	note("direct")
	want := []string{"begin", "written away behind", "failed away behind", "drained behind", "drained behind", "drained behind", "live", "direct"}
	if !slices.Equal(states, want) {
		t.Errorf("%q, want %q", states, want)
	}
	wantSame(t, s.dst.Records(), recs)
}

// Records that keep coming do not keep the queue from being emptied: Writes wait for the rest of it, and go directly
// again.
func TestSpillGoesLiveWhileRecordsKeepComing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dst sinktest.Recorder
		var faults sinktest.Faults
		s, err := sink.NewSpill(faults.Wrap(sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
			time.Sleep(10 * time.Millisecond)
			return dst.Write(ctx, recs)
		})), sink.SpillConfig{Dir: t.TempDir(), Encode: encodeRecord, Decode: decodeRecord, SyncInterval: -1})
		if err != nil {
			t.Fatal(err)
		}
		running := (&spilling{Spill: s, dst: &dst}).run(t)
		defer running.stop()
		recs := sinktest.Records(1, 1000)
		for i := range recs { // more of them come while a batch is delivered than it had
			if i == 100 {
				faults.FailNext(1, errDown)
			}
			running.write(t, recs[i:i+1])
			time.Sleep(time.Millisecond)
		}
		if got := s.Stats(); got.Spilling || got.Spilled > 30 || got.Away {
			t.Errorf("Stats %+v", got)
		}
		wantSame(t, dst.Records(), recs)
	})
}

// A Write waits for the last batch of the queue no longer than DirectTimeout, and the next ones not at all.
func TestSpillWaitsForTheLastBatchWithinDirectTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := sink.SpillConfig{Dir: t.TempDir(), DirectTimeout: -1, SyncInterval: -1}
		recs := sinktest.Records(1, 100)
		var dst sinktest.Recorder
		s := openSpill(t, &dst, cfg)
		s.write(t, recs[:10])
		s.stop()
		cfg.DirectTimeout = time.Second
		s = openSpill(t, &dst, cfg)
		release := s.faults.Hold()
		s.run(t)
		synctest.Wait()
		begun := time.Now()
		for i := 10; i < 100; i += 10 {
			s.write(t, recs[i:i+10])
		}
		if waited := time.Since(begun); waited != time.Second {
			t.Errorf("the Writes took %v", waited)
		}
		if got := s.Stats(); !got.Away || !got.Spilling || got.Queued != len(recs) {
			t.Errorf("Stats %+v", got)
		}
		release()
		s.flush(t)
		wantSame(t, dst.Records(), recs)
		s.stop()
	})
}

// The next batch is read and decoded while the destination takes the one before.
func TestSpillDecodesAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const batch = 10
		var decoded atomic.Int64
		ahead := make(chan struct{})
		var dst sinktest.Recorder
		s, err := sink.NewSpill(sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
			select {
			case <-ahead:
				return dst.Write(ctx, recs)
			case <-ctx.Done():
				return ctx.Err()
			}
		}), sink.SpillConfig{
			Dir: t.TempDir(), Encode: encodeRecord, DirectTimeout: -1, SyncInterval: -1, MaxBatch: batch,
			Decode: func(data []byte, r *marketprism.Record) error {
				if decoded.Add(1) == batch+1 {
					close(ahead)
				}
				return decodeRecord(data, r)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		running := &spilling{Spill: s, dst: &dst}
		recs := sinktest.Records(1, 5*batch)
		running.write(t, recs)
		running.run(t)
		defer running.stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := s.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		wantSame(t, dst.Records(), recs)
		if decoded.Load() != int64(len(recs)) {
			t.Errorf("%d records decoded of %d", decoded.Load(), len(recs))
		}
	})
}

// A destination that takes less than a batch within WriteTimeout gets smaller ones.
func TestSpillOfASlowDestination(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dst sinktest.Recorder
		s, err := sink.NewSpill(sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
			if err := backoff.Sleep(ctx, time.Duration(len(recs))*10*time.Millisecond); err != nil {
				return err
			}
			return dst.Write(ctx, recs)
		}), sink.SpillConfig{
			Dir: t.TempDir(), Encode: encodeRecord, Decode: decodeRecord, DirectTimeout: -1, SyncInterval: -1, WriteTimeout: time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		running := &spilling{Spill: s, dst: &dst}
		recs := sinktest.Records(1, 1000)
		running.write(t, recs)
		running.run(t)
		defer running.stop()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begun := time.Now()
		if err := s.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > time.Minute {
			t.Errorf("%v for what the destination takes in 10 s", took)
		}
		wantSame(t, dst.Records(), recs)
	})
}
