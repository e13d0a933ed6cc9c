package chstore_test

import (
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// reopen returns a Store on the same tables, opened with other options.
func reopen(t *testing.T, db *chtest.DB, options *clickhouse.Options) *chstore.Store {
	t.Helper()
	conn, err := chstore.NewConn(options)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	s, err := chstore.New(conn, chstore.Config{Database: db.Name})
	require.NoError(t, err)
	return s
}

// firstError returns the error with which a read of all records of an instrument ends; nil if it ends well.
func firstError(t *testing.T, s *chstore.Store, i marketprism.Instrument) error {
	for _, err := range s.Records(t.Context(), chstore.Query{Instrument: i}) {
		if err != nil {
			return err
		}
	}
	return nil
}

// A server that takes a query and then says nothing ends a read after ReadTimeout.
func TestReadEndsWhenTheServerIsSilent(t *testing.T) {
	short.Skip(t)
	s, db := openStore(t, chstore.Config{})
	recs := sinktest.Records(1, 20)
	require.NoError(t, s.Write(t.Context(), recs))
	p := startProxy(t, db.Addr)
	options := db.Options()
	options.Addr, options.ReadTimeout = []string{p.addr}, time.Second
	slow := reopen(t, db, options)
	require.Eventually(t, func() bool { return firstError(t, slow, recs[0].Instrument) == nil }, time.Minute, time.Millisecond)
	p.fail(1, true)
	err := firstError(t, slow, recs[0].Instrument)
	require.Equal(t, chstore.Reason("timeout"), chstore.ReasonOf(err), "%v", err)
	require.True(t, chstore.Retryable(err))
}

// No more reads run at a time than MaxOpenConns. One more waits for DialTimeout.
func TestReadsAreBounded(t *testing.T) {
	short.Skip(t)
	s, db := openStore(t, chstore.Config{})
	i := spot("BTCUSDT")
	recs := make([]marketprism.Record, 20_000) // more than are read ahead
	for n := range recs {
		recs[n] = marketprism.Record{Instrument: i, ReceivedAt: dayOf.Add(time.Duration(n)), Ticker: &marketprism.Ticker{UpdateID: int64(n)}}
	}
	require.NoError(t, s.Write(t.Context(), recs))
	options := db.Options()
	options.MaxOpenConns, options.DialTimeout = 1, time.Second
	narrow := reopen(t, db, options)
	q := chstore.Query{Instrument: i, Kinds: []marketprism.Kind{marketprism.KindTicker}}
	read := 0
	for _, err := range narrow.Records(t.Context(), q) {
		require.NoError(t, err)
		if read++; read == 1 {
			err := firstError(t, narrow, i)
			require.ErrorIs(t, err, clickhouse.ErrAcquireConnTimeout)
			require.True(t, chstore.Retryable(err))
		}
	}
	require.Equal(t, len(recs), read)
}

// A session that receives LowCardinality as String reads the same.
func TestReadTextsOfAnyType(t *testing.T) {
	s, db := openStore(t, chstore.Config{})
	recs := append(withOrigins(sinktest.Records(1, 200), "MD@2026-11-01", 1), marketprism.Record{
		Instrument: spot("BTCUSDT"), ReceivedAt: dayOf, Gap: &orderbook.Gap{After: 7, Reason: orderbook.GapStale, Err: orderbook.Cause("why")},
	})
	require.NoError(t, s.Write(t.Context(), recs))
	options := db.Options()
	options.Settings = clickhouse.Settings{"low_cardinality_allow_in_native_format": 0}
	requireSame(t, recs, readAll(t, reopen(t, db, options), recs))
}
