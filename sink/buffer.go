package sink

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/marketprism/marketprism"
)

// A Buffer is a sink that queues copies of records for another, within bounds, and writes them there
// in larger batches. Write does not wait for the destination unless the queue is full. Run writes to
// it and repeats a batch that fails, so the order stays. The destination gets each record
// once, unless it fails after it accepted some.
//
// A record that the destination refuses permanently (see Permanent) is left out, so that the others are delivered:
// Hooks.Refused is called, and its book gets a Gap with reason orderbook.GapInvalid. Its Updates from there to its next
// Snapshot are dropped.
//
// BufferConfig.Overflow says what happens when the queue is full. With DropOldest the contract of
// marketprism.Record still holds: a book that loses a record gets a Gap in its place, with reason
// orderbook.GapOverflow, and its Updates from there to its next Snapshot are dropped too, since no
// book can be made of them. Trades and tickers are dropped without a Gap. Stats and Hooks.Dropped report
// every dropped record.
//
// A Buffer may be used from any number of goroutines.
type Buffer struct {
	dst Sink
	cfg BufferConfig

	mu      sync.Mutex // guards the fields below; never held while waiting, nor during a hook
	queue   queue
	flushTo uint64 // position in queue up to which a Flush waits, or a Write for room
	started bool   // Run was called
	ending  bool   // its ctx has ended: no Write is accepted
	ended   bool   // it has returned
	stats   BufferStats

	due     chan struct{} // capacity 1: Run should look at the queue
	end     chan struct{} // closed with ending
	changed chan struct{} // closed and replaced when records have left the queue, or Run ends
}

// BufferStats counts the records and Writes of a Buffer.
type BufferStats struct {
	Queued      int    // records in the queue, those being written included
	QueuedBytes int    // their approximate size
	Accepted    uint64 // records that Write accepted
	Written     uint64 // records that the destination accepted, Gaps made by DropOldest included
	Batches     uint64 // Writes of the destination that succeeded
	Retries     uint64 // Writes of the destination that failed and were repeated
	Refused     uint64 // records that the destination refused permanently
	Full        uint64 // Writes that found no room
	Gaps        uint64 // Gap records made, for records dropped by DropOldest and for refused ones

	// Dropped counts the dropped records, by kind: by DropOldest, and Updates after a refusal. It is nil if there are
	// none.
	Dropped map[marketprism.Kind]uint64
}

