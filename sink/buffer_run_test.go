package sink_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// A permanently refused record does not block the others, and its book gets a Gap; named ones cost one Write more.
func TestBufferLeavesOutRefusedRecords(t *testing.T) {
	refusals, useless := 0, 0
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 31))
			recs := sinktest.Records(seed, 300)
			poison := make(map[string]bool)
			for range 1 + rng.IntN(30) {
				poison[recs[rng.IntN(len(recs))].Key()] = true
			}
			var (
				dst              sinktest.Recorder
				faults           sinktest.Faults
				refused, dropped []marketprism.Record
			)
			named := seed%2 == 0
			to := refusing(&dst, poison, &faults)
			if named {
				to = faults.Wrap(naming(&dst, poison))
			}
			b, err := sink.NewBuffer(to, sink.BufferConfig{
				MaxBatch: 500, MaxRecords: 2000, MaxDelay: time.Second, Overflow: sink.Overflow(rng.IntN(3)), Hooks: &sink.Hooks{
					Refused: func(i sink.RefusedInfo) { refused = append(refused, i.Record.Clone()) },
					Dropped: func(i sink.DroppedInfo) { dropped = append(dropped, i.Record.Clone()) },
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- b.Run(ctx) }()
			for _, part := range [][]marketprism.Record{recs[:200], recs[200:]} {
				if err := b.Write(ctx, part); err != nil {
					t.Fatal(err)
				}
				if err := b.Flush(ctx); err != nil {
					t.Fatal(err)
				}
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			for _, r := range refused {
				if !poison[r.Key()] {
					t.Errorf("%s was left out", r.Key())
				}
			}
			if writes, _ := faults.Writes(); named && writes > 4 {
				t.Errorf("%d Writes of two batches", writes)
			}
			if s := b.Stats(); s.Refused != uint64(len(refused)) || s.Queued != 0 || s.Retries != 0 {
				t.Errorf("Stats %+v, %d records were refused", s, len(refused))
			}
			checkMissing(t, recs, dst.Unique(), dropped, len(refused))
			refusals, useless = refusals+len(refused), useless+len(dropped)
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if refusals < 100 || useless < 500 {
		t.Errorf("%d records refused, %d dropped: too few to prove anything", refusals, useless)
	}
}

func TestBufferDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, sink.BufferConfig{MaxBatch: 10, MaxDelay: time.Hour, RetryMin: time.Hour, RetryMax: time.Hour})
		b.faults.FailNext(1, errDown)
		recs := sinktest.Records(1, 95)
		b.write(t, recs)
		synctest.Wait() // the first batch failed, and the next attempt is not due yet
		start := time.Now()
		if err := b.stop(); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("the drain waited for %v, though the destination was up", d)
		}
		wantSame(t, b.dst.Records(), recs)
		if err := b.Write(t.Context(), recs); !errors.Is(err, sink.ErrClosed) {
			t.Errorf("Write after the end returned %v", err)
		}
		if err := b.Flush(t.Context()); err != nil {
			t.Errorf("Flush after a complete drain returned %v", err)
		}
		if err := b.Run(t.Context()); !errors.Is(err, sink.ErrStarted) {
			t.Errorf("a second Run returned %v", err)
		}
	})
}

func TestBufferLetsTheCurrentBatchFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, sink.BufferConfig{MaxDelay: -1})
		release := b.faults.Hold()
		recs := sinktest.Records(1, 5)
		b.write(t, recs)
		synctest.Wait()
		time.AfterFunc(5*time.Second, release)
		if err := b.stop(); err != nil { // Run lets the Write of the destination finish
			t.Fatal(err)
		}
		wantSame(t, b.dst.Records(), recs)
		if s := b.Stats(); s.Retries != 0 || s.Batches != 1 {
			t.Errorf("Stats %+v", s)
		}
	})
}

