package chstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/hook"
)

// A recordTable is a table of records on the server that this Store writes to.
type recordTable struct {
	*db
	storeID  string // differs from that of any other Store
	table    table
	name     string // with prefix
	quoted   string
	counters counters
}

// checkTable makes sure that the table exists and has the partition key by which this Store groups
// rows. With another key one INSERT would become several parts, each stored or lost by itself.
func (t *recordTable) checkTable(ctx context.Context) error {
	want := t.partition(t.table).expression()
	var got string
	err := t.conn.oneRow(ctx, nil,
		"SELECT partition_key FROM system.tables WHERE database = {database:String} AND name = {name:String}",
		[]any{named("database", t.cfg.Database), named("name", t.name)}, &got)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return &SchemaError{Table: t.cfg.Database, What: "table", Want: t.name}
	case err != nil:
		return fmt.Errorf("chstore: look at table %s: %w", t.name, err)
	case got != want:
		return &SchemaError{Table: t.name, What: "partition key", Want: want, Got: got}
	}
	return nil
}

// queryPrefix begins the ids of the INSERTs that a fence looks for. Those of a source are found
// whichever process sent them, as a successor must; those without a source belong to this Store alone.
func (t *recordTable) queryPrefix(source string) string {
	sum := sha256.Sum256([]byte(t.quoted + "\x00" + source))
	prefix := "chstore-" + hex.EncodeToString(sum[:8]) + "-"
	if source == "" {
		prefix += t.storeID + "-"
	}
	return prefix
}

