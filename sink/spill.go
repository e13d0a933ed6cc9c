package sink

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/internal/wal"
)

// A Spill is a sink in front of another that is away now and then, such as a bus. While that accepts
// records in time, they go straight to it. When it does not, they go to a queue in a folder, within a
// bound, and Run hands them on from there in order; while the queue is not empty everything goes
// through it.
//
// What Write accepted is either accepted by the destination or on the disk: it survives kill -9, and,
// unless SyncInterval allows otherwise, a power cut. After a restart in the same folder Run goes on with
// it. Some records may be handed on twice, those of a Write that ran into DirectTimeout and those of
// the last second before a crash. A reader drops the second by its Key; a bus does so within its
// dedupe window.
//
// When the queue is full, SpillConfig.Overflow says what happens. With DropNewest the contract of
// marketprism.Record holds on, as it does with a Buffer: a book that loses a record gets a Gap in its place,
// with reason orderbook.GapOverflow, on the disk before Write returns and even beyond MaxBytes, and its
// Updates from there to its next Snapshot are dropped too. Stats and Hooks.Dropped tell of everything
// that is dropped.
//
// Everything in the queue has checksums. An incomplete end, which a crash leaves of a Write that was not
// accepted, is cut off and told of. What else does not read back is damage: its segment is kept aside as
// NUMBER.wal.bad, Hooks.Corrupt is called, and the records behind it follow. Since nobody can say
// whose records were lost, every book that went through this Spill gets a Gap with reason
// orderbook.GapInvalid, and every other at its next Update; their Updates are dropped up to their next
// Snapshot. Trades and tickers have no such mark.
//
// A destination may refuse a record for good; SpillConfig.Permanent tells. Write returns that error. Where
// the record comes from the queue, it is left out, Hooks.Refused is called, its segment is kept aside,
// and its book gets a Gap.
//
// A Spill may be used from any number of goroutines.
type Spill struct {
	dst   Sink
	cfg   SpillConfig
	queue *wal.Queue
	due   chan struct{} // capacity 1: Run should look at the queue
	turn  chan struct{} // capacity 1: held by the Write that appends, which owns enc
	enc   encoder

	mu       sync.Mutex // guards what follows; never held while waiting, nor during a hook
	started  bool       // Run was called
	closed   bool
	spilling bool          // Writes go to the queue
	since    time.Time     // when that began
	writers  int           // Writes on their way to the queue
	changed  chan struct{} // closed and replaced when records have left the queue, or at Close
	stats    SpillStats
	accepted *holes   // what was dropped at the end of the queue; nil unless DropNewest
	passed   delivery // what was lost in the queue
}

// SpillStats counts what a Spill did since it was made.
type SpillStats struct {
	Spilling    bool  // Writes go to disk; otherwise to the destination
	Queued      int   // records on disk
	QueuedBytes int64 // that they occupy
	Segments    int   // files that hold them
	BadSegments int   // copies of damaged ones that are kept

	Direct    uint64 // records that the destination accepted at once
	Spilled   uint64 // records that were put on disk, Gaps of DropNewest included
	Drained   uint64 // records from there that the destination accepted, Gaps for damage included
	Retries   uint64 // Writes of Run that the destination did not accept
	Full      uint64 // Writes that found no room
	Gaps      uint64 // Gap records put in, for want of room and for damage
	Corrupt   uint64 // damaged places found
	Refused   uint64 // records that the destination refused for good
	TornBytes int64  // cut off the end when the folder was opened

	// Dropped counts the records given up, by kind: Dropped[marketprism.KindTrade]. What was
	// damaged or refused is not in it.
	Dropped [marketprism.KindTicker + 1]uint64
}

// NewSpill opens the folder of cfg, in which records of an earlier run may wait, and returns a Spill for
// dst. It reads through all of them once. Its errors are about cfg, ErrLocked, wrapped, and
// *DiskError. Nothing of the queue reaches dst until Run is called. Close it at the end.
func NewSpill(dst Sink, cfg SpillConfig) (*Spill, error) {
	if dst == nil {
		return nil, errNoSpillSink
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	queue, found, err := wal.Open(wal.Config{
		Dir:          cfg.Dir,
		SegmentBytes: cfg.SegmentBytes,
		SyncAppends:  cfg.SyncInterval == 0,
	})
	switch {
	case errors.Is(err, wal.ErrLocked):
		return nil, fmt.Errorf("%w: %s", ErrLocked, cfg.Dir)
	case err != nil:
		return nil, &DiskError{err}
	}
	s := &Spill{
		dst:      dst,
		cfg:      cfg,
		queue:    queue,
		due:      make(chan struct{}, 1),
		turn:     make(chan struct{}, 1),
		enc:      encoder{encode: cfg.Encode},
		spilling: !queue.Empty(),
		since:    time.Now(),
		changed:  make(chan struct{}),
		passed:   delivery{holes: newHoles()},
	}
	s.stats.TornBytes = found.TornBytes
	if cfg.Overflow == DropNewest {
		s.accepted = newHoles()
	}
	if found.Damaged {
		s.passed.damage, s.passed.broken = errBefore, true
	}
	hook.Call(cfg.Hooks.Opened, SpillOpenedInfo{
		Records: found.Payloads, Bytes: found.Bytes, Segments: found.Segments, BadSegments: found.Bad,
		TornBytes: found.TornBytes, PositionLost: found.PositionLost,
	})
	return s, nil
}

// Flush returns once the destination has accepted every record that was accepted here before the call.
// It returns the error of ctx, or ErrClosed. Run must be running.
func (s *Spill) Flush(ctx context.Context) error {
	end := s.queue.End()
	for {
		s.mu.Lock()
		changed, closed := s.changed, s.closed
		s.mu.Unlock()
		switch {
		case s.queue.Passed(end):
			return nil
		case closed:
			return ErrClosed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Stats returns the counters as they are.
func (s *Spill) Stats() SpillStats {
	queued := s.queue.Stats()
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Spilling = s.spilling
	stats.Queued, stats.QueuedBytes = queued.Payloads, queued.Bytes
	stats.Segments, stats.BadSegments = queued.Segments, queued.Bad
	stats.Gaps = s.passed.gaps
	if s.accepted != nil {
		stats.Gaps += s.accepted.made
	}
	return stats
}

// Close puts everything on disk and gives the folder free. End the ctx of Run before, and wait for it.
// Writes and Flushes that wait, and later ones, return ErrClosed, and so does a second Close. A
// *DiskError means that the queue may not be on disk in full, or that some of it will be handed on again.
func (s *Spill) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return ErrClosed
	}
	s.wake()
	s.broadcast()
	if err := s.queue.Close(); err != nil {
		return &DiskError{err}
	}
	return nil
}

// wake makes Run look at the queue.
func (s *Spill) wake() {
	select {
	case s.due <- struct{}{}:
	default: // it knows already
	}
}

// broadcast wakes every Write that waits for room and every Flush.
func (s *Spill) broadcast() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

// dropped counts records that were given up, and tells of them.
func (s *Spill) dropped(recs []marketprism.Record) {
	if len(recs) == 0 {
		return
	}
	s.mu.Lock()
	for i := range recs {
		s.stats.Dropped[recs[i].Kind()]++
	}
	s.mu.Unlock()
	for i := range recs {
		hook.Call(s.cfg.Hooks.Dropped, DroppedInfo{Record: &recs[i]})
	}
}
