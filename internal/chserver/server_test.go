//go:build linux && amd64

package chserver

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"
)

func TestServesBothProtocolsAndStopsCleanly(t *testing.T) {
	requireEngine(t)
	s, err := Start(t.Context(), Config{CloseTimeout: 30 * time.Second, HTTPPort: -1})
	require.NoError(t, err)

	options, err := clickhouse.ParseDSN(s.DSN())
	require.NoError(t, err)
	conn, err := clickhouse.Open(options)
	require.NoError(t, err)
	var sum uint64
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT sum(number) FROM numbers(10)").Scan(&sum))
	require.EqualValues(t, 45, sum)
	require.NoError(t, conn.Close())
	require.Equal(t, "45", query(t, s, "SELECT sum(number) FROM numbers(10)"))

	require.True(t, processExists(s.Pid()))
	require.NoError(t, s.Close())
	<-s.Exited()
	require.False(t, processExists(s.Pid()))
	require.NoDirExists(t, s.Dir(), "the temporary folder is removed")
	require.NoError(t, s.Close(), "a second Close does nothing")
}

func TestKillAndRestartKeepsDataAndAddresses(t *testing.T) {
	s := startServer(t, Config{})
	query(t, s, "CREATE DATABASE md")
	query(t, s, "CREATE TABLE md.t (n UInt64) ENGINE = MergeTree ORDER BY n SETTINGS fsync_after_insert = 1")
	query(t, s, "INSERT INTO md.t SELECT number FROM numbers(1000)")

	s.Crash()
	<-s.Exited()
	require.False(t, processExists(s.Pid()))
	require.NoError(t, s.Close(), "Close after Crash")

	again := startServer(t, s.Config())
	require.Equal(t, s.Addr(), again.Addr())
	require.Equal(t, s.HTTPAddr(), again.HTTPAddr())
	require.Equal(t, "1000", query(t, again, "SELECT count() FROM md.t"))
}

func TestRestartWithSystemLogs(t *testing.T) {
	config := Config{Dir: t.TempDir(), Settings: map[string]string{"query_log": ""}, Grants: []string{"SYSTEM FLUSH LOGS ON *.*"}}
	for range 2 {
		s := startServer(t, config)
		query(t, s, "SYSTEM FLUSH LOGS")
		require.NotEqual(t, "0", query(t, s, "SELECT count() FROM system.query_log"))
		require.NoError(t, s.Close())
	}
}

func TestTwoServersSideBySide(t *testing.T) {
	a, b := startServer(t, Config{}), startServer(t, Config{})
	require.NotEqual(t, a.Addr(), b.Addr())
	query(t, a, "CREATE DATABASE only_a")
	require.Equal(t, "1", query(t, a, "SELECT count() FROM system.databases WHERE name = 'only_a'"))
	require.Equal(t, "0", query(t, b, "SELECT count() FROM system.databases WHERE name = 'only_a'"))

	a.Crash()
	require.Equal(t, "1", query(t, b, "SELECT 1"))
}

func TestServerThatEndsByItself(t *testing.T) {
	requireEngine(t)
	s, err := Start(t.Context(), Config{Dir: t.TempDir()})
	require.NoError(t, err)
	process, err := os.FindProcess(s.Pid())
	require.NoError(t, err)
	require.NoError(t, process.Kill())
	<-s.Exited()
	var exit *ExitError
	require.ErrorAs(t, s.Close(), &exit)
	require.Equal(t, s.Dir(), exit.Dir)
	require.ErrorContains(t, exit, "signal: killed")
}

func TestTieredPolicy(t *testing.T) {
	s := startServer(t, Config{})
	require.Equal(t, "default\t['default']\ncold\t['cold']", query(t, s,
		"SELECT volume_name, disks FROM system.storage_policies WHERE policy_name = '"+TieredPolicy+"' ORDER BY volume_priority"))

	query(t, s, "CREATE DATABASE md")
	query(t, s, "CREATE TABLE md.t (n UInt64) ENGINE = MergeTree ORDER BY n")
	query(t, s, "INSERT INTO md.t VALUES (1)")
	query(t, s, "ALTER TABLE md.t MODIFY SETTING storage_policy = '"+TieredPolicy+"'")
	query(t, s, "ALTER TABLE md.t MOVE PARTITION tuple() TO VOLUME 'cold'")
	require.Equal(t, "cold", query(t, s, "SELECT disk_name FROM system.parts WHERE table = 't' AND active"))
	entries, err := os.ReadDir(filepath.Join(s.Dir(), "cold"))
	require.NoError(t, err)
	require.NotEmpty(t, entries)
}

func TestConfigReachesTheServer(t *testing.T) {
	s := startServer(t, Config{
		MemoryBytes: 1 << 30,
		Timezone:    "Asia/Tokyo",
		MergeTree:   map[string]string{"merge_with_ttl_timeout": "1"},
		Settings:    map[string]string{"max_table_size_to_drop": "12345"},
		Sections:    "<macros><shard>one</shard></macros>",
	})
	require.Equal(t, "one", query(t, s, "SELECT getMacro('shard')"))
	require.Equal(t, "Asia/Tokyo", query(t, s, "SELECT serverTimezone()"))
	require.Equal(t, "1", query(t, s, "SELECT value FROM system.merge_tree_settings WHERE name = 'merge_with_ttl_timeout'"))
	require.Equal(t, "1073741824\n12345\n2", query(t, s,
		"SELECT value FROM system.server_settings WHERE name IN ('max_server_memory_usage', 'max_table_size_to_drop', 'background_pool_size') ORDER BY length(value) DESC"))
	_, port, err := net.SplitHostPort(s.Addr())
	require.NoError(t, err)
	require.Equal(t, port, query(t, s, "SELECT getServerPort('tcp_port')"))
}
