package chstore_test

import (
	"context"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/sink/sinktest"
)

func TestMigrateTwice(t *testing.T) {
	short.Skip(t)
	s, db := openStore(t, chstore.Config{})
	recs := sinktest.Records(1, 20)
	require.NoError(t, s.Write(t.Context(), recs))
	require.NoError(t, s.Migrate(t.Context()))
	requireSame(t, recs, readAll(t, s, recs))
	var count, versions uint64
	require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT count(), max(version) FROM schema_migrations FINAL").Scan(&count, new(uint32)))
	require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT count() FROM schema_migrations").Scan(&versions))
	files, err := filepath.Glob("schema/[0-9]*.sql")
	require.NoError(t, err)
	require.EqualValues(t, len(files), count)
	require.Equal(t, count, versions, "the second run applied nothing")
}

// The tables that version 19 made, also where it did not come to its end, become those of a new database.
func TestMigrateOlderTables(t *testing.T) {
	short.Skip(t)
	file, err := os.ReadFile("testdata/version_19.sql")
	require.NoError(t, err)
	statements := strings.Split(strings.TrimSuffix(string(file), ";\n"), ";\n\n")
	schema := func(db *chtest.DB) (tables, columns map[string]string) {
		return schemaOf(t, db, "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase()"),
			schemaOf(t, db, "SELECT concat(table, '.', name), concat(type, ' ', default_kind, ' ', default_expression) FROM system.columns WHERE database = currentDatabase()")
	}
	_, made := openStore(t, chstore.Config{})
	wantTables, wantColumns := schema(made)
	recs := sinktest.Records(1, 50)
	for _, until := range []string{ // the beginning of the first statement that was not run
		"",
		"ALTER TABLE `golden`.`trades` ADD INDEX",
		"CREATE OR REPLACE VIEW `golden`.`bars_1m`",
		"ALTER TABLE `golden`.`bars_1m_stored` DELETE",
	} {
		db := chtest.Open(t)
		for i, statement := range statements {
			if until != "" && strings.HasPrefix(statement, until) {
				break
			}
			require.NoError(t, db.Conn.Exec(t.Context(), strings.NewReplacer("`golden`", "`"+db.Name+"`", "'golden'", "'"+db.Name+"'").Replace(statement)))
			if i > 0 {
				require.NoError(t, db.Conn.Exec(t.Context(), "INSERT INTO schema_migrations SELECT least(19, ?), 'as it was', 'of that text', now64(3), 1", i))
			}
		}
		s := storeIn(t, db, chstore.Config{})
		require.NoError(t, s.Migrate(t.Context()))
		plan, err := s.Plan(t.Context())
		require.NoError(t, err)
		require.Empty(t, plan)
		tables, columns := schema(db)
		require.Equal(t, wantColumns, columns)
		for name, want := range wantTables {
			if want = strings.ReplaceAll(want, made.Name, db.Name); until == "" || !strings.HasPrefix(want, "CREATE TABLE") {
				require.Equal(t, want, tables[name])
			}
		}
		require.NoError(t, s.Write(t.Context(), recs))
		requireSame(t, recs, readAll(t, s, recs))
	}
}

// schemaOf returns the texts that a query selects, by name.
func schemaOf(t *testing.T, db *chtest.DB, query string) map[string]string {
	t.Helper()
	texts := make(map[string]string)
	found, err := db.Conn.Query(t.Context(), query)
	require.NoError(t, err)
	defer found.Close()
	for found.Next() {
		var name, text string
		require.NoError(t, found.Scan(&name, &text))
		texts[name] = text
	}
	require.NoError(t, found.Err())
	return texts
}

// The columns that a view declares have the types of those that it selects: it would convert each row otherwise.
func TestViewsDeclareTheirTypes(t *testing.T) {
	_, db := openStore(t, chstore.Config{})
	for name, query := range schemaOf(t, db, "SELECT name, as_select FROM system.tables WHERE database = currentDatabase() AND engine = 'View' AND name != 'book_at'") {
		declared := schemaOf(t, db, "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = '"+name+"'")
		require.Equal(t, declared, schemaOf(t, db, "DESCRIBE TABLE ("+query+") SETTINGS describe_compact_output = 1"), name)
	}
}