// The drain begins with short delays, however long they were before.
func TestBufferDrainTriesOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failures := 1_000 // remaining; accessed while Run waits, or by Run
		var dst sinktest.Recorder
		b, err := sink.NewBuffer(sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
			if failures--; failures >= 0 {
				return errDown
			}
			return dst.Write(ctx, recs)
		}), sink.BufferConfig{RetryMin: time.Millisecond, RetryMax: 1000 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		recs := sinktest.Records(1, 3)
		if err := b.Write(ctx, recs); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1e5 * time.Hour)
		synctest.Wait()
		failures = 4
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		wantSame(t, dst.Records(), recs)
	})
}

func TestBufferDrainEnds(t *testing.T) {
	for name, test := range map[string]struct {
		timeout, want time.Duration
	}{
		"Default": {0, 10 * time.Second},
		"Set":     {time.Minute, time.Minute},
		"Off":     {-1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := run(t, sink.BufferConfig{MaxRecords: 30, MaxBatch: 10, DrainTimeout: test.timeout})
				b.faults.FailNext(10_000, errDown)
				recs := sinktest.Records(1, 35)
				written := make(chan error, 1)
				go func() { written <- b.Write(t.Context(), recs) }()
				synctest.Wait()
				start := time.Now()
				err := b.stop()
				var undelivered *sink.UndeliveredError
				if !errors.As(err, &undelivered) || undelivered.Records != 30 || !errors.Is(err, errDown) {
					t.Errorf("Run returned %v", err)
				}
				if d := time.Since(start); d != test.want {
					t.Errorf("Run went on for %v, want %v", d, test.want)
				}
				if err := <-written; !errors.Is(err, sink.ErrClosed) {
					t.Errorf("the Write that waited for room returned %v", err)
				}
				if err := b.Flush(t.Context()); !errors.Is(err, sink.ErrClosed) {
					t.Errorf("Flush returned %v", err)
				}
				if err := b.Write(t.Context(), recs); !errors.Is(err, sink.ErrClosed) {
					t.Errorf("Write returned %v", err)
				}
				if s := b.Stats(); s.Queued != 30 {
					t.Errorf("Stats %+v", s)
				}
			})
		})
	}
}

func TestBufferFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, sink.BufferConfig{MaxBatch: 10, MaxDelay: time.Hour})
		if err := b.Flush(t.Context()); err != nil {
			t.Fatalf("Flush of nothing: %v", err)
		}
		recs := sinktest.Records(1, 28)
		start := time.Now()
		b.write(t, recs[:13])
		release := b.faults.Hold()
		flushed := make(chan error, 1)
		go func() { flushed <- b.Flush(t.Context()) }()
		synctest.Wait()
		b.write(t, recs[13:])
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Flush with the destination held returned %v", err)
		}
		select {
		case err := <-flushed:
			t.Fatalf("Flush returned %v before its records were accepted", err)
		default:
		}
		release()
		if err := <-flushed; err != nil {
			t.Fatal(err)
		}
		if n := len(b.dst.Records()); n < 13 {
			t.Fatalf("Flush returned with %d records accepted", n)
		}
		if err := b.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantSame(t, b.dst.Records(), recs)
		if d := time.Since(start); d != time.Second {
			t.Fatalf("the flushes waited for %v, beyond the second that was held", d)
		}
	})
}

// The context of the destination has the values of Run's.
func TestBufferPassesContextValues(t *testing.T) {
	type key struct{}
	got := make(chan any, 1)
	b, err := sink.NewBuffer(sink.Func(func(ctx context.Context, _ []marketprism.Record) error {
		got <- ctx.Value(key{})
		return nil
	}), sink.BufferConfig{MaxDelay: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), key{}, "value"))
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	if err := b.Write(t.Context(), sinktest.Records(1, 1)); err != nil {
		t.Fatal(err)
	}
	if v := <-got; v != "value" {
		t.Errorf("the destination found %v", v)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
