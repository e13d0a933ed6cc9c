package command

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/examples/marketprism/engines"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
)

// The most common errors name their subject and what to do next, and no passwords.
func TestErrorsSayWhatToDo(t *testing.T) {
	t.Setenv("CLICKHOUSE_DSN", "")
	folder := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(folder, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	wrongKey, wrongValue := file("key.yaml", "drain: 1s\n\nwindow: 1\n"), file("value.yaml", "drain: soon\n")
	missing := filepath.Join(folder, "missing.yaml")
	const nowhereNATS, nowhereStore = "nats://someone:hidden@127.0.0.1:1", "clickhouse://someone:hidden@127.0.0.1:1"

	for name, test := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"no NATS there":            {[]string{"collect", "--nats", nowhereNATS}, ExitFailed, []string{"127.0.0.1:1", "is the address right, and a server running there"}},
		"no NATS there, a command": {[]string{"dlq", "list", "--nats", nowhereNATS}, ExitFailed, []string{"127.0.0.1:1", "is the address right, and a server running there"}},
		"no NATS given":            {[]string{"status"}, ExitUsage, []string{"give --nats nats://HOST:4222"}},
		"no ClickHouse there":      {[]string{"check", "--clickhouse", nowhereStore}, ExitFailed, []string{"127.0.0.1:1", "start one there, or give the address of another"}},
		"no ClickHouse given":      {[]string{"check"}, ExitUsage, []string{"give --clickhouse HOST:9000, or --data FOLDER"}},
		"an unknown setting":       {[]string{"run", "--config", wrongKey}, ExitUsage, []string{wrongKey + ":3: ", `"window"`, "config print lists them all"}},
		"a wrong value":            {[]string{"run", "--config", wrongValue}, ExitUsage, []string{wrongValue + ":1: drain: ", `"soon"`}},
		"no file":                  {[]string{"run", "--config", missing}, ExitUsage, []string{missing, "config print > FILE"}},
		"a negative number":        {[]string{"dlq", "redrive", "--max", "-1", "--nats", nowhereNATS}, ExitUsage, []string{"--max -1"}},
		"an unknown flag":          {[]string{"run", "--nonsense"}, ExitUsage, []string{"--nonsense", "marketprism help"}},
	} {
		t.Run(name, func(t *testing.T) { requireError(t, test.code, test.want, test.args...) })
	}
}

// requireError runs a command and wants its exit code and words on standard error.
func requireError(t *testing.T, wantCode int, want []string, args ...string) {
	t.Helper()
	errOut := tempFile(t)
	code := Main(t.Context(), args, tempFile(t), errOut)
	text, err := os.ReadFile(errOut.Name())
	require.NoError(t, err)
	require.Equal(t, wantCode, code, "%s", text)
	for _, words := range want {
		require.Contains(t, string(text), words)
	}
	require.NotContains(t, string(text), "hidden")
}

// The error of a port in use names its setting.
func TestBusyPort(t *testing.T) {
	db := chtest.Open(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for _, setting := range []string{"--page-listen", "--health-listen"} {
		requireError(t, ExitFailed, []string{setting + " " + taken.Addr().String(), "address already in use", "port 0 is a free one"},
			"run", "--for", "1s", "--clickhouse", db.DSN(), "--database", db.Name, setting, taken.Addr().String())
	}
}

// A database of a newer version is left alone.
func TestNewerSchema(t *testing.T) {
	db := chtest.Open(t)
	archive, err := engines.OpenArchive(t.Context(), db.DSN(), engines.Embedded{}, chstore.Config{Database: db.Name})
	require.NoError(t, err)
	require.NoError(t, archive.Store.Migrate(t.Context()))
	require.NoError(t, archive.Close())
	require.NoError(t, db.Conn.Exec(t.Context(), "INSERT INTO schema_migrations SELECT 99, 'future', '', now64(3), 0"))
	for _, command := range []string{"run", "migrate"} {
		requireError(t, ExitFailed, []string{"migration 99 future", "newer version", "use that version, or another database"},
			command, "--clickhouse", db.DSN(), "--database", db.Name)
	}
}
