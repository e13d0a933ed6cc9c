package chstore

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// checkTables looks at the state of the tables themselves.
func (s *Store) checkTables(ctx context.Context, q CheckQuery, r *Report) error {
	if q.Overdue > 0 {
		for t := range tableCount {
			if ttl := t.ttl(s.cfg.TTL); ttl > 0 {
				if err := s.runCheck(ctx, s.overdue(t, ttl+q.Overdue), scope{}, r); err != nil {
					return err
				}
			}
		}
	}
	if q.Parts > 0 {
		r.Checks++
		if err := s.partsCheck(ctx, CheckParts, r, "SELECT substring(table, {skip:UInt64}), partition_id, count(), 'parts' FROM system.parts "+
			"WHERE database = {database:String} AND table IN {tables:Array(String)} AND active GROUP BY table, partition_id HAVING count() > {most:UInt64}",
			clickhouse.Named("most", uint64(q.Parts))); err != nil {
			return err
		}
	}
	r.Checks++
	err := s.partsCheck(ctx, CheckDetached, r, "SELECT substring(table, {skip:UInt64}), ifNull(partition_id, ''), count(), arrayStringConcat(arraySort(groupUniqArray(if(reason = '', 'by hand', reason))), ', ') "+
		"FROM system.detached_parts WHERE database = {database:String} AND table IN {tables:Array(String)} GROUP BY table, partition_id")
	if err != nil {
		return err
	}
	r.Checks++
	plan, err := s.Plan(ctx)
	var diff *SchemaDiff
	if errors.As(err, &diff) {
		for _, d := range diff.Differences {
			r.add(Finding{Check: CheckSchema, Table: strings.TrimPrefix(d.Table, s.localPrefix()), Count: 1, Detail: d.Error()})
		}
		return nil
	}
	if err != nil {
		return err
	}
	if len(plan) > 0 {
		r.add(Finding{Check: CheckSchema, Count: uint64(len(plan)), Detail: "first of what Migrate would run: " + firstLine(plan[0])})
	}
	return nil
}

// overdue finds rows that should be gone.
func (s *Store) overdue(t table, after time.Duration) sqlCheck {
	return sqlCheck{name: CheckOverdue, table: t.name(), text: `
SELECT '', '', '', count(), toUnixTimestamp64Nano(min(ts)), 'rows that have expired'
FROM ` + s.tableName(t.name()) + ` WHERE ts < now64(9, 'UTC') - toIntervalSecond({after:Int64})
HAVING count() > 0`, args: []any{named("after", int64(after/time.Second))}}
}

// partsCheck runs a query for table, partition, count and detail.
func (s *Store) partsCheck(ctx context.Context, name CheckName, r *Report, text string, args ...any) error {
	rows, err := s.conn.Query(ctx, text, append(args, s.tableArgs()...)...)
	if err != nil {
		return checkError(string(name), ctx, err)
	}
	defer rows.Close()
	for rows.Next() {
		f := Finding{Check: name}
		if err := rows.Scan(&f.Table, &f.Partition, &f.Count, &f.Detail); err != nil {
			return checkError(string(name), ctx, err)
		}
		r.add(f)
	}
	if err := rows.Err(); err != nil {
		return checkError(string(name), ctx, err)
	}
	return nil
}
