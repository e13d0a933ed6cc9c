package sink

import (
	"context"
	"errors"
	"slices"

	"github.com/marketprism/marketprism"
)

// Tee returns a sink that writes to each of sinks, in order and in the caller's goroutine. All of
// them are tried whatever the others say, and their errors come joined. After an error the sinks
// that succeeded hold the records already; writing them again is safe by the contract of Sink.
//
// The slowest of sinks sets the pace: put a Buffer before one that others should not wait for. A Tee
// of nothing accepts everything and keeps nothing.
func Tee(sinks ...Sink) Sink { return tee(slices.Clone(sinks)) }

type tee []Sink

func (t tee) Write(ctx context.Context, recs []marketprism.Record) error {
	if len(t) == 0 { // what each of several sinks would say
		return errors.Join(ctx.Err(), validate(recs))
	}
	var errs []error
	for _, s := range t {
		if err := s.Write(ctx, recs); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
