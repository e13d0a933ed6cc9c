package chstore_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/short"
)

// leasing returns another Store on a database, with a lease.
func leasing(t *testing.T, db *chtest.DB, cfg chstore.Config) *chstore.Store {
	t.Helper()
	cfg.Database = db.Name
	s, err := chstore.New(connect(t, db), cfg)
	require.NoError(t, err)
	return s
}

// The second of two writers of a source is refused until the first releases its lease, and then continues where
// that one ended; other sources and reads are not affected.
func TestLeaseRefuses(t *testing.T) {
	_, db := openStore(t, chstore.Config{})
	a := leasing(t, db, chstore.Config{Lease: time.Minute, Attempts: -1})
	b := leasing(t, db, chstore.Config{Lease: time.Minute, Attempts: -1})
	recs := withOrigins(trades(30, time.Second), "S", 1)
	require.NoError(t, a.Write(t.Context(), recs[:10]))
	require.NoError(t, a.Write(t.Context(), recs[5:20]))

	err := b.Write(t.Context(), recs)
	var held *chstore.LeaseError
	require.ErrorAs(t, err, &held)
	require.Equal(t, "trades", held.Table)
	require.Equal(t, "S", held.Source)
	require.True(t, held.Until.After(time.Now()))
	require.True(t, chstore.Retryable(err))
	require.Equal(t, chstore.Reason("lease"), chstore.ReasonOf(err))
	require.EqualValues(t, 20, rows(t, db))
	require.NoError(t, b.Write(t.Context(), withOrigins(trades(5, time.Second), "another", 1)))
	requireSame(t, recs[:20], readAll(t, b, recs))

	require.NoError(t, a.Release(t.Context()))
	require.NoError(t, b.Write(t.Context(), recs))
	require.ErrorAs(t, a.Write(t.Context(), recs), &held)
	require.EqualValues(t, 30+5, rows(t, db))
}

// A successor waits no longer than the lease for a holder that is gone; the holder is refused if it comes back.
func TestLeaseEnds(t *testing.T) {
	short.Skip(t)
	_, db := openStore(t, chstore.Config{})
	retry := chstore.Config{Lease: time.Minute, Attempts: 1000, RetryMin: 10 * time.Millisecond, RetryMax: 20 * time.Millisecond}
	short := chstore.Config{Lease: 2 * time.Second, Attempts: -1}
	a, b := leasing(t, db, short), leasing(t, db, retry)
	recs := withOrigins(trades(20, time.Second), "S", 1)
	require.NoError(t, a.Write(t.Context(), recs[:10]))
	require.NoError(t, b.Write(t.Context(), recs), "tried until the lease had ended")
	require.Positive(t, b.Stats().Retries)
	var held *chstore.LeaseError
	require.ErrorAs(t, a.Write(t.Context(), recs[10:]), &held)
	require.EqualValues(t, 20, rows(t, db))
}

// Of several writers that start at once, one gets the lease.
func TestLeaseAtOnce(t *testing.T) {
	short.Skip(t)
	_, db := openStore(t, chstore.Config{})
	for round := range 5 {
		recs := withOrigins(trades(20, time.Second), string(rune('A'+round)), 1)
		var won atomic.Int64
		var group errgroup.Group
		for range 6 {
			s := leasing(t, db, chstore.Config{Lease: time.Minute, Attempts: -1})
			group.Go(func() error {
				err := s.Write(t.Context(), recs)
				if err == nil {
					won.Add(1)
					return nil
				}
				var held *chstore.LeaseError
				if !errors.As(err, &held) {
					return err
				}
				return nil
			})
		}
		require.NoError(t, group.Wait())
		require.EqualValues(t, 1, won.Load())
		require.EqualValues(t, 20*(round+1), rows(t, db))
	}
}

// Writers that keep taking the lease from one another store each record once, although all of them
// write all records.
func TestLeaseContended(t *testing.T) {
	short.Skip(t)
	_, db := openStore(t, chstore.Config{})
	recs := withOrigins(trades(300, time.Second), "S", 1)
	var group errgroup.Group
	for range 3 {
		s := leasing(t, db, chstore.Config{Lease: time.Second, Attempts: 1000, RetryMin: time.Millisecond, RetryMax: 20 * time.Millisecond})
		group.Go(func() error {
			for i := 0; i < len(recs); i += 20 {
				if err := s.Write(t.Context(), recs[max(0, i-10):i+20]); err != nil {
					return err
				}
				if err := s.Release(t.Context()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	require.EqualValues(t, len(recs), rows(t, db))
	requireSame(t, recs, readAll(t, leasing(t, db, chstore.Config{}), recs))
}
