package chstore

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/marketprism/marketprism/internal/hook"
)

// Hooks are called as a Store works. Every field may be nil. A Write calls its hooks on one goroutine for
// each of its tables, so several run at once; Answered is called on the goroutine that reads. The Store's own
// state has changed before. Hooks must not block. They may call Stats; a Write would wait for the one that calls the
// hook, until its ctx ends.
type Hooks struct {
	Inserted func(InsertInfo) // an INSERT was confirmed
	Failed   func(FailInfo)   // an attempt to INSERT failed, whether or not there is another one
	Retrying func(RetryInfo)  // it is tried again after a delay
	Fenced   func(FenceInfo)  // earlier INSERTs were ended, or a fence failed
	Skipped  func(SkipInfo)   // records were left out because they are stored already
	Answered func(AnswerInfo) // a read has its first answer, or failed
}

// An InsertInfo describes a confirmed INSERT. Its Table is without the prefix, as in the other infos, in Stats
// and in Usage.
type InsertInfo struct {
	Table       string
	Partition   uint32
	Source      string // of the records; "" for records without an Origin
	First, Last uint64 // lowest and highest sequence; 0 without an Origin
	Rows        int
	Bytes       int64 // of the rows in memory, by the estimate that BlockBytes counts
	// Oldest and Newest are the range of Record.Time: the exchange's clock where known, so
	// the time since Newest is how far the archive is behind the exchange.
	Oldest, Newest time.Time
	Took           time.Duration // the last attempt alone

	// Span is the span of Write's context; it is invalid where there is none. A sampled one is
	// sent to the server, which adds spans of its own to the trace (system.opentelemetry_span_log).
	Span trace.SpanContext
}

// A FailInfo describes one attempt to INSERT that was not confirmed.
type FailInfo struct {
	Table     string
	Partition uint32
	Source    string
	Rows      int
	Attempt   int // from 1
	Took      time.Duration
	Reason    Reason
	Err       error
}

// A RetryInfo describes an INSERT that failed and is tried again.
type RetryInfo struct {
	Table     string
	Partition uint32
	Rows      int
	Attempt   int // the one that failed, from 1
	Delay     time.Duration
	Err       error
}

// A FenceInfo describes a fence: running INSERTs of a source were killed, and have ended.
type FenceInfo struct {
	Table  string
	Source string
	Took   time.Duration
	Err    error // nil if all of them have ended
}

// A SkipInfo describes records that were not inserted because the table holds them.
type SkipInfo struct {
	Table     string
	Partition uint32
	Source    string
	Rows      int
}

// An Op is a kind of read: one of Ops, for counting.
type Op string

const (
	opRecords   Op = "records"
	opBookAt    Op = "book_at"
	opBooks     Op = "books"
	opReplay    Op = "replay"
	opCheck     Op = "check"
	opUsage     Op = "usage" // Usage and Disks
	opWatermark Op = "watermark"
)

// Ops returns every Op: records, book_at, books, replay, check, usage and watermark.
func Ops() []Op {
	return []Op{opRecords, opBookAt, opBooks, opReplay, opCheck, opUsage, opWatermark}
}

// An AnswerInfo describes a read.
type AnswerInfo struct {
	Op   Op
	Took time.Duration // until the answer; of an iteration or a Replay until its first record
	Err  error
}

// TeeHooks returns Hooks that call each of hooks in order. Nil hooks are left out.
func TeeHooks(hooks ...*Hooks) *Hooks {
	var t Hooks
	for _, h := range hooks {
		if h == nil {
			continue
		}
		t.Inserted = hook.Join(t.Inserted, h.Inserted)
		t.Failed = hook.Join(t.Failed, h.Failed)
		t.Retrying = hook.Join(t.Retrying, h.Retrying)
		t.Fenced = hook.Join(t.Fenced, h.Fenced)
		t.Skipped = hook.Join(t.Skipped, h.Skipped)
		t.Answered = hook.Join(t.Answered, h.Answered)
	}
	return &t
}

// LogHooks returns Hooks that log to l: INSERTs, skipped records and answers at debug level, fences at
// info, failures at warn.
func LogHooks(l *slog.Logger) *Hooks {
	return &Hooks{
		Inserted: func(i InsertInfo) {
			l.Debug("inserted", "table", i.Table, "partition", i.Partition, "source", i.Source,
				"first", i.First, "last", i.Last, "rows", i.Rows, "took", i.Took)
		},
		Failed: func(i FailInfo) {
			l.Warn("insert failed", "table", i.Table, "partition", i.Partition, "source", i.Source, "rows", i.Rows,
				"attempt", i.Attempt, "took", i.Took, "reason", i.Reason, "err", i.Err)
		},
		Retrying: func(i RetryInfo) {
			l.Debug("trying to insert again", "table", i.Table, "partition", i.Partition, "rows", i.Rows,
				"attempt", i.Attempt, "delay", i.Delay, "err", i.Err)
		},
		Fenced: func(i FenceInfo) {
			level := slog.LevelInfo
			if i.Err != nil {
				level = slog.LevelWarn
			}
			l.Log(context.Background(), level, "fenced", "table", i.Table, "source", i.Source, "took", i.Took, "err", i.Err)
		},
		Skipped: func(i SkipInfo) {
			l.Debug("already stored", "table", i.Table, "partition", i.Partition, "source", i.Source, "rows", i.Rows)
		},
		Answered: func(i AnswerInfo) {
			level := slog.LevelDebug
			if i.Err != nil && !errors.Is(i.Err, context.Canceled) { // whoever asked does not wait any more
				level = slog.LevelWarn
			}
			l.Log(context.Background(), level, "answered", "op", i.Op, "took", i.Took, "err", i.Err)
		},
	}
}
