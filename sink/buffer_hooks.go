package sink

import (
	"log/slog"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
)

// Hooks observe a Buffer. Any of them may be nil. Each is called on the goroutine that it names, after the
// Buffer's state and Stats have changed and with no lock held. These goroutines do not wait
// for each other, so Dropped and Full may run several times at once. Hooks must not block: their
// callers wait for them.
type Hooks struct {
	// Written: the destination accepted a batch. On the goroutine of Run.
	Written func(WrittenInfo)
	// Failed: the destination returned an error, and Run repeats the batch. On the goroutine of Run.
	Failed func(FailedInfo)
	// Full: a bound was reached. Once for each Write that found no room, on its goroutine.
	Full func(FullInfo)
	// Dropped: DropOldest dropped a record. Once for each, on the goroutine of the Write that needed
	// the room, or of Run for an Update that is useless after a Gap. To start the book again,
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
		all.Full = hook.Join(all.Full, h.Full)
		all.Dropped = hook.Join(all.Dropped, h.Dropped)
	}
	return &all
}

// LogHooks returns Hooks that log batches and dropped records at debug level, a full buffer at info
// and failures at warn. The log handler must not block.
func LogHooks(l *slog.Logger) *Hooks {
	return &Hooks{
		Written: func(i WrittenInfo) {
			l.Debug("batch written", "records", i.Records, "attempts", i.Attempts, "elapsed", i.Elapsed)
		},
		Failed: func(i FailedInfo) {
			l.Warn("batch not accepted", "records", i.Records, "attempts", i.Attempts, "delay", i.Delay, "err", i.Err)
		},
		Full: func(i FullInfo) {
			l.Info("buffer full", "overflow", i.Overflow, "records", i.Records, "bytes", i.Bytes)
		},
		Dropped: func(i DroppedInfo) {
			l.Debug("record dropped", "instrument", i.Record.Instrument, "kind", i.Record.Kind())
		},
	}
}
