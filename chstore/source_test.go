package chstore_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

// A server that comes back without its cold disk has lost rows. Neither a Store from before nor a new one that
// verifies the position stores them again; once the disk is back, Writes succeed.
func TestColdDiskIsMissing(t *testing.T) {
	short.Skip(t)
	server := chtest.Start(t, chtest.Config())
	db := chtest.OpenAt(t, server)
	cfg := chstore.Config{Database: db.Name, Attempts: 10, RetryMin: time.Millisecond,
		Tiers: chstore.Tiers{Policy: chserver.TieredPolicy, After: chstore.TTL{Trades: 24 * time.Hour}}}
	s, err := chstore.New(connect(t, db), cfg)
	require.NoError(t, err)
	require.NoError(t, s.Migrate(t.Context()))
	recs := withOrigins(trades(20, time.Second), "S", 1) // old: written to the cold disk at once
	require.NoError(t, s.Write(t.Context(), recs[:15]))
	usage, err := s.Usage(t.Context())
	require.NoError(t, err)
	require.Equal(t, "cold", usage[0].Volume)

	dir := server.Config().Dir
	cold, away := filepath.Join(dir, "cold"), filepath.Join(dir, "away")
	restart := func(swap func()) {
		t.Helper()
		server.Crash()
		require.Error(t, s.Write(t.Context(), recs[15:16]), "after an INSERT that failed the Store asks what is there")
		swap()
		server = chtest.Start(t, server.Config())
		t.Cleanup(func() { db.Conn.Close() }) // before the server closes, which waits for its clients
	}
	restart(func() { require.NoError(t, os.Rename(cold, away)) })
	err = s.Write(t.Context(), recs)
	var lost *chstore.WatermarkError
	require.ErrorAs(t, err, &lost)
	require.ErrorIs(t, err, chstore.ErrWatermarkRegressed)
	require.Equal(t, chstore.WatermarkError{Table: "trades", Partition: 202601, Source: "S", Had: 15}, *lost)
	require.False(t, chstore.Retryable(err))
	require.Equal(t, chstore.Reason("regressed"), chstore.ReasonOf(err))
	require.Zero(t, rows(t, db))
	second, err := chstore.New(connect(t, db), cfg)
	require.NoError(t, err)
	require.ErrorIs(t, second.VerifyWatermark(t.Context(), "S", 15), chstore.ErrWatermarkRegressed)

	restart(func() {
		require.NoError(t, os.RemoveAll(cold))
		require.NoError(t, os.Rename(away, cold))
	})
	require.NoError(t, second.VerifyWatermark(t.Context(), "S", 15))
	require.NoError(t, s.Write(t.Context(), recs))
	require.EqualValues(t, len(recs), rows(t, db))
	requireSame(t, recs, readAll(t, s, recs))
}

// The row of the highest sequence need not be the newest: if it has expired, no row is lost.
func TestExpiredRowsAreNoLoss(t *testing.T) {
	short.Skip(t)
	server := chtest.Start(t, chtest.Config())
	db := chtest.OpenAt(t, server)
	s, err := chstore.New(connect(t, db), chstore.Config{
		Database: db.Name, Attempts: 10, RetryMin: time.Millisecond, Partition: chstore.Month, TTL: chstore.TTL{Trades: time.Hour},
	})
	require.NoError(t, err)
	require.NoError(t, s.Migrate(t.Context()))
	recs := withOrigins(trades(3, time.Second), "S", 1)
	for i, age := range []time.Duration{0, 2 * time.Hour, 0} {
		at := time.Now().UTC().Add(-age)
		recs[i].EventTime, recs[i].ReceivedAt = at, at
	}
	require.NoError(t, s.Write(t.Context(), recs[:2]))
	require.NoError(t, db.Conn.Exec(t.Context(), "OPTIMIZE TABLE trades FINAL"))
	require.EqualValues(t, 1, rows(t, db), "the second has expired")

	server.Crash()
	require.Error(t, s.Write(t.Context(), recs[2:]), "after an INSERT that failed the Store asks what is there")
	chtest.Start(t, server.Config())
	t.Cleanup(func() { db.Conn.Close() })
	require.NoError(t, s.Write(t.Context(), recs[2:]))
	require.EqualValues(t, 2, rows(t, db))
}

func TestWatermark(t *testing.T) {
	s, _ := openStore(t, chstore.Config{TablePrefix: "x_"})
	marks, err := s.Watermark(t.Context(), "S")
	require.NoError(t, err)
	require.Empty(t, marks)
	at := time.Date(2026, 1, 31, 23, 0, 0, 0, time.UTC)
	var recs []marketprism.Record
	for i := range 3 {
		at := at.Add(time.Duration(i) * time.Hour)
		recs = append(recs,
			marketprism.Record{Instrument: spot("A"), EventTime: at, Trade: &marketprism.Trade{ID: int64(i), TradeTime: at}},
			marketprism.Record{Instrument: spot("A"), EventTime: at, Update: &orderbook.Update{FirstID: int64(i), LastID: int64(i)}})
	}
	require.NoError(t, s.Write(t.Context(), withOrigins(recs, "S", 11)))
	require.NoError(t, s.Write(t.Context(), withOrigins(recs, "other", 100)))
	marks, err = s.Watermark(t.Context(), "S")
	require.NoError(t, err)
	require.Equal(t, []chstore.Watermark{
		{Table: "depth_events", Partition: 20260131, Sequence: 12, Rows: 1},
		{Table: "depth_events", Partition: 20260201, Sequence: 16, Rows: 2},
		{Table: "trades", Partition: 202601, Sequence: 11, Rows: 1},
		{Table: "trades", Partition: 202602, Sequence: 15, Rows: 2},
	}, marks)
}
