package chstore

import (
	"context"
	"errors"
	"sync"

	"github.com/marketprism/marketprism"
)

// Write stores records and returns once the server has them on disk. It is a sink.Sink; give it
// batches of ten thousand records and more, by a sink.Buffer, since each call makes an INSERT for
// every table, partition and source that occurs in recs.
//
// Writing the same records again is safe. Those with an Origin are stored once whatever happens:
// before an INSERT the store reads from the table itself which sequences of the source the
// partition holds, and after an INSERT whose outcome is unknown it makes sure that the INSERT is over and
// reads them again. Only one Store at a time may write records of one source (Config.Lease). Records without
// an Origin are stored once where the same batch is written again within the table's deduplication window; another
// batch with them in it stores them twice, which reads do not show.
//
// The error is a *RecordError, before anything is sent, or one or more *InsertError, joined, after
// which any of the INSERTs may have been done, not only the first ones. What is Retryable has been
// retried, as Config says.
func (s *Store) Write(ctx context.Context, recs []marketprism.Record) error {
	if len(recs) == 0 {
		return nil
	}
	p, err := s.planner.plan(recs)
	if err != nil {
		return err
	}
	defer s.planner.release(p)
	var (
		errs [tableCount]error
		wg   sync.WaitGroup
	)
	for t := range tableCount {
		if len(p.tables[t].groups) > 0 {
			wg.Go(func() { errs[t] = s.writers[t].write(ctx, p.tables[t].groups) })
		}
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}

// A Watermark is how much of a source one partition of one table holds.
type Watermark struct {
	Table     string // without the prefix
	Partition uint32
	Sequence  uint64 // the highest that is stored
	Rows      uint64
}

// Watermark returns what each partition of each table holds of a source, that is, of records whose
// Origin.Source is src. It reads the tables themselves, by a projection that answers in milliseconds.
func (s *Store) Watermark(ctx context.Context, src string) (all []Watermark, err error) {
	defer s.observe(opWatermark)(&err)
	for _, w := range s.writers {
		marks, err := w.watermarks(ctx, src)
		if err != nil {
			return nil, err
		}
		all = append(all, marks...)
	}
	return all, nil
}

// VerifyWatermark returns a *WatermarkError unless the tables hold a source at least up to the sequence stored.
// Call it at the start, before the first Write, with the last position that was acknowledged to
// the source: it finds a disk that is missing. It proves nothing where those records have expired, or were set
// aside instead.
func (s *Store) VerifyWatermark(ctx context.Context, src string, stored uint64) error {
	marks, err := s.Watermark(ctx, src)
	if err != nil {
		return err
	}
	var has uint64
	for _, m := range marks {
		has = max(has, m.Sequence)
	}
	if has < stored {
		return &WatermarkError{Source: src, Had: stored, Has: has}
	}
	return nil
}

// Release gives up the leases of this Store, so that another one need not wait for them to end. Call it
// when the last Write is over; a later Write takes them again. Without Config.Lease it does nothing.
func (s *Store) Release(ctx context.Context) error {
	var errs []error
	for _, w := range s.writers {
		errs = append(errs, w.release(ctx))
	}
	return errors.Join(errs...)
}