func TestMigrateAtOnce(t *testing.T) {
	short.Skip(t)
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

// A missing database is created, and two archives with different prefixes share one.
func TestMigrateNames(t *testing.T) {
	short.Skip(t)
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

// Whatever somebody has dropped is made again, with the TTL, codecs and indexes of Config, and nothing else is done.
func TestMigrateMakesDroppedTablesAgain(t *testing.T) {
	short.Skip(t)
	db := chtest.Open(t)
	cfg := everything()
	cfg.Database, cfg.TTL, cfg.Tiers.After = db.Name, chstore.TTL{Tickers: 70 * 365 * 24 * time.Hour}, chstore.TTL{}
	s, err := chstore.New(connect(t, db), cfg)
	require.NoError(t, err)
	require.NoError(t, s.Migrate(t.Context()))
	schema := func() map[string]string {
		return schemaOf(t, db, "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase() AND name NOT LIKE '%schema_migrations'")
	}
	want := schema()
	require.Contains(t, want, "p_trades")
	require.Contains(t, want, "p_bars_1m")
	require.Contains(t, want, "p_leases")
	recs := sinktest.Records(1, 50)
	drop := func(names ...string) {
		t.Helper()
		for _, name := range names {
			require.NoError(t, db.Conn.Exec(t.Context(), "DROP TABLE "+name+" SYNC SETTINGS check_table_dependencies = 0, check_referential_table_dependencies = 0"))
		}
		plan, err := s.Plan(t.Context())
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(plan), len(names))
		require.NoError(t, s.Migrate(t.Context()))
		require.Equal(t, want, schema(), names)
		plan, err = s.Plan(t.Context())
		require.NoError(t, err)
		require.Empty(t, plan, names)
		fresh, err := chstore.New(connect(t, db), cfg) // s knows that it has stored the records
		require.NoError(t, err)
		require.NoError(t, fresh.Write(t.Context(), recs), names)
	}
	drop("p_trades")
	drop("p_bars_1m_stored", "p_spreads_1m")
	drop("p_bars_1m_refresh", "p_leases", "p_depth_events")
	drop(slices.Collect(maps.Keys(want))...)
	requireSame(t, recs, readAll(t, s, recs))

	require.NoError(t, db.Conn.Exec(t.Context(), "ALTER TABLE p_trades DROP INDEX trade_time_range"))
	report, err := s.Check(t.Context(), chstore.CheckQuery{SkipBooks: true})
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(report.Findings, func(f chstore.Finding) bool { return f.Check == chstore.CheckSchema }), "%s", report.String())
	require.NoError(t, s.Migrate(t.Context()))
	plan, err := s.Plan(t.Context())
	require.NoError(t, err)
	require.Empty(t, plan)
	require.Contains(t, schema()["p_trades"], "INDEX trade_time_range ")
}

// A table that is detached, not dropped, is not replaced by an empty one.
func TestMigrateRefusesADetachedTable(t *testing.T) {
	short.Skip(t)
	s, db := openStore(t, chstore.Config{})
	recs := trades(5, time.Second)
	require.NoError(t, s.Write(t.Context(), recs))
	for _, permanently := range []string{"", " PERMANENTLY"} {
		require.NoError(t, db.Conn.Exec(t.Context(), "DETACH TABLE trades"+permanently))
		var refused *chstore.SchemaError
		require.ErrorAs(t, s.Migrate(t.Context()), &refused, permanently)
		require.Equal(t, chstore.SchemaError{Table: "trades", What: "state", Want: "attached", Got: "detached"}, *refused)
		require.NoError(t, db.Conn.Exec(t.Context(), "ATTACH TABLE trades"))
		require.NoError(t, s.Migrate(t.Context()))
	}
	requireSame(t, recs, readAll(t, s, recs))
}

func TestMigrateRefuses(t *testing.T) {
	s, db := openStore(t, chstore.Config{})
	require.NoError(t, db.Conn.Exec(t.Context(),
		"INSERT INTO schema_migrations SELECT 22, 'trades', 'another', now64(3) + INTERVAL 1 SECOND, 0"))
	var bad *chstore.MigrationError
	err := s.Migrate(t.Context())
	require.ErrorAs(t, err, &bad)
	require.ErrorIs(t, err, chstore.ErrChangedMigration)
	require.Equal(t, 22, bad.Version)

	require.NoError(t, db.Conn.Exec(t.Context(), "INSERT INTO schema_migrations SELECT 99, 'future', '', now64(3), 0"))
	err = s.Migrate(t.Context())
	require.ErrorAs(t, err, &bad)
	require.ErrorIs(t, err, chstore.ErrNewerSchema)
	require.Equal(t, 99, bad.Version)
}

// A Store does not write into tables that are partitioned in another way, or that do not exist.
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