func (t *recordTable) watermarks(ctx context.Context, source string) (marks []Watermark, err error) {
	err = t.conn.eachRowSetting(ctx, t.current(), "SELECT _partition_id AS p, max(seq), count() FROM "+t.quoted+
		" WHERE src = {src:String} GROUP BY p ORDER BY p", []any{named("src", source)}, func(rows driver.Rows) error {
		m := Watermark{Table: t.table.name()}
		var partition string
		if err := rows.Scan(&partition, &m.Sequence, &m.Rows); err != nil {
			return err
		}
		id, err := strconv.ParseUint(partition, 10, 32)
		if err != nil {
			return fmt.Errorf("partition %q: %w", partition, err)
		}
		m.Partition = uint32(id)
		marks = append(marks, m)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("chstore: watermark of %s: %w", t.name, err)
	}
	return marks, nil
}

// storedSequences returns which sequences of a group, up to the partition's watermark, the table holds. It
// holds none above. It is called only when messages come again or out of order.
func (t *recordTable) storedSequences(ctx context.Context, g *group, mark uint64) (map[uint64]bool, error) {
	stored := make(map[uint64]bool, len(g.recs))
	low, high := mark, uint64(0)
	for _, r := range g.recs {
		if seq := r.Origin.Sequence; seq <= mark {
			stored[seq] = false
			low, high = min(low, seq), max(high, seq)
		}
	}
	if high == 0 {
		return stored, nil
	}
	err := t.conn.eachRowSetting(ctx, t.current(), "SELECT seq FROM "+t.quoted+
		" WHERE src = {src:String} AND _partition_id = {partition:String} AND seq BETWEEN {low:UInt64} AND {high:UInt64}",
		[]any{named("src", g.source), named("partition", strconv.FormatUint(uint64(g.partition), 10)), named("low", low), named("high", high)},
		func(rows driver.Rows) error {
			var seq uint64
			if err := rows.Scan(&seq); err != nil {
				return err
			}
			if _, asked := stored[seq]; asked {
				stored[seq] = true
			}
			return nil
		})
	if err != nil {
		return nil, fmt.Errorf("stored sequences: %w", err)
	}
	return stored, nil
}

// A source is the state of one stream of records in one table. Its name is "" for records without an Origin.
//
// ClickHouse has no transaction that would bind an INSERT to the position it was read from, and its
// deduplication by token can both lose a batch (the token is logged before the part is in place, so
// a crash between the two makes every retry a duplicate of nothing) and store it twice (a batch cut
// at other borders has another token). So the position is a column of the data: the table can always be asked
// for what it holds of a source, and the answer is right because a part is stored whole or not at all.
type source struct {
	*recordTable
	name string

	// settled is true while marks are what the table holds: no INSERT has an unknown outcome.
	settled bool
	lease   lease
	marks   map[uint32]uint64 // highest sequence stored, by partition
}

// newSource returns an unsettled source: an earlier process may have left an INSERT running. Records without
// an Origin have no position to lose.
func newSource(t *recordTable, name string) *source {
	return &source{recordTable: t, name: name, settled: name == "", lease: lease{recordTable: t, source: name}}
}

// acquire makes sure that this Store has the lease of the source, where Config asks for one.
func (s *source) acquire(ctx context.Context) error {
	if s.cfg.Lease <= 0 || s.name == "" {
		return nil
	}
	claimed, err := s.lease.acquire(ctx)
	if claimed {
		s.settled = false
	}
	return err
}

// release gives up the lease, if there is one.
func (s *source) release(ctx context.Context) error {
	released, err := s.lease.release(ctx)
	if released {
		s.settled = false
	}
	return err
}

// settle makes sure that no earlier INSERT of the source is still running, and then reads what is
// stored. The order matters: an INSERT whose client is gone may still be committed.
func (s *source) settle(ctx context.Context) error {
	if s.settled {
		return nil
	}
	start := time.Now()
	err := s.fence(ctx)
	s.counters.fences.Add(1)
	hook.Call(s.hooks.Fenced, FenceInfo{Table: s.table.name(), Source: s.name, Took: time.Since(start), Err: err})
	if err != nil {
		return err
	}
	if s.name != "" {
		marks, err := s.watermarks(ctx, s.name)
		if err != nil {
			return err
		}
		stored := make(map[uint32]uint64, len(marks))
		for _, m := range marks {
			stored[m.Partition] = m.Sequence
		}
		if err := s.checkRegressed(stored); err != nil {
			return err
		}
		s.marks = stored
	}
	s.settled = true
	return nil
}

// fenceTimeout bounds the wait for killed INSERTs to end, fencePoll is the time between two looks.
const (
	fenceTimeout = 30 * time.Second
	fencePoll    = 10 * time.Millisecond
)

// fence kills the running INSERTs of the source and waits until they are gone. The
// user needs no right beyond SELECT on system.processes to kill queries of its own.
func (s *source) fence(ctx context.Context) error {
	prefix := s.queryPrefix(s.name)
	ctx, cancel := context.WithTimeoutCause(ctx, fenceTimeout, errFence)
	defer cancel()
	for {
		if err := s.conn.Exec(ctx, "KILL QUERY"+s.cfg.Cluster.onCluster()+" WHERE startsWith(query_id, '"+prefix+"') ASYNC"); err != nil {
			return fmt.Errorf("fence: %w", err)
		}
		var running uint64
		err := s.conn.oneRow(ctx, nil, "SELECT count() FROM "+s.cfg.Cluster.processes()+" WHERE startsWith(query_id, {prefix:String})",
			[]any{named("prefix", prefix)}, &running)
		if err != nil {
			return fmt.Errorf("fence: %w", err)
		}
		if running == 0 {
			return nil
		}
		if backoff.Sleep(ctx, fencePoll) != nil {
			return context.Cause(ctx)
		}
	}
}

// checkRegressed compares the stored watermarks with those this Store has seen. Rows that expire are no
// loss, so in a table with a TTL only partitions count in which nothing can have expired: the row of the
// highest sequence need not be the newest.
func (s *source) checkRegressed(stored map[uint32]uint64) error {
	expired := uint32(0) // up to this partition rows may have expired
	if ttl := s.table.ttl(s.cfg.TTL); ttl > 0 {
		expired = s.partition(s.table).id(time.Now().Add(-ttl))
	}
	for partition, mark := range s.marks {
		now := stored[partition]
		if now < mark && partition > expired {
			return &WatermarkError{Table: s.recordTable.name, Partition: partition, Source: s.name, Had: mark, Has: now}
		}
	}
	return nil
}

// missing returns the records of a group that the table does not hold, each sequence once.
func (s *source) missing(ctx context.Context, g *group) ([]*marketprism.Record, error) {
	above := s.marks[g.partition]
	ascending := true
	for _, r := range g.recs {
		ascending = ascending && r.Origin.Sequence > above
		above = max(above, r.Origin.Sequence)
	}
	if ascending {
		return g.recs, nil
	}
	stored, err := s.storedSequences(ctx, g, s.marks[g.partition])
	if err != nil {
		return nil, err
	}
	recs := slices.DeleteFunc(slices.Clone(g.recs), func(r *marketprism.Record) bool {
		if stored[r.Origin.Sequence] {
			return true
		}
		stored[r.Origin.Sequence] = true // a second record of the same sequence is the same message
		return false
	})
	if skipped := len(g.recs) - len(recs); skipped > 0 {
		s.counters.skipped.Add(uint64(skipped))
		hook.Call(s.hooks.Skipped, SkipInfo{Table: s.table.name(), Partition: g.partition, Source: g.source, Rows: skipped})
	}
	return recs, nil
}

// raise moves a partition's watermark up to a sequence that was stored.
func (s *source) raise(partition uint32, last uint64) {
	s.marks[partition] = max(s.marks[partition], last)
}
