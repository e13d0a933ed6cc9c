package sink

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/marketprism/marketprism"
)

// A Sink takes records: a bus, a store, a file, a program of yours.
type Sink interface {
	// Write stores recs in order. Nil means that all are accepted. After an error any of them may
	// be, and writing the same records again is safe: a reader sees each Key once.
	//
	// If some of recs will never be accepted, such as one that is not valid (see marketprism.Record.Validate), the
	// error is Permanent and names all of them at once, by a RefusedError: the others are accepted when they are
	// written again without those.
	//
	// Write returns soon after ctx ends, with an error unless all are accepted, and accepts nothing
	// if ctx has ended before. It neither changes recs nor keeps them, or any memory they point to,
	// after it returns.
	//
	// Each Sink documents whether Write may be called concurrently; those of this module allow it.
	Write(ctx context.Context, recs []marketprism.Record) error
}

// An EncodedSink is a Sink that also takes records in the form in which it stores or sends them, such as a
// natsbus.Publisher. A Spill delivers its queue to it without decoding and encoding each record again.
type EncodedSink interface {
	Sink

	// WriteEncoded is Write for records whose encoded forms are bodies; nil is that of a record that is not encoded. The
	// other records need no levels, see SpillConfig.Peek. bodies are not kept.
	WriteEncoded(ctx context.Context, recs []marketprism.Record, bodies [][]byte) error
}

// Func makes a function a Sink.
type Func func(ctx context.Context, recs []marketprism.Record) error

// Write calls f.
func (f Func) Write(ctx context.Context, recs []marketprism.Record) error { return f(ctx, recs) }

// Handler returns a func that writes each record to dst. It is a Handler of binance.DepthConfig and of bookfeed.Config.
// Errors of dst end their Run. It allocates nothing, and may be used by several of them.
func Handler(dst Sink) func(ctx context.Context, rec *marketprism.Record) error {
	slots := sync.Pool{New: func() any { return new([1]marketprism.Record) }}
	return func(ctx context.Context, rec *marketprism.Record) error {
		slot := slots.Get().(*[1]marketprism.Record)
		slot[0] = *rec
		err := dst.Write(ctx, slot[:])
		slot[0] = marketprism.Record{} // frees the memory that it points to
		slots.Put(slot)
		return err
	}
}

// refuse returns a *RefusedError of the records for which why returns an error; nil if there are none.
func refuse(recs []marketprism.Record, why func(r *marketprism.Record) error) error {
	var refused []Refusal
	for i := range recs {
		if err := why(&recs[i]); err != nil {
			refused = append(refused, Refusal{Index: i, Err: err})
		}
	}
	if refused == nil {
		return nil
	}
	return &RefusedError{Records: refused}
}

// Tee returns a sink that writes to each of sinks, in order and in the caller's goroutine. It writes to
// all of them even if some fail, and joins their errors. After an error the sinks
// that succeeded have the records already; writing them again is safe by the contract of Sink.
//
// The slowest of sinks sets the pace: put a Buffer before one that others should not wait for. A Tee
// of no sinks accepts everything and keeps nothing.
func Tee(sinks ...Sink) Sink { return tee(slices.Clone(sinks)) }

type tee []Sink

func (t tee) Write(ctx context.Context, recs []marketprism.Record) error {
	if len(t) == 0 { // as each sink would
		if err := ctx.Err(); err != nil {
			return err
		}
		return refuse(recs, (*marketprism.Record).Validate)
	}
	var errs []error
	for _, s := range t {
		if err := s.Write(ctx, recs); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Filter returns a sink that writes to dst the records for which keep returns true, in order, and
// accepts the others. It does not call dst if none is left. keep must not change or keep the record,
// and is called on every goroutine that writes.
//
// Choose by instrument, or between book, trades and tickers: leaving out an Update or Gap
// without its Snapshot breaks the contract of marketprism.Record, and readers get a wrong book.
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
		return inWhole(dst.Write(ctx, kept), recs, kept)
	})
}

// inWhole returns the error of a Write of part, with the indexes of refused records as they are in whole. part has
// records of whole in the same order, and Gaps in place of some of its Updates.
func inWhole(err error, whole, part []marketprism.Record) error {
	refused := Refused(err, len(part))
	if len(refused) == 0 || len(whole) == len(part) {
		return err
	}
	named := make([]Refusal, 0, len(refused))
	next := 0
	for _, f := range refused {
		r := &part[f.Index]
		at := slices.IndexFunc(whole[next:], func(w marketprism.Record) bool { return isSame(r, &w) })
		if at < 0 {
			at = slices.IndexFunc(whole[next:], func(w marketprism.Record) bool { return w.Update != nil && w.Instrument == r.Instrument })
		}
		if at >= 0 {
			next += at
			named = append(named, Refusal{Index: next, Err: f.Err})
			next++
		}
	}
	return &RefusedError{Records: named}
}

// isSame reports whether a and b are copies of one record, with one payload.
func isSame(a, b *marketprism.Record) bool {
	return a.Update == b.Update && a.Snapshot == b.Snapshot && a.Gap == b.Gap && a.Trade == b.Trade && a.Ticker == b.Ticker
}
