package sink_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
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
		Corrupt: func(i sink.SpillCorruptInfo) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.corrupt = append(d.corrupt, i.Err)
		},
	}
}

// A damaged record is reported, its segment is kept, the others arrive, and a book that lost a record has a
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
		if n := len(seen.corrupt); n == 0 || n > 2 || s.Stats().BadSegments != 1 {
			t.Errorf("%d calls of Corrupt; Stats %+v", n, s.Stats())
		}
		checkMissing(t, recs, dst.Unique(), seen.dropped, 1)
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
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[20+rng.IntN(len(data)-20)] ^= byte(1 + rng.IntN(255))
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// checkMissing checks that all but a number of sent arrived or was dropped, and the contract of Record.
func checkMissing(t *testing.T, sent, arrived, dropped []marketprism.Record, want int) {
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
	missing := 0
	for i := range sent {
		if !known[sent[i].Key()] {
			missing++
		}
	}
	if missing != want {
		t.Errorf("%d records are missing, want %d", missing, want)
	}
}

// Every known book gets its Gap at the damage, an unknown one at its first Update.
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
	wantKeys(t, dst.Records(), "B snap 4:0x0", "A snap 7:0x0", "A gap 7-invalid", "B gap 4-invalid", "C gap 0-invalid",
		"A snap 8:0x0", "A depth 9-9", "C snap 10:0x0", "C depth 11-11")
	wantKeys(t, seen.dropped, "A depth 8-8", "B depth 5-5", "C depth 9-9", "C depth 10-10", "B depth 6-6")
	gap := dst.Records()[2].Gap
	var corrupt *sink.CorruptError
	if !errors.As(gap.Err, &corrupt) || !errors.Is(corrupt, errCodec) || corrupt.Kept == "" {
		t.Errorf("the Gap's cause is %v", gap.Err)
	}
	if got := s.Stats(); got.Corrupt != 1 || got.Gaps != 3 || got.BadSegments != 1 {
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
		hooks := seen.hooks()
		hooks.Refused = func(i sink.SpillRefusedInfo) {
			if _, err := os.Stat(i.Kept); err != nil || !errors.Is(i.Err, errPoison) {
				t.Errorf("Refused %+v: %v", i, err)
			}
			refused = append(refused, i.Record.Key())
		}
		var dst sinktest.Recorder
		var faults sinktest.Faults
		s, err := sink.NewSpill(refusing(&dst, poison, &faults), sink.SpillConfig{
			Dir: t.TempDir(), Encode: encodeRecord, Decode: decodeRecord, DirectTimeout: -1, SyncInterval: -1,
			MaxBatch: 1 + rng.IntN(100), RetryMin: 1, RetryMax: 1000, Hooks: hooks,
		})
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
		if stats.Refused != uint64(len(refused)) || stats.BadSegments == 0 {
			t.Errorf("Stats %+v, %d records were refused", stats, len(refused))
		}
		checkMissing(t, recs, dst.Unique(), seen.dropped, len(refused))
		refusals, dropped = refusals+len(refused), dropped+len(seen.dropped)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if refusals < 30 || dropped < 100 {
		t.Errorf("%d records refused, %d dropped: too few to prove anything", refusals, dropped)
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
	hooks.Live = func(sink.SpillLiveInfo) { live <- struct{}{} }
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
