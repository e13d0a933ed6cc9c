package chstore_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew")

// everything is a Config that says something about all that a schema can have.
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

// onCluster is the same on a cluster, without what one server alone is asked about first.
func onCluster(c chstore.Cluster) chstore.Config {
	cfg := everything()
	cfg.Tiers = chstore.Tiers{}
	cfg.Cluster = c
	return cfg
}

// The statements that Migrate runs on an empty server stand in files, and ClickHouse can read each of
// them. Those of a cluster are run, as far as this engine does, by TestDistributed and TestReplicatedTables.
func TestPlanGolden(t *testing.T) {
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
			file := filepath.Join("testdata", name+".sql")
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
			for _, statement := range plan {
				var formatted string
				require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT formatQuery({q:String})", named("q", statement)).Scan(&formatted), statement)
				rows, err := db.Conn.Query(t.Context(), "EXPLAIN AST "+statement)
				require.NoError(t, err, statement)
				require.True(t, rows.Next())
				require.NoError(t, rows.Close())
			}
		})
	}
}
