package chstore_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
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

// lastExpiry is the last time of ClickHouse's DateTime.
var lastExpiry = time.Date(2106, 2, 7, 6, 28, 15, 0, time.UTC)

// An age that ends after the last time at which ClickHouse can drop or move rows is refused.
func TestConfigOfAges(t *testing.T) {
	conn := connect(t, chtest.Open(t))
	const year = 365 * 24 * time.Hour
	left := time.Until(lastExpiry)
	for _, age := range []time.Duration{100 * year, 290 * year, math.MaxInt64, left + time.Minute} {
		for what, cfg := range map[string]chstore.Config{
			"TTL of trades":          {TTL: chstore.TTL{Trades: age}},
			"TTL of gaps":            {TTL: chstore.TTL{Gaps: age}},
			"Tiers.After of tickers": {Tiers: chstore.Tiers{Policy: "p", After: chstore.TTL{Tickers: age}}},
		} {
			_, err := chstore.New(conn, cfg)
			require.ErrorContains(t, err, what+" is "+age.String())
			require.ErrorContains(t, err, "2106-02-07 06:28:15")
		}
	}
	_, err := chstore.New(conn, chstore.Config{TTL: chstore.TTL{Depth: left - 25*time.Hour}})
	require.NoError(t, err)
}

// No Config that is accepted loses a row before its time: whatever is written is read back after all merges, and a row that
// has not lived as long as its TTL is not dropped, however far in the future its time is. A Config may also be refused.
func TestConfigLosesNoRow(t *testing.T) {
	short.Skip(t)
	const seeds = 8
	stored, refused := 0, 0
	for seed := range uint64(seeds) {
		rng := rand.New(rand.NewPCG(seed, 12))
		db := chtest.Open(t)
		cfg := drawConfig(rng)
		cfg.Database = db.Name
		s, err := chstore.New(connect(t, db), cfg)
		if err == nil {
			err = s.Migrate(t.Context())
		}
		if err != nil {
			t.Logf("seed %d: %v", seed, err)
			refused++
			continue
		}
		stored++
		recs := drawRecords(rng, cfg.TTL)
		require.NoError(t, s.Write(t.Context(), recs), "seed %d: %+v", seed, cfg)
		for _, table := range recordTables() {
			require.NoError(t, db.Conn.Exec(t.Context(), "OPTIMIZE TABLE "+cfg.TablePrefix+table+" FINAL"))
		}
		t.Logf("seed %d: %+v", seed, cfg)
		requireSame(t, recs, readAll(t, s, recs))
	}
	require.Greater(t, stored, refused)
}

// drawAge returns an age for a TTL, of which some pass the last one.
func drawAge(rng *rand.Rand) time.Duration {
	left := time.Until(lastExpiry)
	switch rng.IntN(6) {
	case 0, 1:
		return 0
	case 2:
		return time.Duration(rng.Int64N(int64(left)))
	case 3:
		return left - 24*time.Hour - time.Duration(rng.Int64N(int64(time.Hour)))
	case 4:
		return 90*time.Second + time.Duration(rng.Int64N(int64(time.Hour)))
	}
	return 24*time.Hour + time.Duration(rng.Int64N(int64(left)+int64(left)/20))
}

func drawAges(rng *rand.Rand) chstore.TTL {
	return chstore.TTL{Depth: drawAge(rng), Snapshots: drawAge(rng), Trades: drawAge(rng), Tickers: drawAge(rng), Gaps: drawAge(rng)}
}

