package chstore_test

import (
	"net"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// Two shards hold what was written to each, and both show all of it. When one is gone, the other
// stores what comes and refuses to show a part for the whole.
func TestDistributed(t *testing.T) {
	servers := startServers(t, [][]int{{0}, {1}}, func(int) string { return "" })
	cfg := chstore.Config{Database: "md", Cluster: chstore.Cluster{Name: "main", Unreplicated: true}, Attempts: -1}
	var stores []*chstore.Store
	var conns []*chstore.Conn
	for _, server := range servers {
		s, conn := server.store(t, cfg)
		conns = append(conns, conn)
		require.NoError(t, s.Migrate(t.Context()))
		plan, err := s.Plan(t.Context())
		require.NoError(t, err)
		require.Empty(t, plan)
		stores = append(stores, s)
	}
	a, b := stores[0], stores[1]

	recs := sinktest.Records(1, 600)
	ofA, ofB, later := withOrigins(recs[:200], "A", 1), withOrigins(recs[200:400], "B", 1), withOrigins(recs[400:], "A", 201)
	require.NoError(t, a.Write(t.Context(), ofA))
	require.NoError(t, b.Write(t.Context(), ofB))
	require.NoError(t, a.Write(t.Context(), ofA), "a second time")
	for _, s := range stores {
		requireSame(t, append(ofA[:200:200], ofB...), readAll(t, s, recs))
	}
	require.EqualValues(t, 200, watermarkRows(t, a, "A"), "each once, on the server it was written to")
	require.EqualValues(t, 200, watermarkRows(t, b, "B"))
	require.Zero(t, watermarkRows(t, b, "A"))
	require.Equal(t, barTrades(t, conns[0]), barTrades(t, conns[1]), "views show all shards")

	servers[1].Crash()
	require.NoError(t, a.Write(t.Context(), later), "a stream that goes on needs no other server")
	for _, err := range a.Records(t.Context(), chstore.Query{Instrument: recs[0].Instrument}) {
		require.Error(t, err, "a part of the records, as if it were all")
		break
	}
	fresh := withOrigins(recs[:10], "C", 1)
	err := a.Write(t.Context(), fresh)
	require.ErrorContains(t, err, "fence", "nobody knows what the server that is gone still does")
	t.Logf("a new stream while a server is gone: %v", err)

	servers[1].start(t, servers[1].Config())
	requireSame(t, append(append(ofA[:200:200], ofB...), later...), readAll(t, a, recs))
	require.NoError(t, a.Write(t.Context(), fresh))
}

// barTrades counts the trades of the view bars_1m.
func barTrades(t *testing.T, conn *chstore.Conn) (n uint64) {
	t.Helper()
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT sum(trades) FROM md.bars_1m").Scan(&n))
	require.Positive(t, n)
	return n
}

func watermarkRows(t *testing.T, s *chstore.Store, source string) (n uint64) {
	t.Helper()
	marks, err := s.Watermark(t.Context(), source)
	require.NoError(t, err)
	for _, m := range marks {
		n += m.Rows
	}
	return n
}

// The statements that make replicated tables are run, and the replicas find each other in ZooKeeper
// under the names that Cluster gives them. There it ends: without a port for other servers, which the
// engine of the tests has not, a replicated table stays read-only (code 242) and takes no ALTER.
func TestReplicatedTables(t *testing.T) {
	chtest.Require(t)
	_, port, err := net.SplitHostPort(startZooKeeper(t))
	require.NoError(t, err)
	names := []string{"r1", "r2"}
	servers := startServers(t, [][]int{{0, 1}}, func(i int) string {
		return "<zookeeper><node><host>127.0.0.1</host><port>" + port + "</port></node></zookeeper>" +
			"<macros><shard>7</shard><replica>" + names[i] + "</replica></macros>"
	})
	cfg := onCluster(chstore.Cluster{Name: "main"})
	cfg.Database = "md"
	for i, server := range servers {
		s, _ := server.store(t, cfg)
		conn, err := clickhouse.Open(&clickhouse.Options{Addr: []string{server.addr}})
		require.NoError(t, err)
		defer conn.Close()
		plan, err := s.Plan(t.Context())
		require.NoError(t, err)
		made := 0
		for _, statement := range plan {
			err := conn.Exec(t.Context(), here(statement))
			var exception *clickhouse.Exception
			if len(statement) > 5 && statement[:5] == "ALTER" {
				require.ErrorAs(t, err, &exception, statement)
				require.EqualValues(t, 242, exception.Code, "%v", exception)
				continue
			}
			require.NoError(t, err, statement)
			made++
		}
		t.Logf("%s: %d of %d statements", names[i], made, len(plan))

		for table, want := range map[string][2]string{
			"p_local_trades":      {"/clickhouse/tables/7/md/p_local_trades", names[i]},
			"p_schema_migrations": {"/clickhouse/tables/all/md/p_schema_migrations", "7-" + names[i]},
			"p_leases":            {"/clickhouse/tables/all/md/p_leases", "7-" + names[i]},
		} {
			var got [2]string
			var replicas uint32
			require.NoError(t, conn.QueryRow(t.Context(),
				"SELECT zookeeper_path, replica_name, total_replicas FROM system.replicas WHERE database = 'md' AND table = {table:String}",
				named("table", table)).Scan(&got[0], &got[1], &replicas))
			require.Equal(t, want, got)
			require.EqualValues(t, i+1, replicas, table)
		}
	}
	s, _ := servers[0].store(t, cfg)
	recs := withOrigins(sinktest.Records(1, 20), "S", 1)
	require.Empty(t, readAll(t, s, recs))
	require.Zero(t, watermarkRows(t, s, "S"))
}
