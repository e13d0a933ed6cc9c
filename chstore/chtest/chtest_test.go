package chtest_test

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/chstore/chtest"
	"github.com/marketprism/marketprism/orderbook"
)

// withoutMain makes the test program one that does not call Main.
const withoutMain = "CHTEST_WITHOUT_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(withoutMain) != "" {
		os.Exit(m.Run())
	}
	chtest.Main(m)
}

// A test of a program that archives trades.
func Example() {
	var t *testing.T // of the test

	db := chtest.Open(t)
	store, err := chstore.Open(t.Context(), db.DSN(), chstore.Config{Database: db.Name})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Write(t.Context(), []marketprism.Record{trade()}); err != nil {
		t.Fatal(err)
	}
}

func trade() marketprism.Record {
	now := time.Now()
	return marketprism.Record{
		Instrument: marketprism.Instrument{Exchange: "binance", Market: marketprism.Spot, Symbol: "BTCUSDT"},
		EventTime:  now, ReceivedAt: now,
		Trade: &marketprism.Trade{ID: 1, Price: 100_000 * orderbook.One, Quantity: orderbook.One, TradeTime: now},
	}
}

// Each test has a database of its own, which its DSN names.
func TestOpen(t *testing.T) {
	db, other := chtest.Open(t), chtest.Open(t)
	require.NotEqual(t, db.Name, other.Name)
	options, err := clickhouse.ParseDSN(db.DSN())
	require.NoError(t, err)
	conn, err := clickhouse.Open(options)
	require.NoError(t, err)
	defer conn.Close()
	var current string
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT currentDatabase()").Scan(&current))
	require.Equal(t, db.Name, current)
}

// What was stored before a crash is there after it, at the same address.
func TestCrash(t *testing.T) {
	server := chtest.Start(t)
	conn, err := chstore.Dial(t.Context(), server.DSN())
	require.NoError(t, err)
	defer conn.Close()
	store, err := chstore.New(conn, chstore.Config{})
	require.NoError(t, err)
	require.NoError(t, store.Migrate(t.Context()))
	require.NoError(t, store.Write(t.Context(), []marketprism.Record{trade()}))

	dsn := server.DSN()
	server.Crash()
	require.Error(t, conn.Ping(t.Context()))
	server.Restart(t)
	require.Equal(t, dsn, server.DSN())
	var n uint64
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count() FROM marketprism.trades").Scan(&n))
	require.EqualValues(t, 1, n)
}

// A test package that forgot its TestMain learns what to write, and at once.
func TestWithoutMain(t *testing.T) {
	chtest.Open(t) // or skip
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestOpen$")
	cmd.Env = append(os.Environ(), withoutMain+"=1")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "func TestMain(m *testing.M) { chtest.Main(m) }")
}
