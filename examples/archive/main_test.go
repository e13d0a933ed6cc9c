package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/chstore/chtest"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/natstest"
	"github.com/marketprism/marketprism/sink/sinktest"
)

func TestMain(m *testing.M) { chtest.Main(m) }

// From the bus to ClickHouse: what was published before and what comes later is stored.
func TestArchive(t *testing.T) {
	db, server := chtest.Open(t), natstest.Start(t)
	bus, err := natsbus.Open(t.Context(), server.URL())
	require.NoError(t, err)
	defer bus.Close()
	recs := sinktest.Records(1, 40)
	require.NoError(t, bus.Write(t.Context(), recs[:20]))
	cfg := chstore.Config{Database: db.Name}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- archive(ctx, server.URL(), db.DSN(), cfg) }()

	store, err := chstore.Open(t.Context(), db.DSN(), cfg)
	require.NoError(t, err)
	defer store.Close()
	require.NoError(t, bus.Write(t.Context(), recs[20:]))
	require.Eventually(t, func() bool {
		rows := 0
		for _, table := range []string{"depth_events", "book_snapshots", "gaps", "trades", "tickers"} {
			var n uint64
			require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT count() FROM "+db.Name+"."+table).Scan(&n))
			rows += int(n)
		}
		return rows == len(recs)
	}, 30*time.Second, 20*time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
}
