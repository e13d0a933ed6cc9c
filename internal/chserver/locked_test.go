//go:build linux && amd64

package chserver

import (
	"crypto/sha256"
	"io"
	"net/http"
	"net/url"
	"os"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/internal/intruder"
)

// execAs runs statements with a user, and returns the first error.
func execAs(t *testing.T, s *Server, user, password string, statements ...string) error {
	t.Helper()
	conn, err := clickhouse.Open(&clickhouse.Options{Addr: []string{s.Addr()}, Auth: clickhouse.Auth{Username: user, Password: password}})
	require.NoError(t, err)
	defer conn.Close()
	for _, statement := range statements {
		if err := conn.Exec(t.Context(), statement); err != nil {
			return err
		}
	}
	return nil
}

// Another user of the host, and a web page, get nothing from a server, not even where it has a port for HTTP; and there
// is one only where it was asked for.
func TestIntruders(t *testing.T) {
	requireEngine(t)
	for _, httpPort := range []int{0, -1} {
		s, err := Start(t.Context(), Config{Dir: t.TempDir(), HTTPPort: httpPort})
		require.NoError(t, err)
		require.NoError(t, execAs(t, s, User, s.Config().Password, "CREATE DATABASE md", "CREATE TABLE md.t (n UInt64) ENGINE = MergeTree ORDER BY n",
			"INSERT INTO md.t SELECT number FROM numbers(9)"))
		require.Len(t, intruder.Listening(t, s.Pid()), 1-httpPort)
		intruder.Try(t, intruder.Targets{
			Pids: []int{s.Pid(), os.Getpid()}, Dirs: []string{s.Dir()}, Secrets: []string{s.Config().Password}, Output: s.Log(),
		})
		if httpPort != 0 { // the user of the start, without a password
			for _, statement := range []string{"SELECT 1", "SYSTEM STOP LISTEN TCP", "SELECT * FROM file('/etc/passwd', LineAsString)"} {
				res, err := http.Get("http://" + s.HTTPAddr() + "/?query=" + url.QueryEscape(statement))
				require.NoError(t, err)
				body, err := io.ReadAll(res.Body)
				require.NoError(t, err)
				res.Body.Close()
				require.NotEqual(t, http.StatusOK, res.StatusCode, "%s", body)
			}
			http.DefaultClient.CloseIdleConnections()
		}
		require.NoError(t, s.Close())
	}
}

// What a store never does is refused to its own user, too: a statement that slipped in reaches no file, address or process.
func TestNoWayOut(t *testing.T) {
	s := startServer(t, Config{})
	password := s.Config().Password
	require.NoError(t, execAs(t, s, User, password, "CREATE DATABASE md"))
	for _, statement := range []string{
		"SELECT * FROM file('/etc/passwd', LineAsString)", "SELECT * FROM `/etc/passwd`", "INSERT INTO FUNCTION file('/tmp/x', LineAsString) SELECT 'x'",
		"SELECT * FROM url('http://127.0.0.1:1/', LineAsString)", "SELECT * FROM remote('127.0.0.1:9000', system.one)", "SELECT * FROM s3('http://127.0.0.1:1/a', LineAsString)",
		"CREATE TABLE md.f (l String) ENGINE = File(LineAsString, '/etc/passwd')", "CREATE DATABASE f ENGINE = Filesystem('/etc')",
		"CREATE DICTIONARY md.d (a UInt64) PRIMARY KEY a SOURCE(FILE(path '/etc/passwd' format 'CSV')) LAYOUT(FLAT()) LIFETIME(0)",
		"CREATE FUNCTION f AS (x) -> x", "SELECT * FROM executable('id', LineAsString, 'x String')", "BACKUP DATABASE md TO File('/tmp/x')",
		"SYSTEM SHUTDOWN", "SYSTEM START LISTEN HTTP", "CREATE USER u", "GRANT FILE ON *.* TO " + User,
	} {
		require.Error(t, execAs(t, s, User, password, statement), statement)
	}
}

// A reader reads its database, and nothing else.
func TestReader(t *testing.T) {
	s := startServer(t, Config{Readers: []Reader{{Name: "analyst", Database: "md", PasswordSHA256: sha256.Sum256([]byte("pass"))}}})
	require.NoError(t, execAs(t, s, User, s.Config().Password, "CREATE DATABASE md", "CREATE DATABASE other", "CREATE TABLE md.t (n UInt64) ENGINE = Memory",
		"CREATE TABLE other.t (n UInt64) ENGINE = Memory"))
	require.NoError(t, execAs(t, s, "analyst", "pass", "SELECT * FROM md.t", "SHOW TABLES FROM md", "SELECT * FROM md.t SETTINGS max_threads = 1"))
	for _, statement := range []string{
		"SELECT * FROM other.t", "INSERT INTO md.t VALUES (1)", "DROP TABLE md.t", "CREATE TABLE md.u (n UInt64) ENGINE = Memory",
		"SELECT * FROM file('/etc/passwd', LineAsString)", "SELECT * FROM url('http://127.0.0.1:1/', LineAsString)", "KILL QUERY WHERE 1",
	} {
		require.Error(t, execAs(t, s, "analyst", "pass", statement), statement)
	}
	require.Error(t, execAs(t, s, "analyst", "", "SELECT 1"))
}
