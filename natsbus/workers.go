package natsbus

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/sink"
)

// spread returns a sink that parts each Write by instrument, all kinds of one together because a
// snapshot and the updates after it have an order, into up to n Writes of dst at once. It returns when
// all have returned, and must not be used concurrently.
func spread(dst sink.Sink, n int) sink.Sink {
	lanes := make([][]marketprism.Record, n)
	errs := make([]error, n)
	seed := maphash.MakeSeed()
	return sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
		for i := range lanes {
			lanes[i], errs[i] = lanes[i][:0], nil
		}
		for i := range recs {
			lane := maphash.Comparable(seed, recs[i].Instrument) % uint64(n)
			lanes[lane] = append(lanes[lane], recs[i])
		}
		var wg sync.WaitGroup
		for i, lane := range lanes {
			if len(lane) > 0 {
				wg.Go(func() { errs[i] = dst.Write(ctx, lane) })
			}
		}
		wg.Wait()
		for _, lane := range lanes {
			clear(lane)
		}
		return errors.Join(errs...)
	})
}