// drawConfig returns any Config.
func drawConfig(rng *rand.Rand) chstore.Config {
	one := func(of ...string) string { return of[rng.IntN(len(of))] }
	layout := func() (l chstore.Layout) {
		columns := []string{"exchange", "market", "symbol", "ts", "timed", "received_at", "src", "seq"}
		if rng.IntN(2) == 0 {
			rng.Shuffle(len(columns), func(i, j int) { columns[i], columns[j] = columns[j], columns[i] })
			l.OrderBy = columns[:1+rng.IntN(len(columns))]
		}
		if rng.IntN(2) == 0 {
			l.Codecs = map[string]string{
				one("ts", "received_at", "seq"): one("Delta, ZSTD(3)", "DoubleDelta", "GCD, T64", "T64('bit'), LZ4", "LZ4HC(12)", "ZSTD(22)", "NONE", "Delta(4), ZSTD", "Delta, Delta, LZ4"),
			}
			if rng.IntN(8) == 0 {
				l.Codecs["seq"] = one("Gorilla", "FPC(12)", "ALP", "ZSTD(99)")
			}
		}
		l.IndexGranularity = []int{0, 0, 1, 7, 1 << 20}[rng.IntN(5)]
		if rng.IntN(3) == 0 {
			l.Indexes = []chstore.Index{{Name: "by", Column: one("seq", "ts", "src"), Type: one("minmax", "set(10)", "bloom_filter"), Granularity: rng.IntN(3)}}
		}
		return l
	}
	cfg := chstore.Config{
		TablePrefix: one("", "p_"),
		Partition:   chstore.Partition(rng.IntN(5)),
		Engine:      chstore.Engine(rng.IntN(2)),
		Layouts:     chstore.Layouts{Depth: layout(), Snapshots: layout(), Trades: layout(), Tickers: layout(), Gaps: layout()},
		TTL:         drawAges(rng),
		BlockBytes:  []int{0, 1 << 10, 1 << 16}[rng.IntN(3)],
		Lease:       []time.Duration{0, 15 * time.Second}[rng.IntN(2)],
	}
	if rng.IntN(2) == 0 {
		cfg.Tiers = chstore.Tiers{Policy: chserver.TieredPolicy, After: drawAges(rng)}
		if rng.IntN(4) > 0 { // else it may be after the TTL
			cfg.Tiers.After = chstore.TTL{Depth: cfg.TTL.Depth / 2, Trades: cfg.TTL.Trades / 3}
		}
	}
	return cfg
}

// drawRecords returns records of all kinds that have not lived as long as their TTL: of any time from then on to the last
// that can be stored. Some differ from another one in a part of Record.Key alone.
func drawRecords(rng *rand.Rand, ttl chstore.TTL) []marketprism.Record {
	now := time.Now()
	at := func(age time.Duration) time.Time {
		oldest := time.Date(1971, 1, 2, 0, 0, 0, 0, time.UTC)
		if kept := now.Add(time.Minute - age); age != 0 && kept.After(oldest) {
			oldest = kept
		}
		newest := time.Unix(0, math.MaxInt64)
		if rng.IntN(2) == 0 {
			newest = now
		}
		return oldest.Add(time.Duration(rng.Int64N(int64(newest.Sub(oldest))))).UTC()
	}
	var recs []marketprism.Record
	for id := range int64(40) {
		r := marketprism.Record{Instrument: marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "AB"}}
		if rng.IntN(2) == 0 {
			r.Origin = marketprism.Origin{Source: "S", Sequence: uint64(len(recs) + 1)}
		}
		set := func(age time.Duration) {
			r.ReceivedAt = at(age)
			if rng.IntN(2) == 0 {
				r.EventTime = r.ReceivedAt
			}
		}
		levels := make([]orderbook.Level, rng.IntN(4))
		for i := range levels {
			levels[i] = orderbook.Level{Price: orderbook.Fixed(rng.Int64N(100)), Quantity: orderbook.Fixed(1 + rng.Int64N(100))}
		}
		switch id % 5 {
		case 0:
			set(ttl.Depth)
			r.Update = &orderbook.Update{FirstID: id, LastID: id + 5, Bids: levels}
		case 1:
			set(ttl.Snapshots)
			r.Snapshot = &orderbook.Snapshot{LastID: id, Bids: levels}
		case 2:
			set(ttl.Trades)
			r.Trade = &marketprism.Trade{ID: id, Price: 1, Quantity: 1, TradeTime: r.ReceivedAt}
		case 3:
			set(ttl.Tickers)
			r.Ticker = &marketprism.Ticker{UpdateID: id}
		case 4:
			set(ttl.Gaps)
			r.Gap = &orderbook.Gap{After: id, Reason: orderbook.GapSequence}
		}
		recs = append(recs, r)
		twin := r.Clone()
		if twin.Origin.Source != "" {
			twin.Origin.Sequence++
		}
		switch {
		case twin.Update != nil:
			twin.Update.FirstID++
		case twin.Snapshot != nil:
			twin.Snapshot.Asks = append(twin.Snapshot.Asks, orderbook.Level{Price: 200, Quantity: 1})
		case twin.Trade != nil:
			twin.Trade.Aggregate = true
		case twin.Gap != nil:
			twin.Gap.Reason = orderbook.GapDisconnect
		default:
			continue
		}
		recs = append(recs, twin)
	}
	return recs
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
