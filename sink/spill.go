package sink

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/internal/wal"
)

// A Spill is a sink in front of another that is unavailable at times, such as a bus. While the destination
// accepts records in time, Write passes them directly to it. When it does not, Write puts them in a queue on
// disk, within a bound, and Run delivers them from there in order; while the queue is not empty all
// records go through it. Run reads and decodes a batch while the destination takes the one before. Once the rest of the
// queue is a single batch, Writes wait for it and then go directly again.
//
// SpillStats distinguishes a destination that is away from a queue that is only behind.
//
// A record that Write accepted is either accepted by the destination or on the disk: it survives kill -9 and,
// unless SyncInterval allows otherwise, a power cut. After a restart in the same folder Run goes on with
// the queue. Some records may be delivered twice: those of a Write that ran into DirectTimeout, and those of
// the last second before a crash. A reader drops the second by its Key; a bus does so within its
// dedupe window.
//
// SpillConfig.Overflow says what happens when the queue is full. With DropNewest the contract of
// marketprism.Record still holds, as with a Buffer: a book that loses a record gets a Gap in its place,
// with reason orderbook.GapOverflow, on the disk before Write returns and even beyond MaxBytes, and its
// Updates from there to its next Snapshot are dropped too. Stats and Hooks.Dropped report every dropped
// record.
//
// The queue has checksums. An incomplete end, from a Write that a crash interrupted and that was not
// accepted, is cut off and reported. Any other part that does not read back, or is missing, is damage: its bytes are
// kept in a file NUMBER-OFFSET.bad, Hooks.Corrupt is called, and Run goes on with the records behind it. Since the
// owner of the lost records is unknown, every book that went through this Spill gets a Gap with reason
// orderbook.GapInvalid, and every other book before its next Update or Snapshot; their Updates are dropped up to their next
// Snapshot. Trades and tickers get no Gap. What cannot be noticed is the loss of the very end of the queue, of at most
// the last second before the process died, whatever SyncInterval is.
//
// A Gap ends the book of every reader, also of one that has followed an earlier process or has records of a Write that was
// not confirmed: readers ignore a Gap before their book's id, so where the Spill does not know that id, Gap.After is the
// id of what was lost. A lost Snapshot of the id at which its book is, such as a collector adds for new readers, ends no
// book.
//
// If the destination refuses a record permanently (see Permanent), a direct Write returns that error. A
// record from the queue is left out instead: Hooks.Refused is called, its encoded form is kept in a file
// NUMBER-OFFSET.refused, and its book gets a Gap. SpillConfig.KeepBytes bounds all these files, which only the operator
// removes. Where such a file cannot be written, the bytes are lost, which SpillStats.Unkept counts: the queue goes on.
//
// A Spill may be used from any number of goroutines.
type Spill struct {
	dst     Sink
	encoded EncodedSink // dst, if the queue is delivered as it is
	cfg     SpillConfig
	queue   *wal.Queue
	due     chan struct{} // capacity 1: Run should look at the queue
	lock    chan struct{} // capacity 1: held by the Write that appends, which owns enc
	enc     encoder

	mu        sync.Mutex // guards the fields below; never held while waiting, nor during a hook
	started   bool       // Run was called
	closed    bool
	spilling  bool          // Writes go to the queue
	since     time.Time     // when that began
	lastBatch bool          // Run delivers the last batch of the queue, and Writes wait for that
	away      bool          // the destination neither accepted nor refused the last Write
	writers   int           // Writes that are about to append
	changed   chan struct{} // closed and replaced when records have left the queue, lastBatch ends, or at Close
	unsure    wal.Mark      // the destination may have records of the queue before it
	stats     SpillStats
	accepted  *gapTracker   // of records dropped at the end of the queue; nil unless DropNewest
	passed    damageTracker // of records lost in the queue
}

// SpillStats counts the records and Writes of a Spill.
type SpillStats struct {
	Away        bool  // the destination neither accepted nor refused the last Write, in time
	Spilling    bool  // the queue is behind: Writes go through it, otherwise to the destination
	Queued      int   // records on disk
	QueuedBytes int64 // that they occupy
	Segments    int   // files with them
	Kept        int   // files with damaged or refused bytes
	KeptBytes   int64 // that they occupy, see SpillConfig.KeepBytes

	Direct    uint64 // records that the destination accepted directly
	Spilled   uint64 // records put on disk, Gaps of DropNewest included
	Drained   uint64 // records from disk that the destination accepted, Gaps for damage included
	Retries   uint64 // Writes of Run that the destination did not accept
	Full      uint64 // Writes that found no room
	Gaps      uint64 // Gap records made, for lack of room and for damage
	Corrupt   uint64 // damaged places found
	Refused   uint64 // records that the destination refused permanently
	Unkept    uint64 // damaged places and refused records whose bytes were not kept, for lack of room or since the disk failed
	TornBytes int64  // cut off the end when the folder was opened

	// Dropped counts the dropped records by kind, without damaged and refused ones. It is nil if there are
	// none.
	Dropped map[marketprism.Kind]uint64
}

