package chstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// ddl is what the templates in schema/ can call. Every name it returns is checked by Config, and
// everything else is made of numbers and constants.
type ddl struct{ s *Store }

// Table returns the quoted name of any table or view, to be read.
func (d ddl) Table(name string) string { return d.s.tableName(name) }

// View returns the quoted name of a view, or of a table that is no table of records, to be made.
func (d ddl) View(name string) string {
	return d.s.tableName(name) + d.s.cfg.Cluster.onCluster()
}

// Target returns the quoted name of a table of records, to be made or changed.
func (d ddl) Target(name string) (string, error) {
	t, err := tableNamed(name)
	return d.s.quoted(d.s.localName(t)) + d.s.cfg.Cluster.onCluster(), err
}

// Storage returns all that follows the columns of a table of records. On a cluster that is also the
// statement that makes the table over all servers.
func (d ddl) Storage(name string) (string, error) {
	t, err := tableNamed(name)
	if err != nil {
		return "", err
	}
	s := d.s
	text := "ENGINE = " + s.cfg.Cluster.engine(s.cfg.Engine.String()) +
		"\nPARTITION BY " + s.partition(t).expression() +
		"\nORDER BY (" + strings.Join(s.cfg.sortKey(t), ", ") + ")"
	if ttl := s.ttl(t); ttl != "" {
		text += "\nTTL " + ttl
	}
	var all []string
	for _, set := range append(s.settings(t), setting{granularity, strconv.Itoa(s.cfg.granularity(t))}) {
		all = append(all, set.String())
	}
	text += "\nSETTINGS " + strings.Join(all, ", ")
	if cluster := s.cfg.Cluster; cluster.Name != "" {
		text += nextStatement + "CREATE TABLE IF NOT EXISTS " + s.tableName(name) + cluster.onCluster() +
			" AS " + s.quoted(s.localName(t)) +
			"\nENGINE = Distributed('" + cluster.Name + "', '" + s.cfg.Database + "', '" + s.localName(t) + "')"
	}
	return text, nil
}

// Clustered reports whether the tables are those of a cluster.
func (d ddl) Clustered() bool { return d.s.cfg.Cluster.Name != "" }

// Database returns the name of the database, Name that of a table with its prefix, and Text such a name
// as a text of SQL: names have no characters that would need more.
func (d ddl) Database() string         { return d.s.cfg.Database }
func (d ddl) Name(table string) string { return d.s.cfg.TablePrefix + table }
func (d ddl) Text(name string) string  { return "'" + name + "'" }

// Window returns how many INSERTs a table that is no table of records remembers by their tokens.
func (d ddl) Window() string {
	if d.s.cfg.Cluster.replicated() {
		return "replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800"
	}
	return "non_replicated_deduplication_window = 10000"
}

// Bookkeeping returns the engine of a table that is no table of records, of which all shards have the
// same. Of rows with one key it keeps the one with the highest version.
func (d ddl) Bookkeeping(version string) string {
	cluster := d.s.cfg.Cluster
	if path := strings.ReplaceAll(cluster.Path, "{shard}", "all"); path != cluster.Path {
		cluster.Path = path
		cluster.Replica = "{shard}-" + cluster.Replica // a name of its own among those of all shards
	}
	return cluster.engine("ReplacingMergeTree", version)
}

// ttl returns the TTL of a table as ClickHouse itself writes it, so that the two can be compared.
func (s *Store) ttl(t table) string {
	var all []string
	if after := t.ttl(s.cfg.Tiers.After); after > 0 {
		all = append(all, expiry(after)+" TO VOLUME '"+s.cfg.Tiers.volume()+"'")
	}
	if ttl := t.ttl(s.cfg.TTL); ttl > 0 {
		all = append(all, expiry(ttl))
	}
	return strings.Join(all, ", ")
}

func expiry(after time.Duration) string {
	return "toDateTime(ts) + toIntervalSecond(" + strconv.FormatInt(int64(after/time.Second), 10) + ")"
}

// granularity is the setting that is fixed when a table is made.
const granularity = "index_granularity"

// A setting is one of a table, its value as it stands in SQL.
type setting struct{ name, value string }

func (s setting) String() string { return s.name + " = " + s.value }

// settings returns what is set for a table of records.
//
// The window of remembered tokens is 0 by default, which makes tokens do nothing. A source is told
// that its messages are stored, so a part has to be on disk before the INSERT is confirmed. Short
// partitions are dropped whole when all of their rows have expired; a month would keep them too long.
func (s *Store) settings(t table) []setting {
	all := []setting{{"fsync_after_insert", "1"}, {"fsync_part_directory", "1"}}
	if s.cfg.Cluster.replicated() {
		all = append(all, setting{"replicated_deduplication_window", "10000"}, setting{"replicated_deduplication_window_seconds", "604800"})
	} else {
		all = append(all, setting{"non_replicated_deduplication_window", "10000"})
	}
	if s.cfg.Engine == ReplacingMergeTree {
		all = append(all, setting{"deduplicate_merge_projection_mode", "'rebuild'"})
	}
	if p := s.partition(t); p == Hour || p == Day {
		all = append(all, setting{"ttl_only_drop_parts", "1"})
	}
	if policy := s.cfg.Tiers.Policy; policy != "" {
		all = append(all, setting{"storage_policy", "'" + policy + "'"})
	}
	return all
}

func tableNamed(name string) (table, error) {
	for t := range tableCount {
		if t.name() == name {
			return t, nil
		}
	}
	return 0, fmt.Errorf("chstore: no table of records is named %s", name)
}

// checkTable makes sure, once, that the table exists and is partitioned as this Store will tell its
// rows apart. With another key one INSERT would become several parts, each stored or lost for itself.
func (w *writer) checkTable(ctx context.Context) error {
	if w.checked {
		return nil
	}
	want := w.s.partition(w.table).expression()
	var got string
	err := w.s.conn.QueryRow(ctx,
		"SELECT partition_key FROM system.tables WHERE database = {database:String} AND name = {name:String}",
		clickhouse.Named("database", w.s.cfg.Database), clickhouse.Named("name", w.name)).Scan(&got)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return &SchemaError{Table: w.s.cfg.Database, What: "table", Want: w.name}
	case err != nil:
		return fmt.Errorf("chstore: look at table %s: %w", w.name, err)
	case got != want:
		return &SchemaError{Table: w.name, What: "partition key", Want: want, Got: got}
	}
	w.checked = true
	return nil
}
