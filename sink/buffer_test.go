package sink_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

var errDown = errors.New("down for the test")

// running is a Buffer whose Run is under way until stop.
type running struct {
	*sink.Buffer
	dst    sinktest.Recorder
	faults sinktest.Faults
	stop   func() error // ends the ctx of Run and returns what Run returned
}

func run(t *testing.T, cfg sink.BufferConfig) *running {
	t.Helper()
	r := &running{}
	var err error
	if r.Buffer, err = sink.NewBuffer(r.faults.Wrap(&r.dst), cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = func() error {
		cancel()
		err := <-done
		done <- err
		return err
	}
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *running) write(t *testing.T, recs []marketprism.Record) {
	t.Helper()
	if err := r.Write(t.Context(), recs); err != nil {
		t.Fatal(err)
	}
}

// wantSame fails the test unless got holds want, exactly and in order.
func wantSame(t *testing.T, got, want []marketprism.Record) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if d := sinktest.Diff(&want[i], &got[i]); d != "" {
			t.Fatalf("record %d: %s", i, d)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
}

func TestBufferIsASink(t *testing.T) {
	configs := map[string]sink.BufferConfig{
		"Default":    {},
		"Small":      {MaxRecords: 50, MaxBatch: 7, MaxDelay: -1},
		"FewBytes":   {MaxBytes: 256 + 16*10_000},
		"Fail":       {Overflow: sink.Fail},
		"DropOldest": {Overflow: sink.DropOldest},
	}
	for name, cfg := range configs {
		t.Run(name, func(t *testing.T) {
			sinktest.TestSink(t, func(t *testing.T) (sink.Sink, func(*testing.T) []marketprism.Record) {
				cfg.RetryMin, cfg.RetryMax = time.Microsecond, time.Millisecond
				b := run(t, cfg)
				b.faults.FailNext(2, errDown)
				b.faults.FailAfter(3, errDown)
				b.faults.FailAfter(1<<30, errDown) // accepted, and told otherwise
				return b, func(t *testing.T) []marketprism.Record {
					if err := b.Flush(t.Context()); err != nil {
						t.Fatal(err)
					}
					return b.dst.Unique()
				}
			})
		})
	}
}

func TestBufferBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, sink.BufferConfig{MaxBatch: 10, MaxDelay: time.Second})
		recs := sinktest.Records(1, 35)
		start := time.Now()
		arrived := func(n int, after time.Duration) {
			t.Helper()
			got, err := b.dst.Wait(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			if d := time.Since(start); len(got) != n || d != after {
				t.Fatalf("%d records came after %v, want %d after %v", len(got), d, n, after)
			}
		}

		b.write(t, recs[:3])
		arrived(3, time.Second)

		time.Sleep(time.Second)
		b.write(t, recs[3:9])
		time.Sleep(time.Second / 2)
		b.write(t, recs[9:]) // three full batches, which are due at once, and two records more
		synctest.Wait()
		arrived(33, 2500*time.Millisecond)
		arrived(35, 3500*time.Millisecond)

		if w := b.dst.Writes(); !slices.Equal(w, []int{3, 10, 10, 10, 2}) {
			t.Fatalf("batches of %v records", w)
		}
		wantSame(t, b.dst.Records(), recs)
	})
}

func TestBufferWithoutDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, sink.BufferConfig{MaxDelay: -1})
		start := time.Now()
		b.write(t, sinktest.Records(1, 2))
		synctest.Wait()
		if n := len(b.dst.Records()); n != 2 || time.Since(start) != 0 {
			t.Fatalf("%d records after %v", n, time.Since(start))
		}
	})
}

func TestBufferRepeatsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failed []sink.FailedInfo
		var written []sink.WrittenInfo
		b := run(t, sink.BufferConfig{
			MaxBatch: 10, RetryMin: time.Second, RetryMax: 4 * time.Second,
			Hooks: &sink.Hooks{
				Failed:  func(i sink.FailedInfo) { failed = append(failed, i) },
				Written: func(i sink.WrittenInfo) { written = append(written, i) },
			},
		})
		b.faults.FailAfter(4, errDown) // a prefix is accepted
		b.faults.FailNext(8, errDown)
		recs := sinktest.Records(2, 35)
		b.write(t, recs)
		if err := b.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantSame(t, b.dst.Unique(), recs)
		if len(failed) != 9 || len(written) != 4 || written[0].Attempts != 10 || written[1].Attempts != 1 {
			t.Fatalf("hooks told of failures %+v and successes %+v", failed, written)
		}
		var delays time.Duration
		for i, f := range failed {
			if f.Attempts != i+1 || f.Records != 10 || !errors.Is(f.Err, errDown) || f.Delay > 4*time.Second {
				t.Errorf("failure %d: %+v", i, f)
			}
			delays += f.Delay
		}
		if written[0].Elapsed != delays {
			t.Errorf("it took %v, the delays were %v", written[0].Elapsed, delays)
		}
		want := sink.BufferStats{Accepted: 35, Written: 35, Batches: 4, Retries: 9}
		if got := b.Stats(); got != want {
			t.Errorf("Stats %+v, want %+v", got, want)
		}
	})
}

func TestBufferBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := make(chan sink.FullInfo, 10)
		b := run(t, sink.BufferConfig{
			MaxRecords: 20, Hooks: &sink.Hooks{Full: func(i sink.FullInfo) { full <- i }},
		})
		release := b.faults.Hold()
		recs := sinktest.Records(3, 60)
		done := make(chan error, 1)
		go func() { done <- b.Write(t.Context(), recs) }()
		synctest.Wait()
		if s := b.Stats(); s.Queued != 20 || s.Accepted != 20 || s.Full != 1 {
			t.Fatalf("Stats %+v", s)
		}
		if i := <-full; i.Overflow != sink.Block || i.Records != 20 {
			t.Fatalf("hook told %+v", i)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := b.Write(ctx, recs[:1]); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Write without room returned %v", err)
		}

		release()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := b.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantSame(t, b.dst.Records(), recs)
	})
}

// A record that has no room makes those due that have it: its Write does not wait out their MaxDelay.
func TestBufferMakesRoomAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, sink.BufferConfig{MaxBytes: 1000, MaxDelay: time.Hour})
		b.write(t, []marketprism.Record{trade("A", 1)})
		big := snapshot("B", 1)
		big.Snapshot.Bids = make([]orderbook.Level, 35)
		start := time.Now()
		b.write(t, []marketprism.Record{big})
		if waited := time.Since(start); waited > 0 {
			t.Errorf("Write waited %v for an idle destination", waited)
		}
	})
}

func TestBufferBoundsBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		levels := make([]orderbook.Level, 100)
		big := marketprism.Record{Snapshot: &orderbook.Snapshot{Bids: levels[:60], Asks: levels[60:]}}
		const size = 256 + 100*16
		b := run(t, sink.BufferConfig{MaxBytes: 3 * size, MaxDelay: time.Hour, Overflow: sink.Fail})
		defer b.faults.Hold()()
		b.write(t, []marketprism.Record{big})
		b.write(t, []marketprism.Record{big})
		synctest.Wait()
		if writes, _ := b.faults.Writes(); writes != 1 {
			t.Error("no batch was due with half the bytes in use")
		}
		b.write(t, []marketprism.Record{big})
		if s := b.Stats(); s.QueuedBytes != 3*size || s.Queued != 3 {
			t.Errorf("Stats %+v", s)
		}
		if err := b.Write(t.Context(), sinktest.Records(1, 1)); !errors.Is(err, sink.ErrFull) {
			t.Errorf("Write beyond MaxBytes returned %v", err)
		}
		levels = make([]orderbook.Level, 301)
		big.Snapshot.Bids = levels
		if err := b.Write(t.Context(), []marketprism.Record{big}); !errors.Is(err, sink.ErrTooLarge) {
			t.Errorf("Write of a record larger than MaxBytes returned %v", err)
		}
	})
}

func TestBufferFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, sink.BufferConfig{MaxRecords: 20, Overflow: sink.Fail})
		release := b.faults.Hold()
		recs := sinktest.Records(4, 30)
		b.write(t, recs[:15])
		if err := b.Write(t.Context(), recs[15:]); !errors.Is(err, sink.ErrFull) {
			t.Fatalf("Write beyond MaxRecords returned %v", err)
		}
		if s := b.Stats(); s.Accepted != 15 || s.Full != 1 {
			t.Fatalf("Stats %+v", s)
		}
		b.write(t, recs[15:20])
		release()
		if err := b.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.write(t, recs[20:])
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
		wantSame(t, b.dst.Records(), recs)
	})
}

func TestNewBufferChecks(t *testing.T) {
	if _, err := sink.NewBuffer(nil, sink.BufferConfig{}); err == nil {
		t.Error("no destination was accepted")
	}
	for _, cfg := range []sink.BufferConfig{
		{MaxRecords: -1}, {MaxBytes: -1}, {MaxBatch: -1}, {Overflow: 3},
		{RetryMin: -1}, {RetryMin: 2, RetryMax: 1},
	} {
		if _, err := sink.NewBuffer(&sinktest.Recorder{}, cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
	for _, cfg := range []sink.BufferConfig{{RetryMin: time.Hour}, {RetryMax: time.Millisecond}} {
		if _, err := sink.NewBuffer(&sinktest.Recorder{}, cfg); err != nil {
			t.Errorf("one bound beyond the default of the other: %v", err)
		}
	}
}
