package sink_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// A poisonError is permanent.
type poisonError struct{}

func (poisonError) Error() string   { return "refused for the test" }
func (poisonError) Permanent() bool { return true }

var errPoison = poisonError{}

// refusing is a destination that refuses some records for good, and everything now and then.
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

// What the destination refuses for good does not hold up the others, and leaves a Gap in its book.
func TestSpillLeavesOutWhatIsRefused(t *testing.T) {
	refusals, dropped := 0, 0
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 29))
		recs := sinktest.Records(seed, 300)
		poison := make(map[string]bool)
		for range 1 + rng.IntN(6) {
			poison[recs[rng.IntN(len(recs))].Key()] = true
		}
		var told damaged
		var refused []string
		hooks := told.hooks()
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
		checkMissing(t, recs, dst.Unique(), told.dropped, len(refused))
		refusals, dropped = refusals+len(refused), dropped+len(told.dropped)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if refusals < 30 || dropped < 100 {
		t.Errorf("%d records refused, %d dropped: too few to prove anything", refusals, dropped)
	}
}

// While the destination is there its refusal is the error of the Write.
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
	if got := s.Stats(); got != (sink.SpillStats{Direct: 4}) {
		t.Errorf("Stats %+v", got)
	}
}

// What a refusal does to its book, in the batch, behind it, and once records go directly again.
func TestSpillHoleOfARefusal(t *testing.T) {
	var dst sinktest.Recorder
	var faults sinktest.Faults
	var told damaged
	live := make(chan struct{}, 9)
	hooks := told.hooks()
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
	wantKeys(t, told.dropped, "B depth 3-3")
}
