package chtest

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/internal/chserver"
	"github.com/marketprism/marketprism/internal/short"
)

func TestMain(m *testing.M) { Main(m) }

func TestOpenGivesADatabaseOfItsOwn(t *testing.T) {
	var names []string
	for range 2 {
		t.Run("same/name", func(t *testing.T) {
			db := Open(t)
			var current string
			require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT currentDatabase()").Scan(&current))
			require.Equal(t, db.Name, current)
			require.NotContains(t, names, db.Name)
			names = append(names, db.Name)
			require.NoError(t, db.Conn.Exec(t.Context(), "CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n"))
		})
	}
	db := Open(t)
	var left uint64
	require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT count() FROM system.databases WHERE name IN (?)", names).Scan(&left))
	require.Zero(t, left, "dropped at the end of their tests")
}

// A database of a pool goes on without the rows, inserts' tokens and stopped merges of the test before, unless that has
// changed a definition.
func TestPool(t *testing.T) {
	var pool Pool
	const insert = "INSERT INTO t SETTINGS insert_deduplication_token = 'a' VALUES (1)"
	made := 0
	prepare := func(db *DB) {
		made++
		for _, statement := range []string{
			"CREATE TABLE versions (n UInt64) ENGINE = MergeTree ORDER BY n", "INSERT INTO versions VALUES (7)",
			"CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 100",
			"CREATE VIEW v AS SELECT n + 1 AS n FROM t",
		} {
			require.NoError(t, db.Conn.Exec(t.Context(), statement))
		}
	}
	use := func(change string) (name string) {
		t.Run("test", func(t *testing.T) {
			db := pool.Open(t, prepare)
			name = db.Name
			var parts, rows, versions uint64
			require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT count() FROM system.parts WHERE database = ? AND table = 't'", name).Scan(&parts))
			require.Zero(t, parts)
			require.NoError(t, db.Conn.Exec(t.Context(), insert))
			require.NoError(t, db.Conn.Exec(t.Context(), "INSERT INTO t VALUES (2)"))
			require.NoError(t, db.Conn.Exec(t.Context(), "OPTIMIZE TABLE t FINAL SETTINGS optimize_throw_if_noop = 1"))
			require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT (SELECT count() FROM v), (SELECT sum(n) FROM versions)").Scan(&rows, &versions))
			require.EqualValues(t, 2, rows)
			require.EqualValues(t, 7, versions)
			require.NoError(t, db.Conn.Exec(t.Context(), change))
		})
		return name
	}
	first := use("SYSTEM STOP MERGES t")
	require.Equal(t, first, use("ALTER TABLE t ADD COLUMN m UInt64"))
	second := use("INSERT INTO versions VALUES (7)")
	require.NotEqual(t, first, second)
	third := use("CREATE TABLE another (n UInt64) ENGINE = Memory")
	require.NotEqual(t, second, third)
	require.NotEqual(t, third, use("SELECT 1"))
	require.Equal(t, 4, made)
	var left uint64
	db := Open(t)
	require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT count() FROM system.databases WHERE name IN (?)", []string{first, second, third}).Scan(&left))
	require.Zero(t, left)
}

func TestOptionsAreACopy(t *testing.T) {
	db := Open(t)
	options := db.Options()
	require.Equal(t, db.Name, options.Auth.Database)
	require.Equal(t, []string{db.Addr}, options.Addr)
	options.Addr[0] = "nowhere:1"
	require.Equal(t, []string{db.Addr}, db.Options().Addr)
}

func TestOpenUsesTheDSN(t *testing.T) {
	server := Start(t, Config())
	t.Setenv(DSNEnv, server.DSN()+"/default?max_execution_time=77")
	db := Open(t)
	require.Equal(t, server.Addr(), db.Addr)
	var value string
	require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT getSetting('max_execution_time')::String").Scan(&value))
	require.Equal(t, "77", value)
}

func TestPrivateServerSurvivesAKill(t *testing.T) {
	server := Start(t, Config())
	db := OpenAt(t, server)
	require.NoError(t, db.Conn.Exec(t.Context(), "CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n SETTINGS fsync_after_insert = 1"))
	require.NoError(t, db.Conn.Exec(t.Context(), "INSERT INTO t VALUES (1)"))

	server.Crash()
	require.Error(t, db.Conn.Exec(t.Context(), "INSERT INTO t VALUES (2)"))
	Start(t, server.Config())

	var count uint64
	require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT count() FROM t").Scan(&count), "the same connection pool goes on")
	require.EqualValues(t, 1, count)
}

// Two tables, so that no state is one that passes by.
func TestTTLActsWithinSeconds(t *testing.T) {
	short.Skip(t)
	db := OpenAt(t, Start(t, Config()))
	for table, test := range map[string]struct{ ttl, want string }{
		"moved":   {"TO VOLUME 'cold'", "cold 1"},
		"deleted": {"DELETE", " 0"},
	} {
		require.NoError(t, db.Conn.Exec(t.Context(), "CREATE TABLE "+table+` (at DateTime) ENGINE = MergeTree ORDER BY at
			TTL at + INTERVAL 2 SECOND `+test.ttl+" SETTINGS storage_policy = '"+chserver.TieredPolicy+"'"))
		require.NoError(t, db.Conn.Exec(t.Context(), "INSERT INTO "+table+" VALUES (now())"))
		begin := time.Now()
		require.Eventually(t, func() bool {
			var disk string
			var rows uint64
			err := db.Conn.QueryRow(t.Context(), `SELECT any(disk_name), sum(rows) FROM system.parts
				WHERE database = ? AND table = ? AND active AND rows > 0`, db.Name, table).Scan(&disk, &rows)
			return err == nil && fmt.Sprint(disk, " ", rows) == test.want
		}, time.Minute, 50*time.Millisecond, "%s", table)
		t.Logf("%s after %v", table, time.Since(begin).Round(time.Millisecond))
	}
}

func TestDatabaseName(t *testing.T) {
	require.Regexp(t, `^testa_b_c_[a-z2-7]{10}$`, databaseName("TestA/b c"))
	require.NotEqual(t, databaseName("x"), databaseName("x"))
}

// TestNeedsClickHouse, run in a folder without an engine by a process of its own.
func TestWithoutEngine(t *testing.T) {
	for ci, want := range map[string]struct {
		message string
		fails   bool
	}{
		"":     {"--- SKIP: TestNeedsClickHouse", false},
		"true": {"--- FAIL: TestNeedsClickHouse", true},
	} {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestNeedsClickHouse$", "-test.v")
		cmd.Dir = t.TempDir()
		cmd.Env = append(os.Environ(), "CI="+ci, chserver.LibraryEnv+"=", DSNEnv+"=", "XDG_CACHE_HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		require.Contains(t, string(out), want.message)
		require.Contains(t, string(out), "make engine")
		require.Equal(t, want.fails, err != nil, "%v", err)
	}
}

func TestNeedsClickHouse(t *testing.T) {
	require.NoError(t, Open(t).Conn.Ping(t.Context()))
}
