package chstore_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// The first of two addresses goes away in the middle of an INSERT, at any byte of it: the second one takes over, and
// each record is stored once.
func TestAddressGoesAway(t *testing.T) {
	s, db := openStore(t, chstore.Config{})
	rng := rand.New(rand.NewPCG(7, 7))
	const rounds, each = 20, 1_000
	recs := trades(rounds*each, time.Second)
	for round := range rounds {
		first, second := startProxy(t, db.Addr), startProxy(t, db.Addr)
		options := db.Options()
		options.Addr = []string{first.addr, second.addr}
		options.Compression = &clickhouse.Compression{Method: clickhouse.CompressionNone} // bytes to fail in
		conn, err := chstore.Open(options)
		require.NoError(t, err)
		failed := 0
		through, err := chstore.New(conn, chstore.Config{Database: db.Name, RetryMin: time.Millisecond, Hooks: &chstore.Hooks{
			Failed: func(i chstore.FailInfo) {
				failed++
				require.Equal(t, chstore.Reason("network"), i.Reason, "%v", i.Err)
			},
		}})
		require.NoError(t, err)
		part := withOrigins(recs[round*each:(round+1)*each], fmt.Sprint("MD", round), 1)
		require.NoError(t, through.Write(t.Context(), part[:each/3]))
		first.fail(1+rng.Int64N(60*each/3), false)
		require.NoError(t, through.Write(t.Context(), part[each/3:2*each/3]))
		require.NoError(t, through.Write(t.Context(), part[2*each/3:]))
		require.Positive(t, failed, "the address did not go away")
		require.NoError(t, conn.Close())
		copy(recs[round*each:], part)
	}
	require.EqualValues(t, len(recs), rows(t, db))
	requireSame(t, recs, readAll(t, s, recs))
}

// An INSERT that gets no answer is given up after InsertTimeout, and made sure to be over before it is tried again.
func TestInsertTimesOut(t *testing.T) {
	s, db := openStore(t, chstore.Config{})
	stalling := startProxy(t, db.Addr)
	options := db.Options()
	options.Addr = []string{stalling.addr}
	options.Compression = &clickhouse.Compression{Method: clickhouse.CompressionNone}
	conn, err := chstore.Open(options)
	require.NoError(t, err)
	defer conn.Close()
	var failed []chstore.Reason
	through, err := chstore.New(conn, chstore.Config{
		Database: db.Name, InsertTimeout: 300 * time.Millisecond, RetryMin: time.Millisecond,
		Hooks: &chstore.Hooks{Failed: func(i chstore.FailInfo) { failed = append(failed, i.Reason) }},
	})
	require.NoError(t, err)
	recs := withOrigins(trades(1_000, time.Second), "MD", 1)
	require.NoError(t, through.Write(t.Context(), recs[:10]))
	stalling.fail(5_000, true)
	require.NoError(t, through.Write(t.Context(), recs[10:]))
	require.Equal(t, []chstore.Reason{"timeout"}, failed)
	require.EqualValues(t, len(recs), rows(t, db))
	requireSame(t, recs, readAll(t, s, recs))
}

// A table whose merges do not keep up refuses INSERTs. They are tried again, less and less often, until they can be.
func TestTooManyParts(t *testing.T) {
	var (
		through *chstore.Store
		admin   func(statement string)
		delays  []time.Duration
	)
	cfg := chstore.Config{RetryMin: time.Millisecond, Attempts: 10, Hooks: &chstore.Hooks{
		Retrying: func(i chstore.RetryInfo) {
			require.Equal(t, "trades", i.Table)
			require.Equal(t, chstore.ReasonTooManyParts, chstore.ReasonOf(i.Err), "%v", i.Err)
			if delays = append(delays, i.Delay); len(delays) == 5 {
				admin("ALTER TABLE trades MODIFY SETTING parts_to_throw_insert = 3000")
				admin("SYSTEM START MERGES trades")
			}
		},
	}}
	through, db := openStore(t, cfg)
	admin = func(statement string) { require.NoError(t, db.Conn.Exec(t.Context(), statement)) }
	admin("SYSTEM STOP MERGES trades")
	admin("ALTER TABLE trades MODIFY SETTING parts_to_delay_insert = 0, parts_to_throw_insert = 2")
	recs := withOrigins(trades(500, time.Second), "MD", 1)
	for ; len(recs) > 0 && len(delays) == 0; recs = recs[min(20, len(recs)):] {
		require.NoError(t, through.Write(t.Context(), recs[:min(20, len(recs))]))
	}
	require.Len(t, delays, 5)
	require.EqualValues(t, 5, through.Stats().Retries)
}

// A limit of the server's time is an error that passes too.
func TestExecutionTime(t *testing.T) {
	_, db := openStore(t, chstore.Config{})
	options := db.Options()
	options.Settings = clickhouse.Settings{"max_execution_time": "0.000001"}
	conn, err := chstore.Open(options)
	require.NoError(t, err)
	defer conn.Close()
	s, err := chstore.New(conn, chstore.Config{Database: db.Name, Attempts: -1})
	require.NoError(t, err)
	err = s.Write(t.Context(), sinktest.Records(2, 1000))
	require.Equal(t, chstore.Reason("timeout"), chstore.ReasonOf(err), "%v", err)
	require.True(t, chstore.Retryable(err))
}
