package chstore_test

import (
	"slices"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/sink/sinktest"
)

func TestConfig(t *testing.T) {
	conn := connect(t, chtest.Open(t))
	for want, cfg := range map[string]chstore.Config{
		"unknown Partition 9":     {Partition: 9},
		"BlockBytes -1":           {BlockBytes: -1},
		"RetryMin -1ns":           {RetryMin: -1},
		"RetryMin 1m0s":           {RetryMin: time.Minute, RetryMax: time.Second},
		"TTL of trades is 1ms":    {TTL: chstore.TTL{Trades: time.Millisecond}},
		"TTL of tickers is -1h0m": {TTL: chstore.TTL{Tickers: -time.Hour}},
	} {
		_, err := chstore.New(conn, cfg)
		require.ErrorContains(t, err, want)
	}
	_, err := chstore.New(nil, chstore.Config{})
	require.ErrorContains(t, err, "no connection")
}

func named(name string, value any) any { return clickhouse.Named(name, value) }

// The server has the engine, sort key, codecs and indexes of Config; records read back
// the same, and a merge drops duplicates.
func TestLayouts(t *testing.T) {
	short.Skip(t)
	db := chtest.Open(t)
	cfg := everything()
	cfg.Database, cfg.TTL, cfg.Tiers.After = db.Name, chstore.TTL{}, chstore.TTL{} // the records are old
	s, err := chstore.New(connect(t, db), cfg)
	require.NoError(t, err)
	require.NoError(t, s.Migrate(t.Context()))
	plan, err := s.Plan(t.Context())
	require.NoError(t, err)
	require.Empty(t, plan, "the server writes codecs and settings in another way than they were given")

	recs := sinktest.Records(1, 200)
	require.NoError(t, s.Write(t.Context(), recs))
	require.NoError(t, s.Write(t.Context(), append(recs[50:100:100], recs[:20]...)))
	requireSame(t, recs, readAll(t, s, recs))
	for _, table := range recordTables() {
		require.NoError(t, db.Conn.Exec(t.Context(), "OPTIMIZE TABLE p_"+table+" FINAL"))
	}
	requireSame(t, recs, readAll(t, s, recs))
	var total uint64
	for _, table := range recordTables() {
		var n uint64
		require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT count() FROM p_"+table).Scan(&n))
		total += n
	}
	require.EqualValues(t, len(recs), total)

	// Codecs and indexes of existing tables change by ALTER; those that Config leaves out stay.
	cfg.Layouts.Depth.Codecs["first_id"] = "Delta, ZSTD(1)"
	cfg.Layouts.Tickers.Indexes = []chstore.Index{{Name: "by_update", Column: "update_id", Type: "minmax"}}
	cfg.Layouts.Trades.Indexes = nil
	s, err = chstore.New(connect(t, db), cfg)
	require.NoError(t, err)
	plan, err = s.Plan(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{
		"ALTER TABLE `" + db.Name + "`.`p_depth_events` MODIFY COLUMN `first_id` CODEC(Delta, ZSTD(1))",
		"ALTER TABLE `" + db.Name + "`.`p_tickers` ADD INDEX IF NOT EXISTS `by_update` `update_id` TYPE minmax GRANULARITY 1",
	}, plan)
	require.NoError(t, s.Migrate(t.Context()))
	plan, err = s.Plan(t.Context())
	require.NoError(t, err)
	require.Empty(t, plan)
	requireSame(t, recs, readAll(t, s, recs))
}

