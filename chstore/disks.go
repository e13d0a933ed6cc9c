package chstore

import (
	"context"
	"fmt"
)

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
	defer s.observe(OpUsage)(&err)
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
