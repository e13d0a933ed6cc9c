package sink

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/marketprism/marketprism"
)

// A SpillConfig says where and how a Spill keeps records. Dir, Encode and Decode must be set; zero is the
// default of the others.
type SpillConfig struct {
	// Dir is the folder of the queue, created if it does not exist. It belongs to one Spill at a
	// time. Its files are readable by their owner only.
	Dir string

	// Encode appends r to dst in a form that Decode reads back, which must not keep data:
	// natsbus.AppendRecord and natsbus.DecodeRecord fit. Fields that the form leaves out, such as Origin in
	// those, are lost on disk.
	Encode func(dst []byte, r *marketprism.Record) ([]byte, error)
	Decode func(data []byte, r *marketprism.Record) error

	// MaxBytes bounds the queue, as encoded and with 12 bytes for each record; 0 means 1 GiB.
	// The folder may take one segment more, for the read part of the oldest, and the copies of
	// damaged segments, which only the operator removes.
	MaxBytes int64

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

	// DirectTimeout is how long a Write waits for the destination before its records go to disk; 0
	// means 1 s. Negative means that all records go through the disk.
	DirectTimeout time.Duration

	// MaxBatch bounds the records that Run delivers in one Write; 0 means 1024.
	MaxBatch int

	// WriteTimeout bounds one such Write, which then counts as failed; 0 means 1 min, negative no limit.
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
	c.SegmentBytes = cmp.Or(c.SegmentBytes, min(64<<20, c.MaxBytes))
	c.DirectTimeout = max(cmp.Or(c.DirectTimeout, time.Second), 0)
	c.MaxBatch = cmp.Or(c.MaxBatch, 1024)
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