// Tables that no ALTER can make compatible are rejected with every difference.
func TestSchemaDiff(t *testing.T) {
	short.Skip(t)
	s, db := openStore(t, chstore.Config{TablePrefix: "p_"})
	require.NoError(t, db.Conn.Exec(t.Context(), "ALTER TABLE p_tickers MODIFY COLUMN ask_qty_e8 UInt64"))
	report, err := s.Check(t.Context(), chstore.CheckQuery{})
	require.NoError(t, err)
	require.Equal(t, []chstore.Finding{{
		Check: chstore.CheckSchema, Table: "tickers", Count: 1,
		Detail: "chstore: p_tickers has the type of ask_qty_e8 UInt64, want Int64",
	}}, report.Findings)

	s, db = openStore(t, chstore.Config{})
	for _, statement := range []string{
		"ALTER TABLE depth_events DROP COLUMN own_time",
		"ALTER TABLE tickers MODIFY COLUMN ask_qty_e8 UInt64",
		"DROP TABLE trades",
		"CREATE TABLE trades (id UInt64, exchange String, symbol String, price Float64, trade_time DateTime) ENGINE = ReplacingMergeTree PARTITION BY toYYYYMM(trade_time) ORDER BY (exchange, symbol, trade_time)",
	} {
		require.NoError(t, db.Conn.Exec(t.Context(), statement))
	}
	err = s.Migrate(t.Context())
	var diff *chstore.SchemaDiff
	require.ErrorAs(t, err, &diff)
	var one *chstore.SchemaError
	require.ErrorAs(t, err, &one)
	has := func(want chstore.SchemaError) {
		t.Helper()
		require.True(t, slices.ContainsFunc(diff.Differences, func(d *chstore.SchemaError) bool { return *d == want }), "%+v\n%v", want, err)
	}
	has(chstore.SchemaError{Table: "depth_events", What: "column", Want: "own_time Int64"})
	has(chstore.SchemaError{Table: "tickers", What: "type of ask_qty_e8", Want: "Int64", Got: "UInt64"})
	has(chstore.SchemaError{Table: "trades", What: "engine", Want: "MergeTree", Got: "ReplacingMergeTree"})
	has(chstore.SchemaError{Table: "trades", What: "partition key", Want: "toYYYYMM(ts)", Got: "toYYYYMM(trade_time)"})
	has(chstore.SchemaError{Table: "trades", What: "sort key", Want: "exchange, market, symbol, ts, aggregate, id", Got: "exchange, symbol, trade_time"})
	has(chstore.SchemaError{Table: "trades", What: "column price", Want: "Float64 ALIAS", Got: "Float64 "})
	has(chstore.SchemaError{Table: "trades", What: "type of id", Want: "Int64", Got: "UInt64"})
	has(chstore.SchemaError{Table: "trades", What: "column", Want: "market LowCardinality(String)"})

	other, err := chstore.New(connect(t, db), chstore.Config{Database: db.Name + "_none"})
	require.NoError(t, err)
	_, err = other.Plan(t.Context())
	require.NoError(t, err, "nothing is there to differ")
}

// Values that cannot be used in a statement are refused before anything is sent.
func TestConfigOfSchema(t *testing.T) {
	conn := connect(t, chtest.Open(t))
	trades := func(l chstore.Layout) chstore.Config { return chstore.Config{Layouts: chstore.Layouts{Trades: l}} }
	index := func(i chstore.Index) chstore.Config { return trades(chstore.Layout{Indexes: []chstore.Index{i}}) }
	for want, cfg := range map[string]chstore.Config{
		"unknown Engine 7":                      {Engine: 7},
		"OrderBy is empty":                      trades(chstore.Layout{OrderBy: []string{}}),
		`no column "price" is stored`:           trades(chstore.Layout{OrderBy: []string{"price"}}),
		`"ts" is there twice`:                   trades(chstore.Layout{OrderBy: []string{"ts", "id", "ts"}}),
		"`":                                     trades(chstore.Layout{OrderBy: []string{"ts`, (SELECT 1)"}}),
		`Codecs: no column "x" is stored`:       trades(chstore.Layout{Codecs: map[string]string{"x": "ZSTD"}}),
		`Codecs: "ZSTD(1)) TTL ts" of ts`:       trades(chstore.Layout{Codecs: map[string]string{"ts": "ZSTD(1)) TTL ts"}}),
		`Codecs: "" of id`:                      trades(chstore.Layout{Codecs: map[string]string{"id": ""}}),
		"IndexGranularity -1":                   trades(chstore.Layout{IndexGranularity: -1}),
		`Indexes: name "a b"`:                   index(chstore.Index{Name: "a b", Column: "id", Type: "minmax"}),
		"Indexes: column \"id`\" of a":          index(chstore.Index{Name: "a", Column: "id`", Type: "minmax"}),
		`Indexes: type "minmax GRANULARITY 1;"`: index(chstore.Index{Name: "a", Column: "id", Type: "minmax GRANULARITY 1;"}),
		"Indexes: Granularity -1 of a":          index(chstore.Index{Name: "a", Column: "id", Type: "minmax", Granularity: -1}),
		"Cluster without a Name":                {Cluster: chstore.Cluster{Unreplicated: true}},
		"Cluster.Name \"a`\"":                   {Cluster: chstore.Cluster{Name: "a`"}},
		`Cluster.Path "/x/'{table}"`:            {Cluster: chstore.Cluster{Name: "a", Path: "/x/'{table}"}},
		`Cluster.Path "/x/{shard}"`:             {Cluster: chstore.Cluster{Name: "a", Path: "/x/{shard}"}},
		`Cluster.Replica "{replica}'"`:          {Cluster: chstore.Cluster{Name: "a", Replica: "{replica}'"}},
		"Unreplicated with a Path or a Replica": {Cluster: chstore.Cluster{Name: "a", Unreplicated: true, Replica: "r"}},
	} {
		_, err := chstore.New(conn, cfg)
		require.ErrorContains(t, err, want)
	}
	twice := []chstore.Index{{Name: "a", Column: "id", Type: "minmax"}, {Name: "a", Column: "seq", Type: "minmax"}}
	_, err := chstore.New(conn, trades(chstore.Layout{Indexes: twice}))
	require.ErrorContains(t, err, "a is there twice")
	_, err = chstore.New(conn, chstore.Config{TTL: chstore.TTL{Trades: time.Hour}, Cluster: chstore.Cluster{Name: "a"}})
	require.NoError(t, err)
}
