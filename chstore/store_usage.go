package chstore

import (
	"context"
	"fmt"
	"time"
)

// A Usage is what one partition of a table takes on one disk.
type Usage struct {
	Table     string // without the prefix
	Partition string // as Partition names it: 202611, 20261123
	Volume    string // of the table's storage policy: the tier
	Disk      string
	Parts     uint64
	Rows      uint64
	Bytes     uint64    // on disk, compressed
	RawBytes  uint64    // of the columns, uncompressed
	Oldest    time.Time // of the records in it, to the second; zero for parts that tell no times
	Newest    time.Time
}

// Usage returns the sizes of the tables of records by partition and disk, ordered by table and
// partition. Nothing is read but the server's own bookkeeping.
func (s *Store) Usage(ctx context.Context) (all []Usage, err error) {
	defer s.observe(opUsage)(&err)
	rows, err := s.conn.Query(ctx, `
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
ORDER BY name, partition_id, disk`, s.tableArgs()...)
	if err != nil {
		return nil, fmt.Errorf("chstore: usage: %w", withCause(ctx, err))
	}
	defer rows.Close()
	for rows.Next() {
		var u Usage
		var oldest, newest int64
		err := rows.Scan(&u.Table, &u.Partition, &u.Volume, &u.Disk, &u.Parts, &u.Rows, &u.Bytes, &u.RawBytes, &oldest, &newest)
		if err != nil {
			return nil, fmt.Errorf("chstore: usage: %w", withCause(ctx, err))
		}
		u.Oldest, u.Newest = fromNanos(oldest*int64(time.Second)), fromNanos(newest*int64(time.Second))
		all = append(all, u)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("chstore: usage: %w", withCause(ctx, err))
	}
	return all, nil
}

// A Disk is one of the server's disks.
type Disk struct {
	Name     string
	Type     string // Local, ObjectStorage, …
	Free     uint64 // bytes that are free, kept ones not counted
	Total    uint64 // bytes
	Broken   bool
	ReadOnly bool
}

// Disks returns the server's disks, ordered by name. For a disk without a limit, as object storage has none,
// Free and Total are the highest uint64.
func (s *Store) Disks(ctx context.Context) (disks []Disk, err error) {
	defer s.observe(opUsage)(&err)
	rows, err := s.conn.Query(ctx, "SELECT name, type, unreserved_space, total_space, is_broken != 0, is_read_only != 0 FROM system.disks ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("chstore: disks: %w", withCause(ctx, err))
	}
	defer rows.Close()
	for rows.Next() {
		var d Disk
		if err := rows.Scan(&d.Name, &d.Type, &d.Free, &d.Total, &d.Broken, &d.ReadOnly); err != nil {
			return nil, fmt.Errorf("chstore: disks: %w", withCause(ctx, err))
		}
		disks = append(disks, d)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("chstore: disks: %w", withCause(ctx, err))
	}
	return disks, nil
}
