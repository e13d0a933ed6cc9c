package chstore

import (
	"context"
	"log/slog"
	"time"

	"github.com/marketprism/marketprism/internal/hook"
)

// Hooks are called as a Store works. Every field may be nil. They run while a Write does, on a
// goroutine for each of its tables and so several at once, after the Store's own state has changed.
// They must not block and must not call the Store.
type Hooks struct {
	Inserted func(InsertInfo) // an INSERT was confirmed
	Retrying func(RetryInfo)  // an INSERT failed and is tried again after a delay
	Fenced   func(FenceInfo)  // it was made sure that no earlier INSERT is still running
	Skipped  func(SkipInfo)   // records were found to be stored already and left out
}

// An InsertInfo tells of a confirmed INSERT.
type InsertInfo struct {
	Table       string
	Partition   uint32
	Source      string // of the records; "" for records without an Origin
	First, Last uint64 // lowest and highest sequence; 0 without an Origin
	Rows        int
	Took        time.Duration // the last attempt alone
}

// A RetryInfo tells of an INSERT that failed.
type RetryInfo struct {
	Table     string
	Partition uint32
	Rows      int
	Attempt   int // the one that failed, from 1
	Delay     time.Duration
	Err       error
}

// A FenceInfo tells of a fence: running INSERTs of a source were killed, and are over.
type FenceInfo struct {
	Table  string
	Source string
	Took   time.Duration
	Err    error // nil if the fence stands
}

// A SkipInfo tells of records that were not inserted because the table holds them.
type SkipInfo struct {
	Table     string
	Partition uint32
	Source    string
	Rows      int
}

// TeeHooks returns Hooks that call each of hooks in order. Nil ones are left out.
func TeeHooks(hooks ...*Hooks) *Hooks {
	var t Hooks
	for _, h := range hooks {
		if h == nil {
			continue
		}
		t.Inserted = hook.Join(t.Inserted, h.Inserted)
		t.Retrying = hook.Join(t.Retrying, h.Retrying)
		t.Fenced = hook.Join(t.Fenced, h.Fenced)
		t.Skipped = hook.Join(t.Skipped, h.Skipped)
	}
	return &t
}

// LogHooks returns Hooks that log to l: INSERTs and skipped records at debug level, fences at info,
// failures at warn.
func LogHooks(l *slog.Logger) *Hooks {
	return &Hooks{
		Inserted: func(i InsertInfo) {
			l.Debug("inserted", "table", i.Table, "partition", i.Partition, "source", i.Source,
				"first", i.First, "last", i.Last, "rows", i.Rows, "took", i.Took)
		},
		Retrying: func(i RetryInfo) {
			l.Warn("insert failed, trying again", "table", i.Table, "partition", i.Partition, "rows", i.Rows,
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
	}
}
