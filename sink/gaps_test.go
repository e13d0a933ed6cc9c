package sink_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// damageRecord flips a bit of the symbol of a record that is in the queue.
func damageRecord(t *testing.T, dir, symbol string) {
	t.Helper()
	for _, file := range segments(t, dir) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(data, []byte(symbol)); i >= 0 {
			data[i] ^= 1
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no %s in the queue", symbol)
}

// After damage, a Write that fails leaves the Gap of its book to the Write that repeats it. The book is not known, so the Gap
// has the id of the lost Update.
func TestSpillWriteThatFailsBehindDamage(t *testing.T) {
	var dst sinktest.Recorder
	live := make(chan struct{}, 9)
	cfg := sink.SpillConfig{Dir: t.TempDir(), DirectTimeout: -1}
	s := openSpill(t, &dst, cfg)
	s.write(t, []marketprism.Record{trade("DAMAGED", 1), trade("T", 2)})
	s.stop()
	damageRecord(t, cfg.Dir, "DAMAGED")

	var seen hookLog
	cfg.DirectTimeout, cfg.Hooks = time.Minute, seen.hooks()
	cfg.Hooks.Live = func(time.Duration) { live <- struct{}{} }
	s = openSpill(t, &dst, cfg).run(t)
	<-live
	release := s.faults.Hold()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Write(ctx, []marketprism.Record{update("A", 5)}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if stats := s.Stats(); stats.Gaps != 0 || len(seen.dropped) != 0 {
		t.Errorf("%d Gaps and %d dropped of a Write that failed", stats.Gaps, len(seen.dropped))
	}
	release()
	s.write(t, []marketprism.Record{update("A", 5)})
	s.write(t, []marketprism.Record{update("A", 6)})
	s.write(t, []marketprism.Record{snapshot("A", 7), update("A", 8)})
	wantKeys(t, dst.Records(), "T trade 2", "A gap 5-invalid", "A snap 7:0x0", "A depth 8-8")
	if got := keys(seen.dropped); len(got) != 2 || s.Stats().Gaps != 1 {
		t.Errorf("dropped %q, %d Gaps", got, s.Stats().Gaps)
	}
}

// A refused record of one book costs no other book its records, even with damage after it.
func TestSpillRefusalCostsNoOtherBook(t *testing.T) {
	var dst sinktest.Recorder
	var seen hookLog
	dir := t.TempDir()
	s := openSpill(t, &dst, sink.SpillConfig{Dir: dir, DirectTimeout: -1})
	poison := update("A", 2)
	s.write(t, []marketprism.Record{
		snapshot("A", 1), snapshot("B", 1), poison, update("B", 2), update("A", 3), update("B", 3), trade("DAMAGED", 1), update("B", 4),
	})
	s.stop()
	damageRecord(t, dir, "DAMAGED")
	var faults sinktest.Faults
	refuser, err := sink.NewSpill(refusing(&dst, map[string]bool{poison.Key(): true}, &faults), sink.SpillConfig{
		Dir: dir, Encode: encodeRecord, Decode: decodeRecord, Hooks: seen.hooks(),
	})
	if err != nil {
		t.Fatal(err)
	}
	s = (&spilling{Spill: refuser, dst: &dst}).run(t)
	s.flush(t)
	s.stop()
	wantKeys(t, dst.Records(), "A snap 1:0x0", "B snap 1:0x0", "A gap 1-invalid", "B depth 2-2", "B depth 3-3", "A gap 3-invalid", "B gap 3-invalid",
		"B gap 4-invalid") // again: before the restart, a Write that was not confirmed may have brought a reader to 4
	if got := keys(seen.dropped); len(got) != 2 {
		t.Errorf("dropped %q, want B's 4 and A's 3", got)
	}
}

// However long the destination is unavailable, a crash repeats no record that was delivered more than a second
// before.
func TestSpillSavesWhatWasHandedOn(t *testing.T) {
	short.Skip(t)
	var dst, after sinktest.Recorder
	cfg := sink.SpillConfig{Dir: t.TempDir(), DirectTimeout: -1, MaxBatch: 1}
	s := openSpill(t, &dst, cfg)
	s.write(t, []marketprism.Record{trade("T", 1), trade("T", 2), trade("T", 3)})
	s.stop()
	position := func() []byte {
		data, err := os.ReadFile(filepath.Join(cfg.Dir, "position"))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	var second []byte
	away := sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
		switch recs[0].Trade.ID {
		case 2:
			second = position() // saved with the first at the latest
		case 3:
			<-ctx.Done()
			return ctx.Err()
		}
		return dst.Write(ctx, recs)
	})
	opened, err := sink.NewSpill(away, sink.SpillConfig{Dir: cfg.Dir, Encode: encodeRecord, Decode: decodeRecord, MaxBatch: 1})
	if err != nil {
		t.Fatal(err)
	}
	s = (&spilling{Spill: opened, dst: &dst}).run(t)
	if _, err := dst.Wait(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	for bytes.Equal(position(), second) {
		if t.Context().Err() != nil {
			t.Fatal(t.Context().Err())
		}
		time.Sleep(10 * time.Millisecond)
	}
	killed := t.TempDir() // as kill -9 would leave it now
	if err := os.CopyFS(killed, os.DirFS(cfg.Dir)); err != nil {
		t.Fatal(err)
	}
	s.stop()
	s = openSpill(t, &after, sink.SpillConfig{Dir: killed, DirectTimeout: -1}).run(t)
	s.flush(t)
	wantKeys(t, after.Records(), "T trade 3")
}

// A Gap that says that the ids went back is kept also for a book that is lost already: an id means another event from
// then on.
func TestBufferKeepsRegressedGaps(t *testing.T) {
	gap := func(after int64, reason orderbook.GapReason) marketprism.Record {
		r := update("A", after)
		r.Update, r.Gap = nil, &orderbook.Gap{After: after, Reason: reason}
		return r
	}
	synctest.Test(t, func(t *testing.T) {
		buf := run(t, sink.BufferConfig{MaxRecords: 6, MaxDelay: -1, Overflow: sink.DropOldest})
		release := buf.faults.Hold()
		buf.write(t, []marketprism.Record{trade("B", 1)})
		synctest.Wait() // it is in flight, with room for five more
		buf.write(t, []marketprism.Record{
			update("A", 3), gap(3, orderbook.GapRegressed), update("A", 1), gap(1, orderbook.GapRegressed), gap(1, orderbook.GapDisconnect),
			trade("B", 2), trade("B", 3), trade("B", 4), trade("B", 5), trade("B", 6),
		})
		release()
		if err := buf.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		var reasons []orderbook.GapReason
		for _, r := range buf.dst.Records() {
			if r.Gap != nil {
				reasons = append(reasons, r.Gap.Reason)
			}
		}
		if !slices.Equal(reasons, []orderbook.GapReason{orderbook.GapOverflow, orderbook.GapRegressed}) {
			t.Errorf("gaps: %v", reasons)
		}
		if s := buf.Stats(); s.Dropped[marketprism.KindGap] != 2 || s.Gaps != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// A refused record ends the book also of a reader that is within its ids, and a refused Snapshot that no reader needs ends no
// book: behind a Spill and behind a Buffer, in one batch and in several.
func TestRefusalsEndBooksThatNeedTheRecord(t *testing.T) {
	straddling := update("A", 20)
	straddling.Update.FirstID = 10
	for name, test := range map[string]struct {
		recs    []marketprism.Record
		refused int
		want    []string
	}{
		"straddling": {[]marketprism.Record{snapshot("A", 15), straddling, update("A", 21)}, 1, []string{"A snap 15:0x0", "A gap 15-invalid"}},
		"unknown":    {[]marketprism.Record{straddling, update("A", 21)}, 0, []string{"A gap 20-invalid"}},
		"begins":     {[]marketprism.Record{snapshot("A", 15), update("A", 16)}, 0, []string{"A gap 15-invalid"}},
		"added": {
			[]marketprism.Record{snapshot("A", 15), update("A", 16), snapshot("A", 16), update("A", 17)}, 2,
			[]string{"A snap 15:0x0", "A depth 16-16", "A depth 17-17"},
		},
	} {
		poison := map[string]bool{test.recs[test.refused].Key(): true}
		for _, most := range []int{1, 2, 100} {
			t.Run(fmt.Sprint(name, "/Spill/", most), func(t *testing.T) {
				var dst sinktest.Recorder
				s, err := sink.NewSpill(naming(&dst, poison), sink.SpillConfig{
					Dir: t.TempDir(), Encode: encodeRecord, Decode: decodeRecord, DirectTimeout: -1, SyncInterval: -1, MaxBatch: most,
				})
				if err != nil {
					t.Fatal(err)
				}
				running := &spilling{Spill: s, dst: &dst}
				running.write(t, test.recs)
				running.run(t).flush(t)
				running.stop()
				wantKeys(t, dst.Records(), test.want...)
			})
		}
		t.Run(name+"/Buffer", func(t *testing.T) {
			var dst sinktest.Recorder
			b, err := sink.NewBuffer(naming(&dst, poison), sink.BufferConfig{})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			if err := b.Write(ctx, test.recs); err != nil {
				t.Fatal(err)
			}
			cancel()
			if err := b.Run(ctx); err != nil {
				t.Fatal(err)
			}
			wantKeys(t, dst.Records(), test.want...)
		})
	}
}
