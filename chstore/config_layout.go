package chstore

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

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
// package and was chosen by measuring.
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
	// IndexGranularity is the rows of one mark. 0 means 8192, and 256 for snapshots, whose rows are large.
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

// granularity returns the rows of a mark.
func (c *Config) granularity(t table) int {
	switch n := t.layout(c.Layouts).IndexGranularity; {
	case n != 0:
		return n
	case t == snapshotTable:
		return 256
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