// ClickHouse has no ALTER that changes a skip index: it is dropped and added. One that is as wanted stays,
// however the server writes it.
func TestMigrateChangesAnIndex(t *testing.T) {
	short.Skip(t)
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

// Plan returns what Migrate does, without tables and after every change of Config.
func TestPlan(t *testing.T) {
	short.Skip(t)
	db := chtest.Open(t)
	open := func(cfg chstore.Config) *chstore.Store {
		cfg.Database = db.Name
		s, err := chstore.New(connect(t, db), cfg)
		require.NoError(t, err)
		return s
	}
	recs := tradesAt(time.Now().UTC(), 1, 10)
	for i, test := range []struct {
		cfg  chstore.Config
		want []string // beginnings
	}{
		{chstore.Config{}, nil},
		{chstore.Config{}, []string{}},
		{chstore.Config{TTL: chstore.TTL{Trades: 48 * time.Hour}}, []string{"ALTER TABLE `" + db.Name + "`.`trades` MODIFY TTL toDateTime(least(toUnixTimestamp64Second(ts) + 172800, 4294967295))"}},
		{chstore.Config{TTL: chstore.TTL{Trades: 72 * time.Hour}}, []string{"ALTER TABLE `" + db.Name + "`.`trades` MODIFY TTL toDateTime(least(toUnixTimestamp64Second(ts) + 259200, 4294967295))"}},
		{chstore.Config{}, []string{"ALTER TABLE `" + db.Name + "`.`trades` REMOVE TTL"}},
	} {
		s := open(test.cfg)
		plan, err := s.Plan(t.Context())
		require.NoError(t, err)
		if i == 0 {
			require.True(t, strings.HasPrefix(plan[0], "CREATE TABLE IF NOT EXISTS `"+db.Name+"`.`schema_migrations`"))
			var tables uint64
			require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT count() FROM system.tables WHERE database = ?", db.Name).Scan(&tables))
			require.Zero(t, tables, "a plan runs nothing")
		} else {
			require.Equal(t, test.want, append([]string{}, plan...))
		}
		require.NoError(t, s.Migrate(t.Context()))
		again, err := s.Plan(t.Context())
		require.NoError(t, err)
		require.Empty(t, again)
		if i == 0 {
			require.NoError(t, s.Write(t.Context(), recs))
		}
		requireSame(t, recs, readAll(t, s, recs))
	}

	// A setting that was changed by hand.
	require.NoError(t, db.Conn.Exec(t.Context(), "ALTER TABLE tickers MODIFY SETTING fsync_after_insert = 0"))
	s := open(chstore.Config{})
	plan, err := s.Plan(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"ALTER TABLE `" + db.Name + "`.`tickers` MODIFY SETTING fsync_after_insert = 1"}, plan)
	require.NoError(t, s.Migrate(t.Context()))
	plan, err = s.Plan(t.Context())
	require.NoError(t, err)
	require.Empty(t, plan)

	made := db.Name + "_made"
	s, err = chstore.New(connect(t, db), chstore.Config{Database: made})
	require.NoError(t, err)
	plan, err = s.Plan(t.Context())
	require.NoError(t, err)
	require.Equal(t, "CREATE DATABASE IF NOT EXISTS `"+made+"`", plan[0])
}

var update = flag.Bool("update", false, "write the golden files of testdata again")

// everything returns a Config that sets everything that a schema can have.
func everything() chstore.Config {
	day := 24 * time.Hour
	return chstore.Config{
		TablePrefix: "p_",
		Partition:   chstore.Week,
		Engine:      chstore.ReplacingMergeTree,
		TTL:         chstore.TTL{Depth: 30 * day, Snapshots: 90 * day, Trades: 365 * day, Tickers: 30 * day, Gaps: 365 * day},
		Tiers: chstore.Tiers{
			Policy: chserver.TieredPolicy, After: chstore.TTL{Depth: day, Trades: 7 * day},
		},
		Layouts: chstore.Layouts{
			Depth: chstore.Layout{Codecs: map[string]string{"bid_price_e8": "GCD, T64, ZSTD(3)", "first_id": "DoubleDelta, ZSTD"}},
			Trades: chstore.Layout{
				OrderBy: []string{"symbol", "market", "exchange", "trade_time", "id"}, IndexGranularity: 1024,
				Indexes: []chstore.Index{
					{Name: "by_id", Column: "id", Type: "minmax"},
					{Name: "by_price", Column: "price", Type: "bloom_filter(0.01)", Granularity: 4},
					{Name: "by_source", Column: "src", Type: "set(100)", Granularity: 2},
				},
			},
			Snapshots: chstore.Layout{IndexGranularity: 128},
		},
	}
}

// onCluster returns the same on a cluster, without Tiers, which Plan checks on the server.
func onCluster(c chstore.Cluster) chstore.Config {
	cfg := everything()
	cfg.Tiers = chstore.Tiers{}
	cfg.Cluster = c
	return cfg
}

// usualMacros replaces the path and the replica of plan_macros by the default ones.
var usualMacros = strings.NewReplacer(
	"'/ch/{installation}/{shard}/{database}/{table}', '{host}-{replica}'", "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'",
	"'/ch/{installation}/all/{database}/{table}', '{shard}-{host}-{replica}'", "'/clickhouse/tables/all/{database}/{table}', '{shard}-{replica}'",
)

