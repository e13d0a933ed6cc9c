package chstore

import (
	"fmt"
	"time"

	"github.com/marketprism/marketprism/internal/defaults"
)

// A Config says where and how a Store keeps its tables. The zero value is ready to use.
type Config struct {
	// Database holds the tables; Migrate creates it. "" means marketprism. Like TablePrefix it consists
	// of letters, digits and underscores.
	Database string
	// TablePrefix begins the name of every table, so that several archives fit in a database. "" means none.
	TablePrefix string

	// Partition is the time span of one partition of a table, the unit in which rows are
	// dropped. The zero value means a day for depth updates and tickers, a month for the rest. It is
	// fixed when a table is created: a table that has another is a *SchemaError.
	Partition Partition

	// Engine is the table engine. The zero value is MergeTree. Like Partition it is fixed when a table is created.
	Engine Engine
	// Layouts are the sort keys, codecs and indexes. The zero value suits the reads of this package.
	Layouts Layouts
	// Cluster spreads the tables over servers. The zero value is one server by itself.
	Cluster Cluster

	// TTL is how long rows are kept, by table.
	TTL TTL

	// Tiers moves rows to another volume as they grow old. The zero value moves none.
	Tiers Tiers

	// Lease makes sure that one Store at a time writes the records of a source to a table: Write of a second one
	// returns a *LeaseError until the first has released its lease, or has not written for that long. It is how long
	// a successor waits after a crash, such as 15 s; at least 100 ms. 0 means no lease: then the caller must
	// start one writer only.
	Lease time.Duration

	// BlockBytes bounds the estimated size in memory of the rows of one INSERT: a larger
	// Write becomes several INSERTs. 0 means 32 MiB.
	BlockBytes int

	// InsertTimeout bounds one INSERT. 0 means a minute, negative means no bound but the context.
	InsertTimeout time.Duration

	// Attempts is how often an INSERT is tried while its error is Retryable, before Write returns the
	// error. 0 means 5, negative means once.
	Attempts int
	// RetryMin and RetryMax bound the delay between attempts, which doubles from the first to the
	// second. 0 means 100 ms and 5 s.
	RetryMin, RetryMax time.Duration

	Hooks *Hooks // nil means none
}

// A TTL is how long rows are kept, counted from the time of the record, for each table. 0 means
// without limit; the smallest value is a second. ClickHouse drops expired rows when it next merges their part,
// so reads may return them for some hours more.
//
// Migrate changes it on existing tables, and ClickHouse then processes their rows in the
// background. Keep it longer than the source keeps its messages: a message that is delivered again after its
// row has expired is stored again.
type TTL struct {
	Depth, Snapshots, Trades, Tickers, Gaps time.Duration
}

// withDefaults validates cfg and replaces zero values by their defaults.
func (cfg Config) withDefaults() (Config, error) {
	defaults.Set(&cfg.Database, "marketprism")
	defaults.Set(&cfg.BlockBytes, 32<<20)
	defaults.Set(&cfg.InsertTimeout, time.Minute)
	defaults.Set(&cfg.Attempts, 5)
	defaults.Set(&cfg.RetryMin, 100*time.Millisecond)
	defaults.Set(&cfg.RetryMax, max(5*time.Second, cfg.RetryMin))
	switch {
	case !isName(cfg.Database):
		return cfg, fmt.Errorf("chstore: Database %q: want letters, digits and underscores", cfg.Database)
	case cfg.TablePrefix != "" && !isName(cfg.TablePrefix):
		return cfg, fmt.Errorf("chstore: TablePrefix %q: want letters, digits and underscores", cfg.TablePrefix)
	case cfg.Partition > Month:
		return cfg, fmt.Errorf("chstore: unknown Partition %d", cfg.Partition)
	case cfg.Engine > ReplacingMergeTree:
		return cfg, fmt.Errorf("chstore: unknown Engine %d", cfg.Engine)
	case cfg.Lease < 0 || cfg.Lease > 0 && cfg.Lease < 100*time.Millisecond:
		return cfg, fmt.Errorf("chstore: Lease %v: want 100 ms or more, or 0 for none", cfg.Lease)
	case cfg.BlockBytes < 0:
		return cfg, fmt.Errorf("chstore: BlockBytes %d: an INSERT cannot be unbounded", cfg.BlockBytes)
	case cfg.RetryMin < 0 || cfg.RetryMax < cfg.RetryMin:
		return cfg, fmt.Errorf("chstore: RetryMin %v, RetryMax %v: want 0 < RetryMin <= RetryMax", cfg.RetryMin, cfg.RetryMax)
	}
	for t := range tableCount {
		if ttl := t.ttl(cfg.TTL); ttl != 0 && ttl < time.Second {
			return cfg, fmt.Errorf("chstore: TTL of %s is %v: want at least a second, or 0 for no limit", t.name(), ttl)
		}
	}
	for t := range tableCount {
		if err := cfg.validateLayout(t); err != nil {
			return cfg, err
		}
	}
	cluster, err := cfg.Cluster.withDefaults()
	if err != nil {
		return cfg, err
	}
	cfg.Cluster = cluster
	return cfg, cfg.Tiers.validate(cfg.TTL)
}

// isName reports whether this package accepts s as the name of a database or the beginning of
// a table's. ClickHouse accepts more between back quotes; these names work in any statement and in any tool.
func isName(s string) bool {
	for i, c := range []byte(s) {
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

const maxName = 64
