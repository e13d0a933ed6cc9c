package sink

import (
	"context"

	"github.com/marketprism/marketprism"
)

// Filter returns a sink that writes to dst the records for which keep returns true, in order, and
// accepts the others. It does not call dst if none is left. keep must not change the record or hold
// on to it, and is called from every goroutine that writes.
//
// Choose by instrument, or between book, trades and tickers: an Update or Gap that is left out
// without its Snapshot breaks the contract of marketprism.Record, and readers take a wrong book for
// a right one.
func Filter(dst Sink, keep func(r *marketprism.Record) bool) Sink {
	return Func(func(ctx context.Context, recs []marketprism.Record) error {
		kept := make([]marketprism.Record, 0, len(recs))
		for i := range recs {
			if keep(&recs[i]) {
				kept = append(kept, recs[i])
			}
		}
		if len(kept) == 0 {
			return ctx.Err()
		}
		return dst.Write(ctx, kept)
	})
}
