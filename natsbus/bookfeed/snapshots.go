package bookfeed

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/defaults"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
)

// A SnapshotsConfig sets how often Snapshots adds a book.
type SnapshotsConfig struct {
	// Every is the time between two Snapshot records of an instrument that changes; each is up to a quarter shorter,
	// so that the instruments do not come all at once. 0 means 30 s.
	Every time.Duration

	// Levels bounds the levels a side of an added snapshot, and so the size of its message, which the server limits
	// (1 MiB by default). 0 means 5000, negative means no bound.
	Levels int

	// Refused is called for an added snapshot that the next sink will never accept, such as one larger than a message
	// may be: it is left out, and the next one is due after Every. It must not block. nil means that nothing is called.
	Refused func(sink.RefusedInfo)
}

// Snapshots is a sink that writes all records to another one and adds Snapshot records of its own, made from memory, so
// that a new Feed has to read the updates of at most Every. It is for a collector, before its Publisher.
//
// A snapshot comes after the last update of its instrument in the same Write, and is the whole book at that update's id;
// the contract of marketprism.Record holds as before. An instrument that does not change gets none: its last one is still
// correct.
//
// Write may be called concurrently, for different instruments.
type Snapshots struct {
	dst sink.Sink
	cfg SnapshotsConfig

	mu    sync.Mutex
	books map[marketprism.Instrument]*snapshotBook
}

// A snapshotBook is the book of an instrument's records.
type snapshotBook struct {
	book   orderbook.Book
	synced bool      // there was a Snapshot, and no Gap since
	due    time.Time // of the next Snapshot
}

// NewSnapshots returns a Snapshots in front of dst. It fails if cfg is contradictory.
func NewSnapshots(dst sink.Sink, cfg SnapshotsConfig) (*Snapshots, error) {
	defaults.Set(&cfg.Every, 30*time.Second)
	defaults.Set(&cfg.Levels, 5000)
	if cfg.Every < 0 {
		return nil, fmt.Errorf("bookfeed: Every %v: want a positive time", cfg.Every)
	}
	return &Snapshots{dst: dst, cfg: cfg, books: make(map[marketprism.Instrument]*snapshotBook)}, nil
}

// Write writes recs, followed by the snapshots that are due, to the next sink in one call, and returns its error. Writing
// the same records again does no harm.
func (s *Snapshots) Write(ctx context.Context, recs []marketprism.Record) error {
	added := s.apply(recs, time.Now())
	for len(added) > 0 {
		err := s.dst.Write(ctx, slices.Concat(recs, added))
		if err == nil {
			return nil
		}
		left := s.withoutRefused(added, sink.Refused(err, len(recs)+len(added)), len(recs))
		if len(left) == len(added) {
			s.repeat(added)
			return err
		}
		added = left
	}
	return s.dst.Write(ctx, recs)
}

// withoutRefused returns the added snapshots, of which the first is the record from of the Write, without the refused
// ones.
func (s *Snapshots) withoutRefused(added []marketprism.Record, refused []sink.Refusal, from int) []marketprism.Record {
	left := slices.Clone(added)
	for _, f := range slices.Backward(refused) {
		if i := f.Index - from; i >= 0 {
			hook.Call(s.cfg.Refused, sink.RefusedInfo{Record: &added[i], Err: f.Err})
			left = slices.Delete(left, i, i+1)
		}
	}
	return left
}

// apply applies recs to the books and returns the snapshots that are due.
func (s *Snapshots) apply(recs []marketprism.Record, now time.Time) (added []marketprism.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range recs {
		s.applyOne(&recs[i], now)
	}
	for i := len(recs) - 1; i >= 0; i-- {
		b := s.books[recs[i].Instrument]
		if recs[i].Update == nil || b == nil || !b.synced || now.Before(b.due) {
			continue
		}
		b.due = s.next(now)
		b.book.Prune(s.cfg.Levels)
		snap := b.book.Snapshot()
		added = append(added, marketprism.Record{
			Instrument: recs[i].Instrument, EventTime: snap.EventTime, ReceivedAt: now.UTC(), Snapshot: &snap,
		})
	}
	return added
}

// applyOne applies one record. A repeated record changes nothing: an update below the book's id is skipped, and the
// updates after a snapshot are repeated with it.
func (s *Snapshots) applyOne(r *marketprism.Record, now time.Time) {
	b := s.books[r.Instrument]
	if b == nil {
		if r.Snapshot == nil {
			return
		}
		b = &snapshotBook{}
		s.books[r.Instrument] = b
	}
	switch {
	case r.Snapshot != nil:
		b.book.Reset(r.Snapshot)
		b.synced = true
		b.due = s.next(now)
	case r.Gap != nil:
		b.synced = false
	case r.Update != nil && b.synced && r.Update.LastID > b.book.LastID():
		b.book.Apply(r.Update)
	}
}

func (s *Snapshots) next(now time.Time) time.Time {
	return now.Add(s.cfg.Every - rand.N(s.cfg.Every/4+1)) // #nosec G404 -- spreads snapshots
}

// repeat makes the next Write add snapshots that could not be written.
func (s *Snapshots) repeat(added []marketprism.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range added {
		s.books[added[i].Instrument].due = time.Time{}
	}
}
