package chstore

import (
	"sync/atomic"
	"time"
)

// Stats are the counts of a Store since New.
type Stats struct {
	Rows     uint64 // inserted and confirmed
	Skipped  uint64 // records left out of a Write because they were stored already
	Inserts  uint64 // INSERTs confirmed
	Retries  uint64 // failed INSERTs that were tried again
	Failures uint64 // failed INSERTs, tried again or not
	Fences   uint64 // times that running INSERTs were killed and waited for

	Tables []TableStats // the same by table, in a fixed order
}

// TableStats are the counts of one table.
type TableStats struct {
	Table    string // without the prefix
	Rows     uint64
	Bytes    uint64 // of those rows, by the estimate that BlockBytes counts
	Skipped  uint64
	Inserts  uint64
	Retries  uint64
	Failures map[Reason]uint64 // nil while there are none
	Fences   uint64

	// Waiting and WaitingBytes are the records of Writes in progress that are neither stored
	// nor given up.
	Waiting, WaitingBytes int64
	// Newest is the highest Record.Time that was inserted: the exchange's clock where known.
	Newest time.Time
	// LastInsert is when an INSERT was last confirmed, by this machine's clock.
	LastInsert time.Time
}

// counters are the counts of one table.
type counters struct {
	rows, bytes, skipped, inserts, retries, fences atomic.Uint64
	failures                                       [len(reasons)]atomic.Uint64
	waiting, waitingBytes                          atomic.Int64
	newest, lastInsert                             atomic.Int64 // ns since 1970; 0: none
}

func (c *counters) stats(table string) TableStats {
	t := TableStats{
		Table: table, Rows: c.rows.Load(), Bytes: c.bytes.Load(), Skipped: c.skipped.Load(),
		Inserts: c.inserts.Load(), Retries: c.retries.Load(), Fences: c.fences.Load(),
		Waiting: c.waiting.Load(), WaitingBytes: c.waitingBytes.Load(),
		Newest: fromNanos(c.newest.Load()), LastInsert: fromNanos(c.lastInsert.Load()),
	}
	for i, reason := range reasons {
		if n := c.failures[i].Load(); n > 0 {
			if t.Failures == nil {
				t.Failures = make(map[Reason]uint64)
			}
			t.Failures[reason] = n
		}
	}
	return t
}

// wait counts the records of groups as waiting, until the function it returns is called.
func (c *counters) wait(groups []group) (done func()) {
	var rows, bytes int64
	for i := range groups {
		rows += int64(len(groups[i].recs))
		bytes += groups[i].bytes
	}
	c.waiting.Add(rows)
	c.waitingBytes.Add(bytes)
	return func() {
		c.waiting.Add(-rows)
		c.waitingBytes.Add(-bytes)
	}
}

// inserted counts a confirmed INSERT.
func (c *counters) inserted(b block) {
	c.inserts.Add(1)
	c.rows.Add(uint64(b.rows))
	c.bytes.Add(uint64(b.bytes))
	c.lastInsert.Store(time.Now().UnixNano())
	// The writer's mutex is locked.
	c.newest.Store(max(c.newest.Load(), nanos(b.newest)))
}

// failed counts an INSERT that was not confirmed.
func (c *counters) failed(reason Reason) {
	for i, r := range reasons {
		if r == reason {
			c.failures[i].Add(1)
		}
	}
}