// NewBuffer returns a Buffer for dst. Nothing reaches dst until Run is called.
func NewBuffer(dst Sink, cfg BufferConfig) (*Buffer, error) {
	if dst == nil {
		return nil, errNoSink
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	b := &Buffer{
		dst:     dst,
		cfg:     cfg,
		queue:   queue{maxRecords: cfg.MaxRecords, maxBytes: cfg.MaxBytes},
		due:     make(chan struct{}, 1),
		end:     make(chan struct{}),
		changed: make(chan struct{}),
	}
	if cfg.Overflow == DropOldest {
		b.queue.gaps = newGapTracker()
	}
	return b, nil
}

// Write queues copies of recs. It blocks only under Block, until there is room; if ctx ends first, the
// rest of recs is not queued. Apart from the error of ctx, its errors are ErrFull and ErrClosed, wrapped, and a
// *RefusedError with those of marketprism.Record.Validate and ErrTooLarge; nothing is queued then, unless ErrClosed
// ended a wait.
func (b *Buffer) Write(ctx context.Context, recs []marketprism.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := b.check(recs); err != nil {
		return err
	}
	queued, room, err := b.add(recs, true)
	for err == nil && queued < len(recs) {
		select {
		case <-room:
		case <-ctx.Done():
			return fmt.Errorf("sink: no room for %d of %d records: %w", len(recs)-queued, len(recs), ctx.Err())
		}
		var n int
		n, room, err = b.add(recs[queued:], false)
		queued += n
	}
	return err
}

// check returns a *RefusedError if some of recs could never be delivered.
func (b *Buffer) check(recs []marketprism.Record) error {
	return refuse(recs, func(r *marketprism.Record) error {
		if size := recordSize(r); size > b.cfg.MaxBytes {
			return fmt.Errorf("%w: it has %d bytes, MaxBytes is %d", ErrTooLarge, size, b.cfg.MaxBytes)
		}
		return r.Validate()
	})
}

// add queues as many of recs as the bounds and the policy allow. If those are not all, room is
// closed when there may be more room. A Write reports a full queue on its first attempt only.
func (b *Buffer) add(recs []marketprism.Record, first bool) (n int, room <-chan struct{}, err error) {
	var dropped []marketprism.Record
	full := FullInfo{Overflow: b.cfg.Overflow}
	b.mu.Lock()
	noRoom := !b.queue.fits(len(recs), sizeOf(recs))
	switch {
	case b.ending:
		noRoom, err = false, ErrClosed
	case noRoom && b.cfg.Overflow == Fail:
		err = ErrFull
	default:
		n, dropped = b.enqueue(recs)
	}
	if noRoom { // the queue is due at once, however small the batch
		b.flushTo = max(b.flushTo, b.queue.came)
		b.wake()
	}
	if noRoom && first {
		full.Records, full.Bytes = b.queue.records(), b.queue.size()
		b.stats.Full++
	}
	room = b.changed
	b.mu.Unlock()

	if noRoom && first && b.cfg.Hooks.Full != nil {
		b.cfg.Hooks.Full(full)
	}
	b.reportDropped(dropped)
	return n, room, err
}

// enqueue queues records up to the first without room; under DropOldest all have room. It wakes Run
// if that makes a batch due, or starts its delay.
func (b *Buffer) enqueue(recs []marketprism.Record) (n int, dropped []marketprism.Record) {
	now := time.Now()
	idle := b.queue.pending.n == 0
	for ; n < len(recs); n++ {
		size := recordSize(&recs[n])
		switch {
		case b.queue.fits(1, size):
			b.queue.push(now, &recs[n], size)
		case b.cfg.Overflow == DropOldest:
			dropped = b.queue.force(now, &recs[n], size, dropped)
		default:
			b.wake()
			return n, dropped
		}
	}
	b.count(dropped)
	if idle || b.batchReady() {
		b.wake()
	}
	return n, dropped
}

func (b *Buffer) wake() {
	select {
	case b.due <- struct{}{}:
	default: // it is awake already
	}
}

// broadcast wakes every Write that waits for room and every Flush.
func (b *Buffer) broadcast() {
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *Buffer) count(dropped []marketprism.Record) {
	countKinds(&b.stats.Dropped, dropped)
}

// countKinds adds recs to counters by kind.
func countKinds(counters *map[marketprism.Kind]uint64, recs []marketprism.Record) {
	if len(recs) > 0 && *counters == nil {
		*counters = make(map[marketprism.Kind]uint64)
	}
	for i := range recs {
		(*counters)[recs[i].Kind()]++
	}
}

func (b *Buffer) reportDropped(dropped []marketprism.Record) {
	if b.cfg.Hooks.Dropped == nil {
		return
	}
	for i := range dropped {
		b.cfg.Hooks.Dropped(DroppedInfo{Record: &dropped[i]})
	}
}

// Flush makes Run write the queue without waiting for more, and blocks until the destination has
// accepted every record that Write accepted before the call, except dropped ones. It
// returns the error of ctx, or ErrClosed if Run has ended without delivering them.
func (b *Buffer) Flush(ctx context.Context) error {
	b.mu.Lock()
	target := b.queue.came
	b.flushTo = max(b.flushTo, target)
	b.wake()
	b.mu.Unlock()
	for {
		b.mu.Lock()
		completed, ended, changed := b.queue.completed() >= target, b.ended, b.changed
		b.mu.Unlock()
		switch {
		case completed:
			return nil
		case ended:
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
func (b *Buffer) Stats() BufferStats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stats
	s.Dropped = maps.Clone(s.Dropped)
	s.Queued, s.QueuedBytes = b.queue.records(), b.queue.size()
	s.Accepted = b.queue.came
	if b.queue.gaps != nil {
		s.Gaps += b.queue.gaps.made
	}
	if b.queue.lost != nil {
		s.Gaps += b.queue.lost.gaps
	}
	return s
}