// NewSpill opens the folder of cfg, which may have records of an earlier run, and returns a Spill for
// dst. It reads through all of them once. Its errors are about cfg, ErrLocked, wrapped, and
// *DiskError. No record of the queue reaches dst until Run is called. Close it at the end.
func NewSpill(dst Sink, cfg SpillConfig) (*Spill, error) {
	if dst == nil {
		return nil, errNoSpillSink
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	encoded, ok := dst.(EncodedSink)
	if cfg.Peek == nil {
		encoded = nil
	} else if !ok {
		return nil, errNoEncodedSink
	}
	queue, found, err := wal.Open(wal.Config{
		Dir:          cfg.Dir,
		SegmentBytes: cfg.SegmentBytes,
		SyncAppends:  cfg.SyncInterval == 0,
		KeepBytes:    cfg.KeepBytes,
	})
	switch {
	case errors.Is(err, wal.ErrLocked):
		return nil, fmt.Errorf("%w: %s", ErrLocked, cfg.Dir)
	case err != nil:
		return nil, &DiskError{err}
	}
	s := &Spill{
		dst:      dst,
		encoded:  encoded,
		cfg:      cfg,
		queue:    queue,
		due:      make(chan struct{}, 1),
		lock:     make(chan struct{}, 1),
		enc:      encoder{encode: cfg.Encode},
		spilling: !queue.Empty(),
		since:    time.Now(),
		changed:  make(chan struct{}),
		unsure:   queue.Tail(),
		passed:   damageTracker{tracker: newGapTracker()},
	}
	s.stats.TornBytes = found.TornBytes
	if cfg.Overflow == DropNewest {
		s.accepted = newGapTracker()
	}
	if found.Damaged {
		s.passed.damage, s.passed.broken = errBefore, true
	}
	hook.Call(cfg.Hooks.Opened, SpillOpenedInfo{
		Records: found.Payloads, Bytes: found.Bytes, Segments: found.Segments, Kept: found.Kept.Files,
		TornBytes: found.TornBytes, PositionLost: found.PositionLost,
	})
	return s, nil
}

// Flush blocks until the destination has accepted every record that Write accepted before the call.
// It returns the error of ctx, or ErrClosed. Run must be running.
func (s *Spill) Flush(ctx context.Context) error {
	end := s.queue.Tail()
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

// Stats returns the counters.
func (s *Spill) Stats() SpillStats {
	queued := s.queue.Stats()
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Dropped = maps.Clone(stats.Dropped)
	stats.Spilling, stats.Away = s.spilling, s.away
	stats.Queued, stats.QueuedBytes, stats.Segments = queued.Payloads, queued.Bytes, queued.Segments
	stats.Kept, stats.KeptBytes, stats.Unkept = queued.Kept.Files, queued.Kept.Bytes, queued.Kept.Unkept
	stats.Gaps = s.passed.gaps
	if s.accepted != nil {
		stats.Gaps += s.accepted.made
	}
	return stats
}

// Close syncs the queue to disk and releases the folder. End the ctx of Run before, and wait for it.
// Writes and Flushes that block, and later ones, return ErrClosed. A second Close does nothing. A
// *DiskError means that part of the queue may not be on disk, or that part of it will be delivered again.
func (s *Spill) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
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
	default: // it is awake already
	}
}

// broadcast wakes every Write that waits and every Flush.
func (s *Spill) broadcast() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signal()
}

// signal is broadcast with s.mu held.
func (s *Spill) signal() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// setAway notes whether the destination accepted a Write. If not, no Write waits for the rest of the queue.
func (s *Spill) setAway(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
	if away && s.lastBatch {
		s.lastBatch = false
		s.signal()
	}
}

// dropped counts and reports dropped records.
func (s *Spill) dropped(recs []marketprism.Record) {
	if len(recs) == 0 {
		return
	}
	s.mu.Lock()
	countKinds(&s.stats.Dropped, recs)
	s.mu.Unlock()
	for i := range recs {
		hook.Call(s.cfg.Hooks.Dropped, DroppedInfo{Record: &recs[i]})
	}
}
