package command

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/examples/marketprism/engines"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/orderbook"
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
		"a negative number":        {[]string{"dlq", "redrive", "--max", "-1", "--nats", nowhereNATS}, ExitUsage, []string{"--max: ", `"-1"`}},
		"an unknown flag":          {[]string{"run", "--nonsense"}, ExitUsage, []string{"--nonsense", "marketprism help"}},
	} {
		t.Run(name, func(t *testing.T) { requireError(t, test.code, test.want, test.args...) })
	}
}

// requireError runs a command and wants its exit code and words on standard error.
func requireError(t *testing.T, wantCode int, want []string, args ...string) {
	t.Helper()
	t.Setenv("MARKETPRISM_ALLOW_ROOT", "true") // the tests may run as root
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

// A port in use is found before a folder is made and a server started.
func TestBusyPortIsFoundFirst(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	folder := filepath.Join(t.TempDir(), "new")
	for _, setting := range []string{"--page-listen", "--health-listen", "--clickhouse-listen"} {
		requireError(t, ExitFailed, []string{setting + " " + taken.Addr().String() + ": address already in use (give another address; port 0 is a free one)"},
			"run", "--data", folder, setting, taken.Addr().String())
		require.NoDirExists(t, folder)
	}
	require.NoError(t, taken.Close())
	requireError(t, ExitFailed, []string{"--page-listen " + taken.Addr().String() + ": address already in use"},
		"run", "--data", folder, "--page-listen", taken.Addr().String(), "--health-listen", taken.Addr().String())
	require.NoDirExists(t, folder)
}

// The folder of a run that has not ended is refused at once.
func TestFolderInUse(t *testing.T) {
	folder := t.TempDir()
	bus, err := engines.EmbedBus(t.Context(), folder, nil)
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(folder, "clickhouse"), 0o700))
	for _, command := range []string{"run", "check", "migrate"} {
		requireError(t, ExitFailed, []string{"marketprism: --data " + folder + ": a run uses this folder now; end it first, or give another folder\n"}, command, "--data", folder)
	}
	require.NoError(t, bus.Close())
	require.False(t, engines.InUse(folder))
}

// Outside of the archive book-at says what is there, and a replay ends with a summary. A symbol may be in any case.
func TestArchiveOfOneBook(t *testing.T) {
	db := chtest.Open(t)
	archive, err := engines.OpenArchive(t.Context(), db.DSN(), engines.Embedded{}, chstore.Config{Database: db.Name})
	require.NoError(t, err)
	defer archive.Close()
	require.NoError(t, archive.Store.Migrate(t.Context()))
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	inst := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "BTCUSDT"}
	level := []orderbook.Level{{Price: 1e8, Quantity: 2e8}}
	require.NoError(t, archive.Store.Write(t.Context(), []marketprism.Record{
		{Instrument: inst, EventTime: at, ReceivedAt: at, Snapshot: &orderbook.Snapshot{LastID: 1, Bids: level}},
		{Instrument: inst, EventTime: at.Add(time.Second), ReceivedAt: at.Add(time.Second), Update: &orderbook.Update{FirstID: 2, LastID: 2, Bids: level}},
		{Instrument: inst, ReceivedAt: at.Add(8 * time.Second), Gap: &orderbook.Gap{Reason: orderbook.GapDisconnect, After: 2}}, // the end of the run
	}))
	for when, want := range map[string][3]string{
		"2026-01-31T11:59:59Z": {"1", "", "marketprism: the archive has no book of binance:spot:BTCUSDT at 2026-01-31T11:59:59Z; it has books from 2026-01-31T12:00:00Z to 2026-01-31T12:00:01Z\n"},
		"2026-01-31T12:00:00Z": {"0", "binance:spot:BTCUSDT at 2026-01-31T12:00:00Z: update id 1, 1 bids, 0 asks\n", ""},
		"2026-01-31T12:00:05Z": {"0", "binance:spot:BTCUSDT at 2026-01-31T12:00:05Z: update id 2, 1 bids, 0 asks\n",
			"the archive of binance:spot:BTCUSDT ends at 2026-01-31T12:00:01Z, 4s before; this is its last book\n"},
		"2026-01-31T12:00:09Z": {"1", "", "marketprism: the archive has no book of binance:spot:BTCUSDT at 2026-01-31T12:00:09Z; it has books from 2026-01-31T12:00:00Z to 2026-01-31T12:00:01Z\n"},
	} {
		out, errOut := tempFile(t), tempFile(t)
		code := Main(t.Context(), []string{"book-at", "btcUsdt", "--at", when, "--clickhouse", db.DSN(), "--database", db.Name}, out, errOut)
		text, err := os.ReadFile(out.Name())
		require.NoError(t, err)
		first, _, _ := strings.Cut(string(text), "bid ")
		errText, err := os.ReadFile(errOut.Name())
		require.NoError(t, err)
		require.Equal(t, want, [3]string{strconv.Itoa(code), first, string(errText)})
	}
	for args, want := range map[string]string{
		"":                         `^3 records from 2026-01-31T12:00:00Z to 2026-01-31T12:00:08Z in [0-9.]+s: 0 of 1 books equal, 1 with nothing to compare; 0 gaps, 1 at the end; 0 tickers, 0 compared, 0 equal\n$`,
		"--kinds trade":            `^no records\n$`,
		"--kinds depth":            `^1 records from \S+ to \S+ in [0-9.]+s: no books\n$`,
		"--kinds depth,gap --json": `^\{"records":2,"first":"2026-01-31T12:00:01Z","last":"2026-01-31T12:00:08Z","seconds":[0-9.]+,"books":0,"booksEqual":0,.*\}\n$`,
	} {
		out, errOut := tempFile(t), tempFile(t)
		line := append([]string{"replay", "btcusdt", "--clickhouse", db.DSN(), "--database", db.Name}, strings.Fields(args)...)
		require.Equal(t, ExitOK, Main(t.Context(), line, out, errOut))
		text, err := os.ReadFile(errOut.Name())
		require.NoError(t, err)
		require.Regexp(t, want, string(text))
	}
	requireError(t, ExitFailed, []string{"marketprism: the archive has no book of binance:spot:FOOUSDT\n"}, "book-at", "foousdt", "--at", "now", "--clickhouse", db.DSN(), "--database", db.Name)
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