// The statements that Migrate runs on an empty server are in files, and ClickHouse can parse each of
// them. Those of a cluster are run, as far as this engine can, by TestDistributed and TestReplicatedTables. With other
// macros the statements of replicated tables differ in those macros only.
func TestPlanGolden(t *testing.T) {
	short.Skip(t)
	db := chtest.Open(t)
	for name, cfg := range map[string]chstore.Config{
		"plan_default":     {},
		"plan_everything":  everything(),
		"plan_replicated":  onCluster(chstore.Cluster{Name: "main"}),
		"plan_distributed": onCluster(chstore.Cluster{Name: "main", Unreplicated: true}),
		"plan_macros":      onCluster(chstore.Cluster{Name: "main", Path: "/ch/{installation}/{shard}/{database}/{table}", Replica: "{host}-{replica}"}),
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Database = "golden"
			s, err := chstore.New(connect(t, db), cfg)
			require.NoError(t, err)
			plan, err := s.Plan(t.Context())
			require.NoError(t, err)
			got := strings.Join(plan, ";\n\n") + ";\n"
			golden := name
			if name == "plan_macros" {
				golden = "plan_replicated"
				got = usualMacros.Replace(got)
			}
			file := filepath.Join("testdata", golden+".sql")
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
			for _, statement := range plan {
				var formatted string
				require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT formatQuery({q:String})", named("q", statement)).Scan(&formatted), statement)
				if strings.Contains(statement, "p_book_at") || strings.Contains(statement, "`book_at`") {
					continue // EXPLAIN wants the parameters of the view
				}
				rows, err := db.Conn.Query(t.Context(), "EXPLAIN AST "+statement)
				require.NoError(t, err, statement)
				require.True(t, rows.Next())
				require.NoError(t, rows.Close())
			}
		})
	}
}

// A merge takes many of a live feed's small parts, and does not write a larger one again for a few of them.
func TestMergesAreWide(t *testing.T) {
	short.Skip(t)
	s, db := openStore(t, chstore.Config{})
	recs := withOrigins(trades(24, time.Second), "MD", 1)
	for i := range recs {
		require.NoError(t, s.Write(t.Context(), recs[i:i+1]))
	}
	var level, widest, narrowest uint64
	require.Eventually(t, func() bool {
		err := db.Conn.QueryRow(t.Context(), `SELECT max(toUInt64(level)), max(toUInt64(max_block_number - min_block_number + 1)),
			minIf(toUInt64(max_block_number - min_block_number + 1), level > 0)
			FROM system.parts WHERE database = ? AND table = 'trades' AND active`, db.Name).Scan(&level, &widest, &narrowest)
		require.NoError(t, err)
		return level > 0
	}, time.Minute, 10*time.Millisecond)
	require.EqualValues(t, 1, level, "a part of %d INSERTs was merged again", widest)
	require.Greater(t, narrowest, uint64(8))
}

// Tables that an older version made, with other marks and with a sort key that leaves out how deep a snapshot is, go on
// being used, unless Config asks for another layout.
func TestTablesOfAnOlderVersion(t *testing.T) {
	short.Skip(t)
	db := chtest.Open(t)
	old := chstore.Config{Database: db.Name, Engine: chstore.ReplacingMergeTree}
	old.Layouts.Depth.IndexGranularity, old.Layouts.Snapshots.IndexGranularity = 8192, 256
	open := func(cfg chstore.Config) *chstore.Store {
		s, err := chstore.New(connect(t, db), cfg)
		require.NoError(t, err)
		return s
	}
	require.NoError(t, open(old).Migrate(t.Context()))
	var text string
	require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = 'book_snapshots'").Scan(&text))
	plain := strings.ReplaceAll(text, ", length(bid_price_e8), length(ask_price_e8)", "")
	require.NotEqual(t, text, plain)
	require.NoError(t, db.Conn.Exec(t.Context(), "DROP TABLE book_snapshots SYNC"))
	require.NoError(t, db.Conn.Exec(t.Context(), plain))

	s := open(chstore.Config{Database: db.Name, Engine: chstore.ReplacingMergeTree})
	require.NoError(t, s.Migrate(t.Context()))
	plan, err := s.Plan(t.Context())
	require.NoError(t, err)
	require.Empty(t, plan)
	require.NoError(t, s.Write(t.Context(), []marketprism.Record{snapshotOf(100, 1), updateOf(101, 101, 2)}))
	book, err := s.BookAt(t.Context(), spot("BOOK"), secondsOf(3))
	require.NoError(t, err)
	require.EqualValues(t, 101, book.LastID())

	old.Layouts.Depth.IndexGranularity = 1024
	require.ErrorAs(t, open(old).Migrate(t.Context()), new(*chstore.SchemaDiff))
}
