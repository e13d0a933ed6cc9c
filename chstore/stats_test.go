package chstore_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/hook/hooktest"
	"github.com/marketprism/marketprism/internal/short"
)

// Stats has the counts of every table, and each event calls a hook.
func TestStats(t *testing.T) {
	short.Skip(t)
	var answers []chstore.AnswerInfo
	var failed []chstore.FailInfo
	s, db := openStore(t, chstore.Config{Attempts: -1, Hooks: &chstore.Hooks{
		Answered: func(i chstore.AnswerInfo) { answers = append(answers, i) },
		Failed:   func(i chstore.FailInfo) { failed = append(failed, i) },
	}})
	begin := time.Now()
	recs := withOrigins(trades(20, time.Second), "S", 1)
	slices.Reverse(recs) // the newest is not the last
	require.NoError(t, s.Write(t.Context(), recs))
	require.NoError(t, s.Write(t.Context(), recs[:5]))

	var table chstore.TableStats
	stats := s.Stats()
	require.Len(t, stats.Tables, 5)
	for _, ts := range stats.Tables {
		if ts.Table == "trades" {
			table = ts
		} else {
			require.Equal(t, chstore.TableStats{Table: ts.Table}, ts)
		}
	}
	require.False(t, table.LastInsert.Before(begin))
	table.LastInsert = time.Time{}
	require.Equal(t, chstore.TableStats{
		Table: "trades", Rows: 20, Bytes: 20 * 128, Skipped: 5, Inserts: 1, Fences: 1, Newest: recs[0].EventTime,
	}, table)

	require.NoError(t, db.Conn.Exec(t.Context(), "RENAME TABLE trades TO away"))
	require.Error(t, s.Write(t.Context(), withOrigins(trades(3, time.Second), "S", 100)))
	stats = s.Stats()
	require.EqualValues(t, 1, stats.Failures)
	require.Len(t, failed, 1)
	require.Equal(t, "trades", failed[0].Table)
	require.Equal(t, 3, failed[0].Rows)
	require.Equal(t, 1, failed[0].Attempt)
	require.Equal(t, chstore.Reason("schema"), failed[0].Reason)
	require.NoError(t, db.Conn.Exec(t.Context(), "RENAME TABLE away TO trades"))

	for range s.Records(t.Context(), chstore.Query{Instrument: spot("BTCUSDT")}) {
	}
	_, err := s.BookAt(t.Context(), spot("BTCUSDT"), begin)
	require.ErrorIs(t, err, chstore.ErrNoSnapshot)
	for range s.Books(t.Context(), chstore.BookQuery{Instrument: spot("BTCUSDT")}) {
	}
	require.NoError(t, s.Replay(t.Context(), chstore.ReplayQuery{Instruments: []marketprism.Instrument{spot("BTCUSDT")},
		Kinds: []marketprism.Kind{marketprism.KindTrade}}, chstore.ReplayConfig{}, discard{}))
	_, err = s.Check(t.Context(), chstore.CheckQuery{})
	require.NoError(t, err)
	_, err = s.Usage(t.Context())
	require.NoError(t, err)
	_, err = s.Watermark(t.Context(), "S")
	require.NoError(t, err)
	var ops []chstore.Op
	for _, a := range answers {
		require.Positive(t, a.Took)
		require.Equal(t, a.Op == "book_at", a.Err != nil)
		ops = append(ops, a.Op)
	}
	require.Equal(t, []chstore.Op{"records", "book_at", "books", "replay", "check", "usage", "watermark"}, ops)
}

type discard struct{}

func (discard) Write(context.Context, []marketprism.Record) error { return nil }

// During a Write its records count as waiting.
func TestStatsWaiting(t *testing.T) {
	var waiting, bytes []int64
	var s *chstore.Store
	note := func() {
		for _, ts := range s.Stats().Tables {
			if ts.Table == "trades" {
				waiting, bytes = append(waiting, ts.Waiting), append(bytes, ts.WaitingBytes)
			}
		}
	}
	s, _ = openStore(t, chstore.Config{Hooks: &chstore.Hooks{Inserted: func(chstore.InsertInfo) { note() }}})
	require.NoError(t, s.Write(t.Context(), trades(20, time.Second)))
	note()
	require.Equal(t, []int64{20, 0}, waiting)
	require.Equal(t, []int64{20 * 128, 0}, bytes)
}

func TestDisks(t *testing.T) {
	s, _ := openStore(t, chstore.Config{})
	disks, err := s.Disks(t.Context())
	require.NoError(t, err)
	var names []string
	for _, d := range disks {
		names = append(names, d.Name)
		require.Positive(t, d.Free)
		require.Greater(t, d.Total, d.Free)
		require.False(t, d.Broken)
	}
	require.Contains(t, names, "default")
	require.True(t, slices.IsSorted(names))
}

func TestHooksAreComplete(t *testing.T) { hooktest.Complete(t, chstore.TeeHooks, chstore.LogHooks) }
