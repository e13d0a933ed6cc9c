package chstore_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// Each of two shards holds the records that were written to it, and reads of both return all. When one is down, the
// other stores new records, and reads fail instead of returning a part.
func TestDistributed(t *testing.T) {
	short.Skip(t)
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

// The statements that create replicated tables run, and the replicas find each other in ZooKeeper
// under the names that Cluster gives them. More cannot be tested: the engine of the tests has no port for other
// servers, so a replicated table stays read-only (code 242) and accepts no ALTER.
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
		conn, err := clickhouse.Open(&clickhouse.Options{Addr: []string{server.addr}, Auth: clickhouse.Auth{Username: chserver.User, Password: clusterPassword}})
		require.NoError(t, err)
		defer conn.Close()
		plan, err := s.Plan(t.Context())
		require.NoError(t, err)
		made := 0
		for _, statement := range plan {
			err := conn.Exec(t.Context(), here(statement))
			var exception *clickhouse.Exception
			if strings.HasPrefix(statement, "ALTER") && isReplicated(statement) {
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

// isReplicated reports whether an ALTER is of a replicated table, and not of a view or a table over all servers.
func isReplicated(statement string) bool {
	name := strings.SplitN(statement, "`", 5)[3]
	return strings.Contains(name, "local_") || strings.HasSuffix(name, "_stored") || strings.HasSuffix(name, "_migrations") || strings.HasSuffix(name, "leases")
}

// onMain follows the name in a statement for all servers of the cluster of startServers.
const onMain = " ON CLUSTER `main`"

// clusterPassword is what the servers of a cluster give each other.
const clusterPassword = "cluster"

// A clusterServer is a server of a cluster, behind a relay with a fixed address.
//
// The engine of the tests refuses ON CLUSTER (code 392, "Replicated DDL queries are disabled"), so the
// relay blanks it: a statement runs on this one server, and a test that migrates every server has the effect of
// ON CLUSTER. Everything else, also between servers, passes unchanged.
type clusterServer struct {
	*chserver.Server
	addr   string // of the relay
	target atomic.Value
	open   sync.Map // the relay's connections to the server
}

// startServers starts the servers of the cluster "main". The shards are lists of replicas by their
// numbers, as in {{0, 1}} for one shard of two; sections returns the additional configuration of a server.
func startServers(t *testing.T, shards [][]int, sections func(server int) string) []*clusterServer {
	t.Helper()
	chtest.Require(t)
	var servers []*clusterServer
	remote := "<remote_servers><main>"
	for _, shard := range shards {
		remote += "<shard><internal_replication>true</internal_replication>"
		for range shard {
			s := new(clusterServer)
			s.relay(t)
			servers = append(servers, s)
			host, port, err := net.SplitHostPort(s.addr)
			require.NoError(t, err)
			remote += fmt.Sprintf("<replica><host>%s</host><port>%s</port><user>%s</user><password>%s</password></replica>",
				host, port, chserver.User, clusterPassword)
		}
		remote += "</shard>"
	}
	remote += "</main></remote_servers>"
	for i, s := range servers {
		config := chtest.Config()
		config.Sections, config.Password = remote+sections(i), clusterPassword
		s.start(t, config)
	}
	return servers
}

func (s *clusterServer) start(t *testing.T, config chserver.Config) {
	t.Helper()
	s.Server = chtest.Start(t, config)
	s.target.Store(s.Addr())
	// Servers keep connections to each other, and a closing server waits for their end.
	t.Cleanup(func() {
		s.open.Range(func(conn, _ any) bool {
			conn.(net.Conn).Close()
			return true
		})
	})
}

// relay listens until the end of the test.
func (s *clusterServer) relay(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	s.addr = listener.Addr().String()
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go s.carry(client)
		}
	}()
}

// carry returns when either side closes.
func (s *clusterServer) carry(client net.Conn) {
	defer client.Close()
	target, _ := s.target.Load().(string)
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	s.open.Store(server, nil)
	defer s.open.Delete(server)
	defer server.Close()
	go func() {
		_, _ = io.Copy(client, server) // an error ends it, too
		client.Close()
	}()
	// The text of a statement follows its length, which blanks do not change. A client
	// sends a statement of this size at once; the server would refuse one that arrives in two pieces.
	blanks := bytes.Repeat([]byte(" "), len(onMain))
	buf := make([]byte, 1<<20)
	for {
		n, err := client.Read(buf)
		if _, werr := server.Write(bytes.ReplaceAll(buf[:n], []byte(onMain), blanks)); err != nil || werr != nil {
			return
		}
	}
}

// store returns a Store that connects to this server only.
func (s *clusterServer) store(t *testing.T, cfg chstore.Config) (*chstore.Store, *chstore.Conn) {
	t.Helper()
	conn, err := chstore.Dial(t.Context(), "clickhouse://"+chserver.User+":"+clusterPassword+"@"+s.addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	store, err := chstore.New(conn, cfg)
	require.NoError(t, err)
	return store, conn
}

// here returns a statement for one server.
func here(statement string) string { return strings.ReplaceAll(statement, onMain, "") }

// zookeeperJar is the server in Debian's package libzookeeper-java; it lists the libraries it needs.
const zookeeperJar = "/usr/share/java/zookeeper.jar"

// startZooKeeper starts a ZooKeeper for the test and returns its address. The test is skipped where
// ZooKeeper is not installed: no other test needs it.
func startZooKeeper(t *testing.T) string {
	t.Helper()
	java, err := exec.LookPath("java")
	if err == nil {
		_, err = os.Stat(zookeeperJar)
	}
	if err != nil {
		t.Skipf("SKIPPED, this test needs ZooKeeper (apt-get install default-jre-headless libzookeeper-java): %v", err)
	}
	// ZooKeeper does not report a port that it chooses by itself.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := listener.Addr().(*net.TCPAddr)
	require.NoError(t, listener.Close())
	dir := t.TempDir()
	config := filepath.Join(dir, "zoo.cfg")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil,
		"tickTime=500\ndataDir=%s\nclientPortAddress=127.0.0.1\nclientPort=%d\nadmin.enableServer=false\n4lw.commands.whitelist=ruok\n",
		filepath.Join(dir, "data"), addr.Port), 0o644))
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(t, err)
	defer log.Close()
	cmd := exec.Command(java, "-Xmx128m", "-cp", zookeeperJar, "org.apache.zookeeper.server.ZooKeeperServerMain", config)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // an error means that it has ended
		_ = cmd.Wait()
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("ZooKeeper's log:\n%s", text)
		}
	})
	require.Eventually(t, func() bool { return isZooKeeper(addr.String()) }, time.Minute, 50*time.Millisecond)
	return addr.String()
}

func isZooKeeper(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(time.Second)) != nil {
		return false
	}
	if _, err := io.WriteString(conn, "ruok"); err != nil {
		return false
	}
	answer, err := io.ReadAll(conn)
	return err == nil && string(answer) == "imok"
}
