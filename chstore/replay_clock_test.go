package chstore

import (
	"context"
	"errors"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
)

func recordsAt(seconds ...int) iter.Seq2[*timedRecord, error] {
	archive := time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC)
	return func(yield func(*timedRecord, error) bool) {
		for _, s := range seconds {
			if !yield(&timedRecord{at: archive.Add(time.Duration(s) * time.Second)}, nil) {
				return
			}
		}
	}
}

// Records come when they are due, what is due at once in one batch, and a slow reader's time is made up
// for.
func TestReplayClock(t *testing.T) {
	type write struct {
		after time.Duration
		n     int
	}
	for name, test := range map[string]struct {
		speed float64
		batch int
		slow  time.Duration // of each Write
		want  []write
	}{
		"as it was":      {1, 10, 0, []write{{0, 2}, {10 * time.Second, 1}, {11 * time.Second, 3}}},
		"double":         {2, 10, 0, []write{{0, 2}, {5 * time.Second, 1}, {5500 * time.Millisecond, 3}}},
		"half":           {0.5, 10, 0, []write{{0, 2}, {20 * time.Second, 1}, {22 * time.Second, 3}}},
		"small batches":  {1, 2, 0, []write{{0, 2}, {10 * time.Second, 1}, {11 * time.Second, 2}, {11 * time.Second, 1}}},
		"at once":        {0, 4, 0, []write{{0, 4}, {0, 2}}},
		"a slow reader":  {1, 10, 4 * time.Second, []write{{0, 2}, {10 * time.Second, 1}, {14 * time.Second, 3}}},
		"a slower one":   {1, 10, time.Minute, []write{{0, 2}, {time.Minute, 4}}},
		"all in a batch": {0, 6, 0, []write{{0, 6}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var got []write
				dst := sink.Func(func(_ context.Context, recs []marketprism.Record) error {
					got = append(got, write{time.Since(start), len(recs)})
					time.Sleep(test.slow)
					return nil
				})
				err := writeInTime(t.Context(), recordsAt(0, 0, 10, 11, 11, 11), ReplayConfig{Speed: test.speed, Batch: test.batch}, &recordPool{}, dst)
				require.NoError(t, err)
				require.Equal(t, test.want, got)
			})
		})
	}
}

func TestReplayClockEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		n := 0
		dst := sink.Func(func(context.Context, []marketprism.Record) error { n++; return nil })
		require.ErrorIs(t, writeInTime(ctx, recordsAt(0, 3600), ReplayConfig{Speed: 1, Batch: 9}, &recordPool{}, dst), context.DeadlineExceeded)
		require.Equal(t, 1, n)
		require.ErrorIs(t, writeInTime(ctx, recordsAt(0), ReplayConfig{Batch: 9}, &recordPool{}, dst), context.DeadlineExceeded)
		failing := sink.Func(func(context.Context, []marketprism.Record) error { return broken })
		require.ErrorIs(t, writeInTime(t.Context(), recordsAt(0), ReplayConfig{Batch: 9}, &recordPool{}, failing), broken)
		cut := func(yield func(*timedRecord, error) bool) { yield(nil, broken) }
		require.ErrorIs(t, writeInTime(t.Context(), cut, ReplayConfig{Batch: 9}, &recordPool{}, dst), broken)
	})
}

// A record that was written is the memory of a later one.
func TestReplayReusesRecords(t *testing.T) {
	pool := &recordPool{reuse: true}
	made := make(map[*timedRecord]bool)
	recs := func(yield func(*timedRecord, error) bool) {
		for i := range 100 {
			r := pool.get()
			made[r] = true
			r.memory.reset()
			r.rec.Update = next(&r.memory.updates)
			r.rec.Update.Bids = r.memory.take(1 + i%3)
			if !yield(r, nil) {
				return
			}
		}
	}
	n := 0
	dst := sink.Func(func(_ context.Context, recs []marketprism.Record) error {
		for i := range recs {
			require.Len(t, recs[i].Update.Bids, 1+(n+i)%3)
		}
		n += len(recs)
		return nil
	})
	require.NoError(t, writeInTime(t.Context(), recs, ReplayConfig{Batch: 10}, pool, dst))
	require.Equal(t, 100, n)
	require.Len(t, made, 10)
	pool.put(&timedRecord{memory: payloads{levels: make([]orderbook.Level, 0, pooledLevels+1)}})
	require.Len(t, pool.free, 10, "one large update keeps no memory")
}
