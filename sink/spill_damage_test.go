package sink_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// damaged collects what the hooks tell.
type damaged struct {
	mu      sync.Mutex
	dropped []marketprism.Record
	corrupt []*sink.CorruptError
}

func (d *damaged) hooks() *sink.SpillHooks {
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

// A damaged record is told of, its segment is kept, the others arrive, and no reader takes a book that
// lost something for a whole one; also if the process starts anew behind the damage.
func TestSpillDamage(t *testing.T) {
	gaps := uint64(0)
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 23))
		var dst sinktest.Recorder
		var told damaged
		cfg := sink.SpillConfig{
			Dir: t.TempDir(), DirectTimeout: -1, SegmentBytes: 20_000, MaxBatch: 20, SyncInterval: -1, Hooks: told.hooks(),
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

		// A restart may come before the batch with the damage was accepted: then it is told of again.
		for _, c := range told.corrupt {
			if _, err := os.Stat(c.Kept); err != nil || c.Segment != file || c.From != told.corrupt[0].From {
				t.Errorf("told of %v, %s was damaged: %v", c, file, err)
			}
		}
		if n := len(told.corrupt); n == 0 || n > 2 || s.Stats().BadSegments != 1 {
			t.Errorf("damage was told of %d times; Stats %+v", n, s.Stats())
		}
		checkMissing(t, recs, dst.Unique(), told.dropped, 1)
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

// Every book that is known gets its Gap where the damage was, and an unknown one at its first Update.
func TestSpillGapsForDamage(t *testing.T) {
	var told damaged
	poison := trade("P", 1)
	var dst sinktest.Recorder
	s := openWithPoison(t, &dst, &told)
	s.write(t, []marketprism.Record{
		snapshot("B", 4), snapshot("A", 7), poison, update("A", 8), update("B", 5), update("C", 9), update("C", 10),
		snapshot("A", 8), update("A", 9),
	})
	s.run(t).flush(t)
	s.write(t, []marketprism.Record{update("B", 6), snapshot("C", 10), update("C", 11)})
	s.flush(t)
	wantKeys(t, dst.Records(), "B snap 4:0x0", "A snap 7:0x0", "A gap 7-invalid", "B gap 4-invalid", "C gap 0-invalid",
		"A snap 8:0x0", "A depth 9-9", "C snap 10:0x0", "C depth 11-11")
	wantKeys(t, told.dropped, "A depth 8-8", "B depth 5-5", "C depth 9-9", "C depth 10-10", "B depth 6-6")
	gap := dst.Records()[2].Gap
	var corrupt *sink.CorruptError
	if !errors.As(gap.Err, &corrupt) || !errors.Is(corrupt, errCodec) || corrupt.Kept == "" {
		t.Errorf("the Gap's cause is %v", gap.Err)
	}
	if got := s.Stats(); got.Corrupt != 1 || got.Gaps != 3 || got.BadSegments != 1 {
		t.Errorf("Stats %+v", got)
	}
}

func openWithPoison(t *testing.T, dst *sinktest.Recorder, told *damaged) *spilling {
	t.Helper()
	s, err := sink.NewSpill(dst, sink.SpillConfig{
		Dir: t.TempDir(), Hooks: told.hooks(), Encode: encodeRecord, DirectTimeout: -1,
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
