package chstore

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/defaults"
)

// A Usage is the size of one partition of a table on one disk.
type Usage struct {
	Table     string // without the prefix
	Partition string // as Partition names it: 202611, 20261123
	Volume    string // of the table's storage policy: the tier
	Disk      string
	Parts     uint64
	Rows      uint64
	Bytes     uint64    // on disk, compressed
	RawBytes  uint64    // of the columns, uncompressed
	Oldest    time.Time // of the records in it, to the second; zero for parts without times
	Newest    time.Time
}

// Usage returns the sizes of the tables of records by partition and disk, ordered by table and
// partition. It reads system tables only.
func (s *Store) Usage(ctx context.Context) (all []Usage, err error) {
	defer s.observe(opUsage)(&err)
	err = s.conn.eachRow(ctx, `
SELECT substring(p.table, {skip:UInt64}) AS name, p.partition_id AS partition_id,
	ifNull(any(v.volume_name), '') AS volume, p.disk_name AS disk,
	count(), sum(p.rows), sum(p.bytes_on_disk), sum(p.data_uncompressed_bytes),
	toInt64(min(toUnixTimestamp(p.min_time))), toInt64(max(toUnixTimestamp(p.max_time)))
FROM system.parts AS p
INNER JOIN (SELECT name, storage_policy FROM system.tables WHERE database = {database:String}) AS t ON t.name = p.table
LEFT JOIN (SELECT policy_name, volume_name, arrayJoin(disks) AS disk FROM system.storage_policies) AS v
	ON v.policy_name = t.storage_policy AND v.disk = p.disk_name
WHERE p.database = {database:String} AND p.table IN {tables:Array(String)} AND p.active AND p.rows > 0
GROUP BY name, partition_id, disk
ORDER BY name, partition_id, disk`, s.tableArgs(), func(rows driver.Rows) error {
		var u Usage
		var oldest, newest int64
		err := rows.Scan(&u.Table, &u.Partition, &u.Volume, &u.Disk, &u.Parts, &u.Rows, &u.Bytes, &u.RawBytes, &oldest, &newest)
		u.Oldest, u.Newest = fromNanos(oldest*int64(time.Second)), fromNanos(newest*int64(time.Second))
		all = append(all, u)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("chstore: usage: %w", withCause(ctx, err))
	}
	return all, nil
}

// A Disk is one of the server's disks.
type Disk struct {
	Name     string
	Type     string // Local, ObjectStorage, …
	Free     uint64 // bytes, without reserved ones
	Total    uint64 // bytes
	Broken   bool
	ReadOnly bool
}

// Disks returns the server's disks, ordered by name. For a disk without a limit, such as object storage,
// Free and Total are the highest uint64.
func (s *Store) Disks(ctx context.Context) (disks []Disk, err error) {
	defer s.observe(opUsage)(&err)
	err = s.conn.eachRow(ctx, "SELECT name, type, unreserved_space, total_space, is_broken != 0, is_read_only != 0 FROM system.disks ORDER BY name", nil,
		func(rows driver.Rows) error {
			var d Disk
			err := rows.Scan(&d.Name, &d.Type, &d.Free, &d.Total, &d.Broken, &d.ReadOnly)
			disks = append(disks, d)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("chstore: disks: %w", withCause(ctx, err))
	}
	return disks, nil
}

// A CheckQuery selects what Check examines, and sets its limits. The zero value selects everything
// that is stored, with the defaults. The state of the tables is always examined as a whole, and so is whether rows are
// of 1970 or the future (CheckTimes): they lie outside of any From and To.
type CheckQuery struct {
	Instruments []marketprism.Instrument // none means all that are stored
	From, To    time.Time                // on Record.Time(), From included and To not; zero means no bound

	// Silence is how long an instrument may have no records while another one of its market has some,
	// in whole seconds. 0 means a minute, negative turns the check off.
	Silence time.Duration
	// Skew is by how much the collector's time of receipt may be before the exchange's time of a record.
	// 0 means a second, negative turns the check off.
	Skew time.Duration
	// Overdue is how long rows may remain after their TTL. 0 means a day, negative turns the check off.
	Overdue time.Duration
	// Parts is how many parts a partition may have: ClickHouse delays INSERTs above 1000 and refuses
	// them above 3000. 0 means 500, negative turns the check off.
	Parts int
	// SkipBooks leaves out the checks that rebuild the books from all updates, in this process: CheckSnapshots, and
	// CheckCrossed between two snapshots.
	SkipBooks bool

	// Progress, unless nil, is called with the fraction of the rows that have been read, from 0 to 1: between two
	// parts of the work, on the goroutine of Check, which it must not delay.
	Progress func(done float64)
}

func (q CheckQuery) withDefaults() (CheckQuery, error) {
	defaults.Set(&q.Silence, time.Minute)
	defaults.Set(&q.Skew, time.Second)
	defaults.Set(&q.Overdue, 24*time.Hour)
	defaults.Set(&q.Parts, 500)
	if q.Silence > 0 && q.Silence < time.Second {
		return q, fmt.Errorf("%w: Silence %v is less than a second", ErrQuery, q.Silence)
	}
	return q, nil
}

// Check looks for faults in the data and the tables, and reports them. The server counts most of them
// by itself; books are rebuilt in this process, from one pass over the updates.
//
// The error is the driver's, or wraps ErrQuery. A fault in the data is no error but a Finding.
// Duplicates cost the server memory for the ids of the range: check long ranges piece by piece.
func (s *Store) Check(ctx context.Context, q CheckQuery) (r Report, err error) {
	defer s.observe(opCheck)(&err)
	if q, err = q.withDefaults(); err != nil {
		return r, err
	}
	r.From, r.To = q.From, q.To
	c := &checker{db: s.db, q: q, scope: checkScope(q), report: &r}
	stored, err := c.survey(ctx)
	if err != nil {
		return r, err
	}
	for _, i := range q.Instruments {
		if stored[i] == 0 {
			r.add(Finding{Check: CheckMissingInstrument, Instrument: i, Count: 1, Detail: "nothing is stored"})
		}
	}
	wiped, err := c.readWipes(ctx)
	if err != nil {
		return r, err
	}
	checks := c.sqlChecks(wiped)
	progress := progress{total: uint64(len(checks)) * r.Rows, report: q.Progress}
	if !q.SkipBooks {
		progress.total += bookCost * r.Rows
	}
	for _, check := range checks {
		if err := c.run(ctx, check, c.scope); err != nil {
			return r, err
		}
		progress.add(r.Rows)
	}
	if !q.SkipBooks {
		for i, rows := range stored {
			if err := c.checkBooks(ctx, i); err != nil {
				return r, err
			}
			progress.add(bookCost * rows)
		}
	}
	if err := c.checkTables(ctx); err != nil {
		return r, err
	}
	if q.Progress != nil {
		q.Progress(1)
	}
	r.sort()
	return r, nil
}
