package sink

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
)

// Overflow is what a Buffer or a Spill does with a record for which there is no room.
type Overflow uint8

const (
	// Block makes Write block until there is room. Nothing is lost, and the producer waits.
	Block Overflow = iota
	// Fail makes Write return ErrFull with nothing accepted, as it always does for more records than
	// the queue can hold at all.
	Fail
	// DropOldest makes room by dropping the oldest records that are not being written;
	// see Buffer for the books that lose one. A Spill does not have it.
	DropOldest
	// DropNewest drops a record for which there is no room; see Spill for the books that lose one. A
	// Buffer does not have it.
	DropNewest
)

// String returns the policy's name.
func (o Overflow) String() string {
	switch o {
	case Block:
		return "block"
	case Fail:
		return "fail"
	case DropOldest:
		return "drop oldest"
	case DropNewest:
		return "drop newest"
	}
	return "unknown"
}

// A BufferConfig sets the bounds of a Buffer. The zero BufferConfig is ready to use.
type BufferConfig struct {
	// MaxRecords and MaxBytes bound the queue, the batch being written included; 0 means
	// 65,536 records and 64 MiB. A record counts as 256 bytes and 16 for each of its levels,
	// about the memory that it takes.
	MaxRecords int
	MaxBytes   int

	// MaxBatch bounds the records of one Write to the destination; 0 means 8192.
	MaxBatch int

	// MaxDelay is how long a record waits for others to fill its batch while the destination is
	// idle; 0 means 100 ms, negative not at all.
	MaxDelay time.Duration

	// RetryMin and RetryMax bound the delay before a failed batch is written again. It is random,
	// below a bound that doubles from RetryMin to RetryMax; 0 means 100 ms and 30 s, or the other one
	// where that is beyond it.
	RetryMin, RetryMax time.Duration

	// DrainTimeout is how long Run goes on after its ctx has ended, to deliver the queue; 0
	// means 10 s, negative not at all.
	DrainTimeout time.Duration

	Overflow Overflow
	Hooks    *Hooks // nil means none
}

// withDefaults replaces zeros and checks the rest.
func (c BufferConfig) withDefaults() (BufferConfig, error) {
	c.MaxRecords = cmp.Or(c.MaxRecords, 65_536)
	c.MaxBytes = cmp.Or(c.MaxBytes, 64<<20)
	c.MaxBatch = cmp.Or(c.MaxBatch, 8192)
	c.MaxDelay = max(cmp.Or(c.MaxDelay, 100*time.Millisecond), 0)
	c.DrainTimeout = max(cmp.Or(c.DrainTimeout, 10*time.Second), 0)
	c.RetryMin = cmp.Or(c.RetryMin, min(100*time.Millisecond, cmp.Or(c.RetryMax, time.Hour)))
	c.RetryMax = cmp.Or(c.RetryMax, max(30*time.Second, c.RetryMin))
	c.Hooks = cmp.Or(c.Hooks, &Hooks{})
	switch {
	case c.MaxRecords < 0:
		return c, fmt.Errorf("sink: BufferConfig.MaxRecords is %d, want 0 or more", c.MaxRecords)
	case c.MaxBytes < 0:
		return c, fmt.Errorf("sink: BufferConfig.MaxBytes is %d, want 0 or more", c.MaxBytes)
	case c.MaxBatch < 0:
		return c, fmt.Errorf("sink: BufferConfig.MaxBatch is %d, want 0 or more", c.MaxBatch)
	case c.RetryMin < 0 || c.RetryMax < c.RetryMin:
		return c, fmt.Errorf("sink: BufferConfig has RetryMin %v and RetryMax %v, want 0 < RetryMin <= RetryMax", c.RetryMin, c.RetryMax)
	case c.Overflow > DropOldest:
		return c, fmt.Errorf("sink: BufferConfig.Overflow is %d, want Block, Fail or DropOldest", c.Overflow)
	}
	return c, nil
}

var errNoSink = errors.New("sink: NewBuffer needs a destination")

// Hooks observe a Buffer. Any of them may be nil. Each is called on the goroutine that it names, after the
// Buffer's state and Stats have changed and with no lock held. These goroutines do not wait
// for each other, so Dropped and Full may run several times at once. Hooks must not block: their
// callers wait for them. They may call the methods of the Buffer; on the goroutine of Run, Flush and a Write without room
// would wait for Run until their ctx ends.
type Hooks struct {
	// Written: the destination accepted a batch. On the goroutine of Run.
	Written func(WrittenInfo)
	// Failed: the destination returned an error, and Run repeats the batch. On the goroutine of Run.
	Failed func(FailedInfo)
	// Refused: the destination refused a record permanently, and it is left out. Once for each, on the goroutine of
	// Run, before it delivers the Gap for it.
	Refused func(RefusedInfo)
	// Full: a bound was reached. Once for each Write that found no room, on its goroutine.
	Full func(FullInfo)
	// Dropped: DropOldest dropped a record, or an Update is useless after a Gap. Once for each, on the goroutine of the
	// Write that needed the room, or of Run for a useless Update. To start the book again,
	// call its Syncer's Resync.
	Dropped func(DroppedInfo)
}

// WrittenInfo describes an accepted batch.
type WrittenInfo struct {
	Records  int
	Attempts int           // Writes it took, 1 or more
	Elapsed  time.Duration // from the first of them to the last, delays included
}

// FailedInfo describes a batch that was not accepted.
type FailedInfo struct {
	Records  int
	Attempts int // Writes of this batch so far
	Err      error
	Delay    time.Duration // until the next one, unless ctx ends before
}

// RefusedInfo describes a record that the destination will never accept.
type RefusedInfo struct {
	Record *marketprism.Record // valid until the hook returns
	Err    error               // why
}

// FullInfo describes the queue when a Write found no room.
type FullInfo struct {
	Overflow Overflow // how the Write goes on
	Records  int
	Bytes    int
}

// DroppedInfo describes one dropped record.
type DroppedInfo struct {
	Record *marketprism.Record // valid until the hook returns
}

// TeeHooks returns Hooks that call each of hooks, in order. Nil ones are left out.
func TeeHooks(hooks ...*Hooks) *Hooks {
	var all Hooks
	for _, h := range hooks {
		if h == nil {
			continue
		}
		all.Written = hook.Join(all.Written, h.Written)
		all.Failed = hook.Join(all.Failed, h.Failed)
		all.Refused = hook.Join(all.Refused, h.Refused)
		all.Full = hook.Join(all.Full, h.Full)
		all.Dropped = hook.Join(all.Dropped, h.Dropped)
	}
	return &all
}

// LogHooks returns Hooks that log batches and dropped records at debug level, a full buffer at info,
// failures at warn and refused records at error. The log handler must not block.
func LogHooks(l *slog.Logger) *Hooks {
	return &Hooks{
		Written: func(i WrittenInfo) {
			l.Debug("batch written", "records", i.Records, "attempts", i.Attempts, "elapsed", i.Elapsed)
		},
		Failed: func(i FailedInfo) {
			l.Warn("batch not accepted", "records", i.Records, "attempts", i.Attempts, "delay", i.Delay, "err", i.Err)
		},
		Refused: func(i RefusedInfo) {
			l.Error("record refused", "instrument", i.Record.Instrument, "key", i.Record.Key(), "err", i.Err)
		},
		Full: func(i FullInfo) {
			l.Info("buffer full", "overflow", i.Overflow, "records", i.Records, "bytes", i.Bytes)
		},
		Dropped: func(i DroppedInfo) {
			l.Debug("record dropped", "instrument", i.Record.Instrument, "kind", i.Record.Kind())
		},
	}
}
