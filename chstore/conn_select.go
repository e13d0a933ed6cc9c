package chstore

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// selectSettings returns the settings that every SELECT sets, since its answer depends on them: those of an address or of a
// user's profile could make it shorter, longer or another one without an error.
func selectSettings() clickhouse.Settings {
	settings := clickhouse.Settings{
		"limit": 0, "offset": 0, "additional_result_filter": "", "additional_table_filters": "{}",
		"extremes":           0, // the driver takes them for more rows
		"use_query_cache":    0, // it answers what was stored a minute ago
		"final":              0,
		"apply_deleted_mask": 1,
		// A shard without an answer, and shards taken for replicas of one another.
		"skip_unavailable_shards": 0, "distributed_group_by_no_merge": 0, "enable_parallel_replicas": 0,
		// NULL, or no row, where the texts expect a zero: a comparison with it selects nothing.
		"aggregate_functions_null_for_empty": 0, "empty_result_for_aggregation_by_empty_set": 0, "join_use_nulls": 0,
		"prefer_column_name_to_alias": 0,
	}
	// What a limit cuts off is an error; the other modes return what was found until then.
	for _, limited := range []string{
		"read", "result", "timeout", "sort", "group_by", "distinct", "set", "join", "transfer",
	} {
		settings[limited+"_overflow_mode"] = "throw"
	}
	settings["read_overflow_mode_leaf"], settings["timeout_overflow_mode_leaf"] = "throw", "throw"
	return settings
}

// A timeless context hides its deadline, although it ends then. The driver makes of it the
// setting max_execution_time, which a user with readonly = 1 may not set (clickhouse-go issue 1748).
type timeless struct{ context.Context }

func (timeless) Deadline() (deadline time.Time, ok bool) { return deadline, false }

// read runs a SELECT with selectSettings and further ones. A user who may not change settings can read, too:
// ClickHouse refuses none that has the wanted value already (SettingsConstraints.cpp, getNewValueToCheck). Where one has
// another value there is an error, a *clickhouse.Exception.
func (c *Conn) read(ctx context.Context, further clickhouse.Settings, query string, args ...any) (driver.Rows, error) {
	settings := selectSettings()
	maps.Copy(settings, further)
	rows, err := c.Query(clickhouse.Context(timeless{ctx}, clickhouse.WithSettings(settings)), query, args...)
	return rows, explainRefused(err)
}

// readInBlocks is read with a bound on the rows of a block. For a user who may not set it the server's own applies.
func (c *Conn) readInBlocks(ctx context.Context, rows int, query string, args ...any) (driver.Rows, error) {
	if !c.fixedBlocks.Load() {
		answer, err := c.read(ctx, clickhouse.Settings{"max_block_size": rows}, query, args...)
		if !isSettingRefused(err) {
			return answer, err
		}
	}
	answer, err := c.read(ctx, nil, query, args...)
	if err == nil {
		c.fixedBlocks.Store(true)
	}
	return answer, err
}

// readColumns runs a SELECT by ch-go, with the settings of readInBlocks. It calls begin when it has a connection. No
// projection has the rows of a record, and to look for one costs the server half a millisecond.
func (c *Conn) readColumns(ctx context.Context, rows int, q ch.Query, begin func()) error {
	settings := selectSettings()
	if !c.fixedBlocks.Load() {
		settings["max_block_size"], settings["optimize_use_projections"] = rows, 0
		q.Settings = chSettings(settings)
		if err := c.natives.read(ctx, q, begin); !isSettingRefused(err) { // it is before any answer
			return err
		}
		delete(settings, "max_block_size")
		delete(settings, "optimize_use_projections")
	}
	q.Settings = chSettings(settings)
	err := c.natives.read(ctx, q, begin)
	if err == nil {
		c.fixedBlocks.Store(true)
	}
	return explainRefused(err)
}

// explainRefused adds to the refusal of a setting what it means; other errors, and nil, stay as they are.
func explainRefused(err error) error {
	if isSettingRefused(err) {
		return fmt.Errorf("the user may not change a setting that the answer depends on: %w", err)
	}
	return err
}

// isSettingRefused reports whether the server refused a setting: READONLY, SETTING_CONSTRAINT_VIOLATION.
func isSettingRefused(err error) bool {
	code := exceptionCode(err)
	return code == 164 || code == 452
}

// eachRow runs a SELECT and calls row for each row of the answer. It stops at the first error.
func (c *Conn) eachRow(ctx context.Context, query string, args []any, row func(driver.Rows) error) error {
	return c.eachRowSetting(ctx, nil, query, args, row)
}

// eachRowSetting is eachRow with settings beside those of every SELECT.
func (c *Conn) eachRowSetting(ctx context.Context, further clickhouse.Settings, query string, args []any, row func(driver.Rows) error) error {
	rows, err := c.read(ctx, further, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// oneRow runs a SELECT that answers with one row, and scans it into dest. The error is sql.ErrNoRows where it has none.
func (c *Conn) oneRow(ctx context.Context, further clickhouse.Settings, query string, args []any, dest ...any) error {
	found := false
	err := c.eachRowSetting(ctx, further, query, args, func(rows driver.Rows) error {
		found = true
		return rows.Scan(dest...)
	})
	if err == nil && !found {
		err = sql.ErrNoRows
	}
	return err
}
