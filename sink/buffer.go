package sink

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/marketprism/marketprism"
)

// A Buffer is a sink that queues copies of records for another, within bounds, and writes them there
// in larger batches. Write does not wait for the destination unless the queue is full; Run writes to
// it, and holds and repeats a batch that fails, so that the order stays. Records are handed on exactly
// once, unless the destination fails after it accepted some.
//
// What happens when the queue is full is BufferConfig.Overflow. With DropOldest the contract of
// marketprism.Record holds on: a book that loses a record gets a Gap where the hole is, with reason
// orderbook.GapOverflow, and its Updates from there to its next Snapshot are dropped too, since no
// book can be made of them. Trades and tickers have no such mark: Stats and Hooks.Dropped tell of
// them, as of everything that is dropped.
//
// A Buffer may be used from any number of goroutines.
type Buffer struct {
	dst Sink
	cfg BufferConfig

	mu      sync.Mutex // guards what follows; never held while waiting, nor during a hook
	queue   queue
	flushTo uint64 // position in queue up to which somebody waits in Flush, or for room
	started bool   // Run was called
	ending  bool   // its ctx has ended: no Write is accepted
	ended   bool   // it has returned
	stats   BufferStats

	due     chan struct{} // capacity 1: Run should look at the queue
	end     chan struct{} // closed with ending
	changed chan struct{} // closed and replaced when records have left the queue, or Run ends
}

// BufferStats counts what a Buffer did since it was made.
type BufferStats struct {
	Queued      int    // records held at present, those being written included
	QueuedBytes int    // their approximate size
	Accepted    uint64 // records that Write accepted
	Written     uint64 // records that the destination accepted, Gaps put in by DropOldest included
	Batches     uint64 // Writes of the destination that succeeded
	Retries     uint64 // Writes of the destination that failed
	Full        uint64 // Writes that found no room
	Gaps        uint64 // Gap records put in by DropOldest

	// Dropped counts the records that DropOldest gave up, by kind: Dropped[marketprism.KindTrade].
	Dropped [marketprism.KindTicker + 1]uint64
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
		b.queue.holes = newHoles()
	}
	return b, nil
}

// Write queues copies of recs. It waits under Block only, and for room only; if ctx ends first, the
// rest of recs is not queued. Apart from the error of ctx, its errors are marketprism.ErrKind,
// ErrTooLarge, ErrFull and ErrClosed, wrapped; nothing is queued then, unless it was ErrClosed that
// ended a wait.
func (b *Buffer) Write(ctx context.Context, recs []marketprism.Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := b.check(recs); err != nil {
		return err
	}
	queued, room, err := b.admit(recs, true)
	for err == nil && queued < len(recs) {
		select {
		case <-room:
		case <-ctx.Done():
			return fmt.Errorf("sink: no room for %d of %d records: %w", len(recs)-queued, len(recs), ctx.Err())
		}
		var n int
		n, room, err = b.admit(recs[queued:], false)
		queued += n
	}
	return err
}

// check returns an error if one of recs could never be delivered.
func (b *Buffer) check(recs []marketprism.Record) error {
	if err := validate(recs); err != nil {
		return err
	}
	for i := range recs {
		if size := recordSize(&recs[i]); size > b.cfg.MaxBytes {
			return fmt.Errorf("%w: record %d of %d has %d bytes, MaxBytes is %d", ErrTooLarge, i, len(recs), size, b.cfg.MaxBytes)
		}
	}
	return nil
}

// admit queues as many of recs as the bounds and the policy allow. If those are not all, room is
// closed when there may be more of it. A Write tells of a full queue on its first attempt only.
func (b *Buffer) admit(recs []marketprism.Record, first bool) (n int, room <-chan struct{}, err error) {
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
	if noRoom { // what is queued is due at once, however little it is
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
	b.tellDropped(dropped)
	return n, room, err
}

// enqueue queues records up to the first that has no room; under DropOldest all have. It wakes Run
// where that makes a batch due, or starts the wait for one.
func (b *Buffer) enqueue(recs []marketprism.Record) (n int, dropped []marketprism.Record) {
	now := time.Now()
	idle := b.queue.waiting.n == 0
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
	default: // it knows already
	}
}

// broadcast wakes every Write that waits for room and every Flush.
func (b *Buffer) broadcast() {
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *Buffer) count(dropped []marketprism.Record) {
	for i := range dropped {
		b.stats.Dropped[dropped[i].Kind()]++
	}
}

func (b *Buffer) tellDropped(dropped []marketprism.Record) {
	if b.cfg.Hooks.Dropped == nil {
		return
	}
	for i := range dropped {
		b.cfg.Hooks.Dropped(DroppedInfo{Record: &dropped[i]})
	}
}

// Flush makes Run write what is queued without waiting for more, and returns once the destination has
// accepted every record that was accepted here before the call, those that were dropped excepted. It
// returns the error of ctx, or ErrClosed if Run has ended without delivering them.
func (b *Buffer) Flush(ctx context.Context) error {
	b.mu.Lock()
	target := b.queue.came
	b.flushTo = max(b.flushTo, target)
	b.wake()
	b.mu.Unlock()
	for {
		b.mu.Lock()
		settled, ended, changed := b.queue.settled() >= target, b.ended, b.changed
		b.mu.Unlock()
		switch {
		case settled:
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

// Stats returns the counters as they are.
func (b *Buffer) Stats() BufferStats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stats
	s.Queued, s.QueuedBytes = b.queue.records(), b.queue.size()
	s.Accepted = b.queue.came
	if b.queue.holes != nil {
		s.Gaps = b.queue.holes.made
	}
	return s
}
