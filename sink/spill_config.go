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

// A SpillConfig says where and how a Spill keeps records. Dir, Encode and Decode must be set; zero is the
// default of the others.
type SpillConfig struct {
	// Dir is the folder of the queue, created if it does not exist. It belongs to one Spill at a
	// time. Its files are readable by their owner only.
	Dir string

	// Encode appends r to dst in a form that Decode reads back, which must not keep data:
	// natsbus.AppendRecord and natsbus.DecodeRecord fit. Fields that the form leaves out, such as Origin in
	// those, are lost on disk. Encode is called by one goroutine at a time, Decode and Peek by any number. Both refuse a
	// record that is not valid (see marketprism.Record.Validate).
	Encode func(dst []byte, r *marketprism.Record) ([]byte, error)
	Decode func(data []byte, r *marketprism.Record) error

	// Peek is Decode for a destination that is an EncodedSink, which then gets the encoded records of the queue as they
	// are. It may leave out the levels of Updates, as natsbus.Decoder.SkipLevels does; hooks get whole records. Nil means that all
	// are decoded, and encoded again by the destination.
	Peek func(data []byte, r *marketprism.Record) error

	// MaxBytes bounds the queue, as encoded and with 12 bytes for each record; 0 means 1 GiB.
	// The folder may take one segment more, for the read part of the oldest, and KeepBytes.
	MaxBytes int64

	// KeepBytes bounds the files with damaged and refused bytes, each counted as whole blocks of 4 KiB; 0 means 16 MiB,
	// negative that none are kept. Those without room are counted in SpillStats.Unkept, as are those that the disk did not take. Only the operator removes these
	// files, and NewSpill counts them.
	KeepBytes int64

	// SegmentBytes is the size of one file, which is removed once it is read; 0 means 64 MiB, or
	// MaxBytes if that is less.
	SegmentBytes int64

	// Overflow is what Write does when MaxBytes is reached: Block, Fail or DropNewest.
	Overflow Overflow

	// SyncInterval is the time between syncs of the disk, after which records survive a power
	// cut; 0 means that every Write syncs. With a positive interval, which needs Run, or
	// a negative one, which leaves syncs to the system, accepted records still survive the death of
	// the process.
	SyncInterval time.Duration

	// DirectTimeout is how long a Write waits for the destination, or for the rest of the queue to be delivered, before
	// its records go to disk; 0 means 1 s. Negative means that all records go through the disk.
	DirectTimeout time.Duration

	// MaxBatch bounds the records that Run delivers in one Write; 0 means 4096. It should be a few times what the
	// destination processes at once, such as natsbus.PublisherConfig.MaxPending.
	MaxBatch int

	// WriteTimeout bounds one such Write, which then counts as failed; 0 means 1 min, negative no limit. After a failure
	// the next Writes are smaller.
	WriteTimeout time.Duration

	// RetryMin and RetryMax bound the delay before a failed batch is written again. It is random,
	// below a bound that doubles from RetryMin to RetryMax; 0 means 100 ms and 2 s, or the other one
	// where that is beyond it.
	RetryMin, RetryMax time.Duration

	Hooks *SpillHooks // nil means none
}

// withDefaults replaces zeros and checks the rest.
func (c SpillConfig) withDefaults() (SpillConfig, error) {
	c.MaxBytes = cmp.Or(c.MaxBytes, 1<<30)
	c.KeepBytes = max(cmp.Or(c.KeepBytes, 16<<20), 0)
	c.SegmentBytes = cmp.Or(c.SegmentBytes, min(64<<20, c.MaxBytes))
	c.DirectTimeout = max(cmp.Or(c.DirectTimeout, time.Second), 0)
	c.MaxBatch = cmp.Or(c.MaxBatch, 4096)
	c.WriteTimeout = max(cmp.Or(c.WriteTimeout, time.Minute), 0)
	c.RetryMin = cmp.Or(c.RetryMin, min(100*time.Millisecond, cmp.Or(c.RetryMax, time.Hour)))
	c.RetryMax = cmp.Or(c.RetryMax, max(2*time.Second, c.RetryMin))
	c.Hooks = cmp.Or(c.Hooks, &SpillHooks{})
	switch {
	case c.Dir == "":
		return c, errors.New("sink: SpillConfig.Dir is not set")
	case c.Encode == nil || c.Decode == nil:
		return c, errors.New("sink: SpillConfig needs Encode and Decode")
	case c.MaxBytes < 0:
		return c, fmt.Errorf("sink: SpillConfig.MaxBytes is %d, want 0 or more", c.MaxBytes)
	case c.SegmentBytes < 0 || c.SegmentBytes > c.MaxBytes:
		return c, fmt.Errorf("sink: SpillConfig.SegmentBytes is %d, want 0 to MaxBytes, which is %d", c.SegmentBytes, c.MaxBytes)
	case c.Overflow != Block && c.Overflow != Fail && c.Overflow != DropNewest:
		return c, fmt.Errorf("sink: SpillConfig.Overflow is %d (%v), want Block, Fail or DropNewest", c.Overflow, c.Overflow)
	case c.MaxBatch < 0:
		return c, fmt.Errorf("sink: SpillConfig.MaxBatch is %d, want 0 or more", c.MaxBatch)
	case c.RetryMin < 0 || c.RetryMax < c.RetryMin:
		return c, fmt.Errorf("sink: SpillConfig has RetryMin %v and RetryMax %v, want 0 < RetryMin <= RetryMax", c.RetryMin, c.RetryMax)
	}
	return c, nil
}

