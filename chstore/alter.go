package chstore

import (
	"context"
	"fmt"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// alterations returns what changes the tables that are there to the settings and the TTL of Config.
// Settings come first: a TTL can name a volume only of the table's own policy.
func (s *Store) alterations(ctx context.Context) ([]step, error) {
	rows, err := s.conn.Query(ctx, "SELECT substring(name, {skip:UInt64}), engine_full FROM system.tables "+
		"WHERE database = {database:String} AND name IN {tables:Array(String)} ORDER BY name", s.tableArgs()...)
	if err != nil {
		return nil, fmt.Errorf("chstore: look at tables: %w", err)
	}
	defer rows.Close()
	var steps []step
	for rows.Next() {
		var name, engine string
		if err := rows.Scan(&name, &engine); err != nil {
			return nil, fmt.Errorf("chstore: look at tables: %w", err)
		}
		t, err := tableNamed(name)
		if err != nil {
			return nil, err
		}
		steps = append(steps, s.alter(t, engine)...)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("chstore: look at tables: %w", err)
	}
	return steps, nil
}

// alter compares a table with Config. Its engine is told as ClickHouse writes it:
// MergeTree PARTITION BY … ORDER BY … TTL … SETTINGS ….
func (s *Store) alter(t table, engine string) (steps []step) {
	rest, settings, _ := strings.Cut(engine, " SETTINGS ")
	_, ttl, _ := strings.Cut(rest, " TTL ")
	has := make(map[string]bool)
	for set := range strings.SplitSeq(settings, ", ") {
		has[set] = true
	}
	var change []string
	for _, set := range s.settings(t) {
		if !has[set.String()] {
			change = append(change, set.String())
		}
	}
	alter := "ALTER TABLE " + s.tableName(t.name())
	if len(change) > 0 {
		steps = append(steps, step{statement: alter + " MODIFY SETTING " + strings.Join(change, ", ")})
	}
	switch want := s.ttl(t); {
	case want == ttl:
	case want == "":
		steps = append(steps, step{statement: alter + " REMOVE TTL"})
	default:
		steps = append(steps, step{statement: alter + " MODIFY TTL " + want})
	}
	return steps
}

// inBackground lets a statement return before the rows that are there have been worked through: of a
// large table that takes hours.
func inBackground(ctx context.Context) context.Context {
	return clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"mutations_sync": 0, "alter_sync": 1}))
}
