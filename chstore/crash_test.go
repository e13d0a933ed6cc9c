package chstore_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// storeAt returns a Store on a server of the test's own.
func storeAt(t *testing.T, server *chserver.Server, cfg chstore.Config) *chstore.Store {
	t.Helper()
	conn, err := chstore.Dial(t.Context(), server.Addr())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	s, err := chstore.New(conn, cfg)
	require.NoError(t, err)
	require.NoError(t, s.Migrate(t.Context()))
	return s
}

// ClickHouse logs the token of an INSERT before it puts the part in place. After a crash between the
// two it takes every retry with that token for a duplicate, of rows that are not there. Here that
// state is made by removing the part. Records with an Origin are stored all the same.
func TestWriteAfterLostPart(t *testing.T) {
	server := chtest.Start(t, chserver.Config{})
	recs := withOrigins(trades(10, time.Second), "S", 1)
	s := storeAt(t, server, chstore.Config{})
	require.NoError(t, s.Write(t.Context(), recs))
	requireSame(t, recs, readAll(t, s, recs))
	server.Crash()
	parts, err := filepath.Glob(filepath.Join(server.Config().Dir, "data", "store", "*", "*", "202601_*"))
	require.NoError(t, err)
	require.Len(t, parts, 1)
	require.NoError(t, os.RemoveAll(parts[0]))

	s = storeAt(t, chtest.Start(t, server.Config()), chstore.Config{})
	require.Empty(t, readAll(t, s, recs))
	require.NoError(t, s.Write(t.Context(), recs))
	requireSame(t, recs, readAll(t, s, recs))
}

// The server is killed at random moments of Writes and started again. What was confirmed is there,
// and everything is there once.
func TestWriteServerKilled(t *testing.T) {
	config := chtest.Config()
	server := chtest.Start(t, config)
	cfg := chstore.Config{Attempts: 1}
	s := storeAt(t, server, cfg)
	recs := withOrigins(sinktest.Records(1, 4_000), "S", 1)
	rng := rand.New(rand.NewPCG(1, 9))
	kills := 0
	for from := 0; from < len(recs); {
		batch := recs[from:min(from+100+rng.IntN(200), len(recs))]
		done := make(chan error, 1)
		go func() { done <- s.Write(t.Context(), batch) }()
		if kills < 4 && rng.IntN(2) == 0 {
			kill := time.NewTimer(time.Duration(rng.IntN(40_000)) * time.Microsecond)
			<-kill.C
			server.Crash()
			kills++
			<-done
			server = chtest.Start(t, server.Config())
			s = storeAt(t, server, cfg)
			continue // whatever the answer was, the batch comes again
		}
		require.NoError(t, <-done)
		from += len(batch)
	}
	require.Equal(t, 4, kills)
	requireSame(t, recs, readAll(t, s, recs))
	conn, err := clickhouse.Open(&clickhouse.Options{Addr: []string{server.Addr()}})
	require.NoError(t, err)
	defer conn.Close()
	var count uint64
	require.NoError(t, conn.QueryRow(context.Background(),
		"SELECT sum(total_rows) FROM system.tables WHERE database = 'marketprism' AND has({tables:Array(String)}, name)",
		named("tables", recordTables())).Scan(&count))
	require.EqualValues(t, len(recs), count)
}
