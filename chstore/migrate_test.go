package chstore_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/sink/sinktest"
)

func TestMigrateTwice(t *testing.T) {
	s, db := openStore(t, chstore.Config{})
	recs := sinktest.Records(1, 20)
	require.NoError(t, s.Write(t.Context(), recs))
	require.NoError(t, s.Migrate(t.Context()))
	requireSame(t, recs, readAll(t, s, recs))
	var count, versions uint64
	require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT count(), max(version) FROM schema_migrations FINAL").Scan(&count, new(uint32)))
	require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT count() FROM schema_migrations").Scan(&versions))
	require.EqualValues(t, 12, count)
	require.Equal(t, count, versions, "the second run applied nothing")
}

func TestMigrateAtOnce(t *testing.T) {
	db := chtest.Open(t)
	var group errgroup.Group
	for range 4 {
		s, err := chstore.New(connect(t, db), chstore.Config{Database: db.Name})
		require.NoError(t, err)
		group.Go(func() error { return s.Migrate(t.Context()) })
	}
	require.NoError(t, group.Wait())
	s, err := chstore.New(connect(t, db), chstore.Config{Database: db.Name})
	require.NoError(t, err)
	recs := sinktest.Records(1, 20)
	require.NoError(t, s.Write(t.Context(), recs))
	requireSame(t, recs, readAll(t, s, recs))
}

// A database is made where there is none, and two archives share one by their prefixes.
func TestMigrateNames(t *testing.T) {
	db := chtest.Open(t)
	name := db.Name + "_made"
	t.Cleanup(func() { require.NoError(t, db.Conn.Exec(context.Background(), "DROP DATABASE IF EXISTS "+name)) })
	recs := sinktest.Records(1, 20)
	for i, prefix := range []string{"", "a_", "b_"} {
		s, err := chstore.New(connect(t, db), chstore.Config{Database: name, TablePrefix: prefix})
		require.NoError(t, err)
		require.NoError(t, s.Migrate(t.Context()))
		require.NoError(t, s.Write(t.Context(), recs[i:]))
		requireSame(t, recs[i:], readAll(t, s, recs))
	}
	for _, cfg := range []chstore.Config{{Database: "a`b"}, {Database: "1"}, {TablePrefix: "a.b"}, {TablePrefix: "é"}} {
		_, err := chstore.New(connect(t, db), cfg)
		require.ErrorContains(t, err, "want letters, digits and underscores")
	}
}

func TestMigrateRefuses(t *testing.T) {
	s, db := openStore(t, chstore.Config{})
	require.NoError(t, db.Conn.Exec(t.Context(),
		"INSERT INTO schema_migrations SELECT 3, 'trades', 'another', now64(3) + INTERVAL 1 SECOND, 0"))
	var bad *chstore.MigrationError
	err := s.Migrate(t.Context())
	require.ErrorAs(t, err, &bad)
	require.ErrorIs(t, err, chstore.ErrChangedMigration)
	require.Equal(t, 3, bad.Version)

	require.NoError(t, db.Conn.Exec(t.Context(), "INSERT INTO schema_migrations SELECT 99, 'future', '', now64(3), 0"))
	err = s.Migrate(t.Context())
	require.ErrorAs(t, err, &bad)
	require.ErrorIs(t, err, chstore.ErrNewerSchema)
	require.Equal(t, 99, bad.Version)
}

// A Store does not write into tables that are partitioned in another way, or not there.
func TestWriteChecksTables(t *testing.T) {
	_, db := openStore(t, chstore.Config{Partition: chstore.Day})
	recs := sinktest.Records(1, 20)
	for _, test := range []struct {
		cfg  chstore.Config
		want string
	}{
		{chstore.Config{Partition: chstore.Week}, "has the partition key toYYYYMMDD(ts), want (toISOYear(ts) * 100) + toISOWeek(ts)"},
		{chstore.Config{TablePrefix: "no_"}, "run Migrate"},
	} {
		test.cfg.Database = db.Name
		s, err := chstore.New(connect(t, db), test.cfg)
		require.NoError(t, err)
		err = s.Write(t.Context(), recs)
		var bad *chstore.SchemaError
		require.ErrorAs(t, err, &bad)
		require.ErrorContains(t, err, test.want)
		require.Zero(t, rows(t, db))
	}
}

// Rows expire by the time of the record.
func TestTTL(t *testing.T) {
	s, db := openStore(t, chstore.Config{TTL: chstore.TTL{Trades: 24 * time.Hour}})
	old := trades(3, time.Second)
	fresh := trades(5, time.Second)
	for i := range fresh {
		fresh[i].EventTime = time.Now()
		fresh[i].Trade.ID += 100
	}
	require.NoError(t, s.Write(t.Context(), slices.Concat(old, fresh)))
	require.NoError(t, db.Conn.Exec(t.Context(), "OPTIMIZE TABLE trades FINAL"))
	require.Len(t, readAll(t, s, fresh), len(fresh))
}

// ClickHouse has no ALTER that changes a skip index: it is dropped and added. One that is as wanted is left
// alone, however the server writes it.
func TestMigrateChangesAnIndex(t *testing.T) {
	db := chtest.Open(t)
	open := func(kind string, granularity int) *chstore.Store {
		s, err := chstore.New(connect(t, db), chstore.Config{Database: db.Name, Layouts: chstore.Layouts{Trades: chstore.Layout{
			Indexes: []chstore.Index{{Name: "by_id", Column: "id", Type: kind, Granularity: granularity}},
		}}})
		require.NoError(t, err)
		return s
	}
	for _, step := range []struct {
		kind        string
		granularity int
		statements  int
	}{{"minmax", 0, -1}, {"minmax", 1, 0}, {"bloom_filter", 1, 2}, {"bloom_filter(0.025)", 1, 0}, {"bloom_filter(0.01)", 1, 2}, {"set(100)", 1, 2}, {"set(100)", 4, 2}, {"set(100)", 4, 0}} {
		s := open(step.kind, step.granularity)
		plan, err := s.Plan(t.Context())
		require.NoError(t, err)
		if step.statements >= 0 {
			require.Len(t, plan, step.statements, "%+v: %q", step, plan)
		}
		require.NoError(t, s.Migrate(t.Context()))
		var kind string
		var granularity uint64
		require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT type_full, granularity FROM system.data_skipping_indices WHERE database = currentDatabase() AND name = 'by_id'").Scan(&kind, &granularity))
		require.EqualValues(t, max(step.granularity, 1), granularity)
		require.True(t, strings.HasPrefix(step.kind, kind) || strings.HasPrefix(kind, step.kind), "%s, want %s", kind, step.kind)
	}
}
