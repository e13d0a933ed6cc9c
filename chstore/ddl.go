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

// Table returns the quoted name of any table.
func (d ddl) Table(name string) string { return d.s.tableName(name) }

// Partition returns the partition key of a table of records.
func (d ddl) Partition(name string) (string, error) {
	t, err := tableNamed(name)
	return d.s.partition(t).expression(), err
}

// TTL returns the TTL clause of a table of records, empty for rows that stay where they are for ever.
func (d ddl) TTL(name string) (string, error) {
	t, err := tableNamed(name)
	if ttl := d.s.ttl(t); ttl != "" {
		return "TTL " + ttl, err
	}
	return "", err
}

// Settings returns the settings of a table of records.
func (d ddl) Settings(name string) (string, error) {
	t, err := tableNamed(name)
	var all []string
	for _, set := range d.s.settings(t) {
		all = append(all, set.String())
	}
	return strings.Join(all, ", "), err
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

// A setting is one of a table, its value as it stands in SQL.
type setting struct{ name, value string }

func (s setting) String() string { return s.name + " = " + s.value }

// settings returns what is set for a table of records.
//
// The window of remembered tokens is 0 by default, which makes tokens do nothing. A source is told
// that its messages are stored, so a part has to be on disk before the INSERT is confirmed. Short
// partitions are dropped whole when all of their rows have expired; a month would keep them too long.
func (s *Store) settings(t table) []setting {
	all := []setting{{"non_replicated_deduplication_window", "10000"}, {"fsync_after_insert", "1"}, {"fsync_part_directory", "1"}}
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
