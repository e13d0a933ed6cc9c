package chstore_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/short"
)

// tradesAt returns n trades at a time, with ids from first on.
func tradesAt(at time.Time, first, n int) []marketprism.Record {
	recs := trades(n, time.Millisecond)
	for i := range recs {
		recs[i].EventTime = at.Add(time.Duration(i) * time.Millisecond)
		recs[i].ReceivedAt = recs[i].EventTime
		recs[i].Trade.ID = int64(first + i)
	}
	return recs
}

func usage(t *testing.T, s *chstore.Store) []chstore.Usage {
	t.Helper()
	all, err := s.Usage(t.Context())
	require.NoError(t, err)
	return all
}

// Partitions follow Config, and Usage returns them.
func TestUsage(t *testing.T) {
	short.Skip(t)
	for step, want := range map[chstore.Partition][]string{
		chstore.Hour:  {"2026030123", "2026030200"},
		chstore.Day:   {"20260301", "20260302"},
		chstore.Week:  {"202609", "202610"},
		chstore.Month: {"202603"},
	} {
		t.Run(step.String(), func(t *testing.T) {
			s, _ := openStore(t, chstore.Config{Partition: step, TablePrefix: "p_"})
			require.Empty(t, usage(t, s))
			at := time.Date(2026, 3, 1, 23, 30, 0, 0, time.UTC)
			require.NoError(t, s.Write(t.Context(), slices.Concat(tradesAt(at, 1, 10), tradesAt(at.Add(time.Hour), 100, 5))))
			var partitions []string
			var rows uint64
			for _, u := range usage(t, s) {
				require.Equal(t, "trades", u.Table)
				require.Equal(t, "default", u.Disk)
				require.Equal(t, "default", u.Volume)
				require.NotZero(t, u.Parts)
				require.NotZero(t, u.Bytes)
				require.NotZero(t, u.RawBytes)
				require.Zero(t, u.Oldest.Sub(at).Truncate(2*time.Hour), "%s", u.Oldest)
				rows += u.Rows
				partitions = append(partitions, u.Partition)
			}
			require.Equal(t, want, partitions)
			require.EqualValues(t, 15, rows)
		})
	}
}

// Old parts move to the cold volume and expired rows are dropped, on a table that is created with tiers,
// and on one that gets them later, by ALTER and without losing a row.
func TestTiers(t *testing.T) {
	short.Skip(t)
	for name, untiered := range map[string]bool{"from the beginning": false, "later": true} {
		t.Run(name, func(t *testing.T) {
			db := chtest.Open(t)
			tiered := chstore.Config{
				Database: db.Name, Partition: chstore.Day,
				TTL:   chstore.TTL{Trades: 20 * 24 * time.Hour},
				Tiers: chstore.Tiers{Policy: chserver.TieredPolicy, After: chstore.TTL{Trades: 5 * 24 * time.Hour}},
			}
			first := tiered
			if untiered {
				first = chstore.Config{Database: db.Name, Partition: chstore.Day}
			}
			now := time.Now().UTC()
			fresh, old, expired := tradesAt(now, 1, 5), tradesAt(now.AddDate(0, 0, -10), 100, 7), tradesAt(now.AddDate(0, 0, -30), 1000, 9)
			s, err := chstore.New(connect(t, db), first)
			require.NoError(t, err)
			require.NoError(t, s.Migrate(t.Context()))
			if untiered {
				require.NoError(t, s.Write(t.Context(), slices.Concat(fresh, old, expired)))
				require.Len(t, readAll(t, s, fresh), 21)
				s, err = chstore.New(connect(t, db), tiered)
				require.NoError(t, err)
				plan, err := s.Plan(t.Context())
				require.NoError(t, err)
				require.Len(t, plan, 6, "a policy for each table, and the TTL of one: %s", plan)
				require.NoError(t, s.Migrate(t.Context()))
			} else {
				require.NoError(t, s.Write(t.Context(), slices.Concat(fresh, old, expired)))
			}
			plan, err := s.Plan(t.Context())
			require.NoError(t, err)
			require.Empty(t, plan)

			require.NoError(t, db.Conn.Exec(t.Context(), "ALTER TABLE trades MATERIALIZE TTL SETTINGS mutations_sync = 2"))
			require.NoError(t, db.Conn.Exec(t.Context(), "OPTIMIZE TABLE trades FINAL"))
			want := map[string]uint64{
				"default " + fresh[0].EventTime.Format("20060102"): 5,
				"cold " + old[0].EventTime.Format("20060102"):      7,
			}
			require.Eventually(t, func() bool {
				got := make(map[string]uint64)
				for _, u := range usage(t, s) {
					got[u.Volume+" "+u.Partition] += u.Rows
				}
				return len(got) == len(want) && got["default "+fresh[0].EventTime.Format("20060102")] == 5 && got["cold "+old[0].EventTime.Format("20060102")] == 7
			}, time.Minute, 100*time.Millisecond, "%v", usage(t, s))
			requireSame(t, slices.Concat(fresh, old), readAll(t, s, fresh))
		})
	}
}

func TestTiersRefused(t *testing.T) {
	db := chtest.Open(t)
	day := chstore.TTL{Trades: 24 * time.Hour}
	for _, test := range []struct {
		tiers chstore.Tiers
		want  chstore.TierError
	}{
		{chstore.Tiers{Policy: "none"}, chstore.TierError{Policy: "none", What: "is missing"}},
		{chstore.Tiers{Policy: chserver.TieredPolicy, Volume: "frozen", After: day},
			chstore.TierError{Policy: chserver.TieredPolicy, Volume: "frozen", What: "is missing"}},
	} {
		s, err := chstore.New(connect(t, db), chstore.Config{Database: db.Name, Tiers: test.tiers})
		require.NoError(t, err)
		for _, call := range []func() error{
			func() error { return s.Migrate(t.Context()) },
			func() error { _, err := s.Plan(t.Context()); return err },
		} {
			var missing *chstore.TierError
			require.ErrorAs(t, call(), &missing)
			require.Equal(t, test.want, *missing)
		}
	}
	var tables uint64
	require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT count() FROM system.tables WHERE database = ?", db.Name).Scan(&tables))
	require.Zero(t, tables, "nothing was made")
	for want, cfg := range map[string]chstore.Config{
		"without a Policy":       {Tiers: chstore.Tiers{After: day}},
		"Policy \"a'b\"":         {Tiers: chstore.Tiers{Policy: "a'b"}},
		"Volume \"a b\"":         {Tiers: chstore.Tiers{Policy: "p", Volume: "a b"}},
		"want at least a second": {Tiers: chstore.Tiers{Policy: "p", After: chstore.TTL{Gaps: 1}}},
		"rows are kept for":      {TTL: day, Tiers: chstore.Tiers{Policy: "p", After: day}},
	} {
		_, err := chstore.New(connect(t, db), cfg)
		require.ErrorContains(t, err, want)
	}
}
