package chstore

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
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
// without limit; the smallest value is a second, of which there are only whole ones, and the largest ends at
// 2106-02-07, the last day of ClickHouse's DateTime: a row that would expire later does so then. ClickHouse drops
// expired rows when it next merges their part, so reads may return them for some hours more.
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
		if err := checkAge("TTL", t, t.ttl(cfg.TTL), "no limit"); err != nil {
			return cfg, err
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

// An Engine is the table engine that keeps the rows.
type Engine uint8

// The engines.
const (
	// MergeTree keeps every row. Reads leave duplicates out.
	MergeTree Engine = 0
	// ReplacingMergeTree also drops duplicate rows when it merges parts, at times of its choosing. Its sort
	// key ends in all columns that distinguish rows, so that nothing else is dropped.
	ReplacingMergeTree Engine = 1
)

// String returns ClickHouse's name of the engine.
func (e Engine) String() string {
	switch e {
	case MergeTree:
		return "MergeTree"
	case ReplacingMergeTree:
		return "ReplacingMergeTree"
	}
	return "unknown"
}

// Layouts say how the rows of each table are laid out on disk.
type Layouts struct {
	Depth, Snapshots, Trades, Tickers, Gaps Layout
}

// A Layout says how the rows of one table are laid out on disk. The zero value suits the reads of this
// package and was chosen by measuring: see the package documentation on the size on disk.
//
// OrderBy and IndexGranularity are fixed when a table is created: a table that has others is a
// *SchemaError of Migrate. Codecs and Indexes are applied by ALTER, to parts that are written
// afterwards; one that is removed from here stays on the table.
type Layout struct {
	// OrderBy is the sort key, of columns that are stored. nil means exchange, market, symbol, ts and
	// the ids. With ReplacingMergeTree the missing columns of its key are added at the end.
	OrderBy []string
	// Codecs are by column, as in the brackets of ClickHouse's CODEC: "Delta, ZSTD(3)".
	Codecs map[string]string
	// IndexGranularity is the rows of one mark, the least that is read at once. 0 means 8192; 1024 for depth updates and
	// 32 for snapshots, whose rows are large.
	IndexGranularity int
	// Indexes are skip indexes.
	Indexes []Index
}

// An Index lets reads skip rows by a column that is not in the sort key.
type Index struct {
	Name   string // letters, digits and underscores
	Column string // stored or computed
	// Type is minmax, set(rows), bloom_filter or bloom_filter(rate).
	Type string
	// Granularity is how many marks one entry covers. 0 means 1.
	Granularity int
}

// sortKey returns the columns of a table's sort key.
func (c *Config) sortKey(t table) []string {
	key := t.layout(c.Layouts).OrderBy
	if key == nil {
		key = append([]string{"exchange", "market", "symbol", "ts"}, strings.Split(t.order(), ", ")...)
	}
	if c.Engine == ReplacingMergeTree {
		for _, column := range t.distinct() {
			if !slices.Contains(key, column) {
				key = append(key[:len(key):len(key)], column)
			}
		}
	}
	return key
}

// hadSortKey reports whether a table has the sort key of Config, or the one that an older version made of it: with
// ReplacingMergeTree, that of snapshots did not distinguish those that differ in their depth alone.
func (c *Config) hadSortKey(t table, order string) bool {
	key := c.sortKey(t)
	if strings.Join(key, ", ") == order {
		return true
	}
	plain := slices.DeleteFunc(slices.Clone(key), func(column string) bool { return strings.HasPrefix(column, "length(") })
	return t == snapshotTable && c.Engine == ReplacingMergeTree && strings.Join(plain, ", ") == order
}

// granularity returns the rows of a mark.
func (c *Config) granularity(t table) int {
	switch n := t.layout(c.Layouts).IndexGranularity; {
	case n != 0:
		return n
	case t == depthTable:
		return 1024
	case t == snapshotTable:
		return 32
	}
	return 8192
}

var (
	codecText = regexp.MustCompile(`^(NONE|LZ4|LZ4HC(\(\d{1,2}\))?|ZSTD(\(\d{1,2}\))?|ALP|Delta(\([1248]\))?|DoubleDelta(\([1248]\))?|GCD|T64(\('(byte|bit)'\))?|Gorilla(\([1248]\))?|FPC(\(\d{1,2}\))?)$`)
	indexText = regexp.MustCompile(`^(minmax|set\(\d{1,9}\)|bloom_filter(\(0?\.\d{1,6}\))?)$`)
)

// validateLayout validates the layout of a table, so that all of it can be used in a statement.
func (c *Config) validateLayout(t table) error {
	l := t.layout(c.Layouts)
	stored := storedColumns(t)
	bad := func(format string, args ...any) error {
		return fmt.Errorf("chstore: Layouts of %s: %s", t.name(), fmt.Sprintf(format, args...))
	}
	if l.OrderBy != nil && len(l.OrderBy) == 0 {
		return bad("OrderBy is empty")
	}
	for i, column := range l.OrderBy {
		switch {
		case !slices.Contains(stored, column):
			return bad("OrderBy: no column %q is stored", column)
		case slices.Contains(l.OrderBy[:i], column):
			return bad("OrderBy: %q is there twice", column)
		}
	}
	for column, codec := range l.Codecs {
		if !slices.Contains(stored, column) {
			return bad("Codecs: no column %q is stored", column)
		}
		for part := range strings.SplitSeq(codec, ",") {
			if !codecText.MatchString(strings.TrimSpace(part)) {
				return bad("Codecs: %q of %s is not known", part, column)
			}
		}
	}
	if l.IndexGranularity < 0 {
		return bad("IndexGranularity %d", l.IndexGranularity)
	}
	for i, index := range l.Indexes {
		switch {
		case !isName(index.Name):
			return bad("Indexes: name %q: want letters, digits and underscores", index.Name)
		case slices.ContainsFunc(l.Indexes[:i], func(other Index) bool { return other.Name == index.Name }):
			return bad("Indexes: %s is there twice", index.Name)
		case !isName(index.Column):
			return bad("Indexes: column %q of %s", index.Column, index.Name)
		case !indexText.MatchString(index.Type):
			return bad("Indexes: type %q of %s: want minmax, set(rows), bloom_filter or bloom_filter(rate)", index.Type, index.Name)
		case index.Granularity < 0:
			return bad("Indexes: Granularity %d of %s", index.Granularity, index.Name)
		}
	}
	return nil
}
