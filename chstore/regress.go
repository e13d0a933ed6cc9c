package chstore

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrWatermarkRegressed is wrapped by a *WatermarkError.
var ErrWatermarkRegressed = errors.New("chstore: the tables hold less than before")

// A WatermarkError tells that records which were stored are there no more: a disk is not mounted, a
// partition was dropped, an older copy was restored. Nothing was inserted. To store again what is missing
// would make duplicates of it once the disk is back, and ClickHouse does not start with such parts, so
// someone has to look. It is not Retryable.
type WatermarkError struct {
	Table     string // "" where the source as a whole was asked about
	Partition uint32
	Source    string
	Had, Has  uint64 // highest sequence
}

func (e *WatermarkError) Error() string {
	where := "no table"
	if e.Table != "" {
		where = fmt.Sprintf("partition %d of %s", e.Partition, e.Table)
	}
	return fmt.Sprintf("%v: %s has %q up to sequence %d, and it was stored up to %d", ErrWatermarkRegressed, where, e.Source, e.Has, e.Had)
}

func (e *WatermarkError) Unwrap() error { return ErrWatermarkRegressed }

// regressed compares what a table holds with what this Store has seen it hold. Rows that expire are no
// loss, so of a table with a TTL only partitions count in which nothing can have expired: the row of the
// highest sequence need not be the newest.
func (w *writer) regressed(name string, had, has map[uint32]uint64) error {
	expired := uint32(0) // up to this partition rows may have
	if ttl := w.table.ttl(w.s.cfg.TTL); ttl > 0 {
		expired = w.s.partition(w.table).id(time.Now().Add(-ttl))
	}
	for partition, mark := range had {
		now := has[partition]
		if now < mark && partition > expired {
			return &WatermarkError{Table: w.name, Partition: partition, Source: name, Had: mark, Has: now}
		}
	}
	return nil
}

// VerifyWatermark makes sure that the tables hold a source at least up to a sequence that the caller
// knows to have been stored: call it at the start, before the first Write, with the last position that
// the source was told to be done with. The error is a *WatermarkError where they do not, as with a disk
// that is missing. It proves nothing where those records have expired, or were set aside instead.
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