// SpillHooks observe a Spill. Any of them may be nil. Each is called on the goroutine that it names, after the
// Spill's state and Stats have changed and with no lock held. These goroutines do not wait
// for each other. Hooks must not block: their callers wait for them. They may call the methods of the Spill; on the
// goroutine of Run, Flush and a Write without room would wait for Run until their ctx ends, and any Write for up to
// DirectTimeout.
type SpillHooks struct {
	// Opened: the folder was opened and read through. On the goroutine of NewSpill, before it returns.
	Opened func(SpillOpenedInfo)
	// Spilling: records go to disk from here on. On the goroutine of the Write that began it. The destination is away if
	// there is an Err, until Drained or Live.
	Spilling func(SpillingInfo)
	// Live: the queue is empty, and records go to the destination again. On the goroutine of Run.
	Live func(spilled time.Duration)
	// Drained: the destination accepted a batch from the queue. On the goroutine of Run.
	Drained func(WrittenInfo)
	// Failed: the destination did not accept it, and Run repeats it. On the goroutine of Run.
	Failed func(FailedInfo)
	// Full: MaxBytes was reached. Once for each Write that found no room, on its goroutine.
	Full func(FullInfo)
	// Dropped: a record was dropped, for lack of room under DropNewest, or because it is an Update
	// after a Gap. Once for each, on the goroutine of the Write, or of Run for one from the queue.
	Dropped func(DroppedInfo)
	// Corrupt: the queue does not read back as it was written. On the goroutine of Run, before it
	// delivers the Gaps for it.
	Corrupt func(*CorruptError)
	// Refused: the destination refused a record from the queue permanently, and it is left out. On the
	// goroutine of Run, before it delivers the Gap for it.
	Refused func(SpillRefusedInfo)
	// DiskFailed: the folder could not be read, synced or cleaned up, or damaged or refused bytes could not be kept. No
	// record is lost, but a sync may be later than SyncInterval. On the goroutine of Run or one that it started. A Write that
	// fails on the disk returns the error instead.
	DiskFailed func(*DiskError)
}

// SpillOpenedInfo describes the content of the folder.
type SpillOpenedInfo struct {
	Records      int // queued: they are delivered first
	Bytes        int64
	Segments     int
	Kept         int   // files with damaged or refused bytes
	TornBytes    int64 // cut off at the end: of a Write that a crash interrupted and that was not accepted
	PositionLost bool  // the read position is unknown: up to a segment is delivered again
}

// SpillingInfo describes why records go to disk.
type SpillingInfo struct {
	Records int   // that the destination did not accept
	Err     error // of the destination; nil if DirectTimeout is negative or a Gap was pending
}

// SpillRefusedInfo describes a refused record.
type SpillRefusedInfo struct {
	Record *marketprism.Record // valid until the hook returns
	Err    error               // for which Permanent is true
	Kept   string              // path of the file with its encoded form; "" if KeepBytes had no room for it, or the disk failed
}

// TeeSpillHooks returns SpillHooks that call each of hooks, in order. Nil ones are left out.
func TeeSpillHooks(hooks ...*SpillHooks) *SpillHooks {
	var all SpillHooks
	for _, h := range hooks {
		if h == nil {
			continue
		}
		all.Opened = hook.Join(all.Opened, h.Opened)
		all.Spilling = hook.Join(all.Spilling, h.Spilling)
		all.Live = hook.Join(all.Live, h.Live)
		all.Drained = hook.Join(all.Drained, h.Drained)
		all.Failed = hook.Join(all.Failed, h.Failed)
		all.Full = hook.Join(all.Full, h.Full)
		all.Dropped = hook.Join(all.Dropped, h.Dropped)
		all.Corrupt = hook.Join(all.Corrupt, h.Corrupt)
		all.Refused = hook.Join(all.Refused, h.Refused)
		all.DiskFailed = hook.Join(all.DiskFailed, h.DiskFailed)
	}
	return &all
}

// LogSpillHooks returns SpillHooks that log batches and dropped records at debug level, changes of
// state and a full queue at info, failures at warn and damage at error. The log handler must not block.
func LogSpillHooks(l *slog.Logger) *SpillHooks {
	return &SpillHooks{
		Opened: func(i SpillOpenedInfo) {
			l.Info("spill opened", "records", i.Records, "bytes", i.Bytes, "segments", i.Segments,
				"kept", i.Kept, "torn_bytes", i.TornBytes, "position_lost", i.PositionLost)
		},
		Spilling: func(i SpillingInfo) { l.Info("spilling to disk", "records", i.Records, "err", i.Err) },
		Live:     func(spilled time.Duration) { l.Info("spill is empty", "elapsed", spilled) },
		Drained: func(i WrittenInfo) {
			l.Debug("spilled batch written", "records", i.Records, "attempts", i.Attempts, "elapsed", i.Elapsed)
		},
		Failed: func(i FailedInfo) {
			l.Warn("spilled batch not accepted", "records", i.Records, "attempts", i.Attempts, "delay", i.Delay, "err", i.Err)
		},
		Full: func(i FullInfo) {
			l.Info("spill full", "overflow", i.Overflow, "records", i.Records, "bytes", i.Bytes)
		},
		Dropped: func(i DroppedInfo) {
			l.Debug("record dropped", "instrument", i.Record.Instrument, "kind", i.Record.Kind())
		},
		Refused: func(i SpillRefusedInfo) {
			l.Error("spilled record refused", "instrument", i.Record.Instrument, "key", i.Record.Key(), "kept", i.Kept, "err", i.Err)
		},
		Corrupt:    func(err *CorruptError) { l.Error("spill corrupt", "err", err) },
		DiskFailed: func(err *DiskError) { l.Warn("spill disk failed", "err", err) },
	}
}
