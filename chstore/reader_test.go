package chstore_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

func textAt(t *testing.T, s *chstore.Store, i marketprism.Instrument, at time.Time) (string, int64) {
	t.Helper()
	book, err := s.BookAt(t.Context(), i, at)
	require.NoError(t, err, "at %s", at)
	text, _ := book.AppendText(nil)
	return string(text), book.LastID()
}

// The book at any moment is the exchange's: one collector; two with their own cuts and clocks; and
// snapshots at any id, not only where an update ends.
func TestBookAt(t *testing.T) {
	short.Skip(t)
	for _, m := range []marketprism.Market{marketprism.Spot, marketprism.USDM, marketprism.COINM} {
		for _, collectors := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s/%d", m, collectors), func(t *testing.T) {
				s, _ := openStore(t, chstore.Config{})
				mk := newMarket(uint64(collectors), m)
				start := mk.now
				var recs []marketprism.Record
				for range 4 {
					mk.run(17, 40*time.Millisecond)
					recs = append(recs, mk.snapshotRecord(90*time.Millisecond))
					mk.run(400, 40*time.Millisecond)
				}
				end := mk.now
				rng := rand.New(rand.NewPCG(9, 9))
				recs = append(recs, mk.updates(rng, mk.changes, 12, 0)...)
				if collectors == 2 {
					recs = append(recs, mk.updates(rng, mk.changes, 7, 250*time.Millisecond)...)
					recs = append(recs, mk.updates(rng, mk.changes, 1, -170*time.Millisecond)...)
				}
				rng.Shuffle(len(recs), func(i, j int) { recs[i], recs[j] = recs[j], recs[i] })
				require.NoError(t, s.Write(t.Context(), recs))

				_, err := s.BookAt(t.Context(), mk.instrument, start)
				require.ErrorIs(t, err, chstore.ErrNoSnapshot)
				for range 25 {
					at := start.Add(time.Duration(rng.Int64N(int64(end.Sub(start)) + int64(time.Second))))
					want, ok := stateAt(recs, at)
					if !ok {
						continue
					}
					text, id := textAt(t, s, mk.instrument, at)
					require.Equal(t, want, id, "at %s", at)
					require.Equal(t, mk.history[id], text)
				}
			})
		}
	}
}

// At the very time of an update the book holds it, and a nanosecond before it does not.
func TestBookAtBorders(t *testing.T) {
	short.Skip(t)
	s, _ := openStore(t, chstore.Config{})
	mk := newMarket(1, marketprism.Spot)
	recs := []marketprism.Record{mk.snapshotRecord(0)}
	mk.run(20, time.Second)
	recs = append(recs, mk.updates(mk.rng, mk.changes, 1, 0)...)
	require.NoError(t, s.Write(t.Context(), recs))
	for _, r := range recs[1:] {
		_, id := textAt(t, s, mk.instrument, r.EventTime)
		require.Equal(t, r.Update.LastID, id)
		_, id = textAt(t, s, mk.instrument, r.EventTime.Add(-1))
		require.Equal(t, r.Update.LastID-1, id)
	}
}

func TestBookAtMissing(t *testing.T) {
	short.Skip(t)
	for _, m := range []marketprism.Market{marketprism.Spot, marketprism.USDM} {
		t.Run(string(m), func(t *testing.T) {
			s, _ := openStore(t, chstore.Config{})
			mk := newMarket(2, m)
			recs := []marketprism.Record{mk.snapshotRecord(0)}
			mk.run(60, time.Second)
			updates := mk.updates(mk.rng, mk.changes, 1, 0)
			dropped := updates[30]
			recs = append(recs, slices.Concat(updates[:30], updates[31:])...)
			again := mk.snapshotRecord(time.Millisecond)
			recs = append(recs, again)
			mk.changes = nil
			mk.run(5, time.Second)
			recs = append(recs, mk.updates(mk.rng, mk.changes, 1, 0)...)
			require.NoError(t, s.Write(t.Context(), recs))

			before := dropped.EventTime.Add(-1)
			text, id := textAt(t, s, mk.instrument, before)
			require.Equal(t, dropped.Update.FirstID-1, id)
			require.Equal(t, mk.history[id], text)

			_, err := s.BookAt(t.Context(), mk.instrument, updates[40].EventTime)
			var missing *chstore.MissingError
			require.ErrorAs(t, err, &missing)
			require.Equal(t, chstore.MissingError{
				Instrument: mk.instrument, At: updates[40].EventTime,
				After: dropped.Update.FirstID - 1, Next: updates[31].Update.FirstID,
				From: updates[29].EventTime, To: again.Time(),
			}, *missing)

			text, id = textAt(t, s, mk.instrument, mk.now)
			require.Equal(t, mk.id, id)
			require.Equal(t, mk.history[id], text)
		})
	}
}

// After a Gap the book is known only if what comes later says that nothing was missed.
func TestBookAtGap(t *testing.T) {
	short.Skip(t)
	for name, test := range map[string]struct {
		missed  int  // changes that no collector saw
		other   bool // a second collector saw them
		missing bool
	}{
		"missed":          {missed: 3, missing: true},
		"nothing missed":  {missed: 0},
		"seen by another": {missed: 3, other: true},
	} {
		for _, m := range []marketprism.Market{marketprism.Spot, marketprism.USDM} {
			t.Run(name+"/"+string(m), func(t *testing.T) {
				s, _ := openStore(t, chstore.Config{})
				mk := newMarket(3, m)
				recs := []marketprism.Record{mk.snapshotRecord(0)}
				mk.run(20, time.Second)
				recs = append(recs, mk.updates(mk.rng, mk.changes, 3, 0)...)
				lost, after := mk.now.Add(time.Second), mk.id
				recs = append(recs, marketprism.Record{
					Instrument: mk.instrument, ReceivedAt: lost,
					Gap: &orderbook.Gap{After: mk.id, Reason: orderbook.GapDisconnect},
				})
				mk.changes = nil
				mk.now = mk.now.Add(10 * time.Second)
				mk.run(test.missed, time.Second)
				if test.other {
					recs = append(recs, mk.updates(mk.rng, mk.changes, 1, 0)...)
				}
				mk.now = mk.now.Add(10 * time.Second)
				again := mk.snapshotRecord(0)
				recs = append(recs, again)
				require.NoError(t, s.Write(t.Context(), recs))

				_, id := textAt(t, s, mk.instrument, lost.Add(-1))
				require.Equal(t, after, id)
				book, err := s.BookAt(t.Context(), mk.instrument, lost.Add(time.Second))
				if !test.missing {
					require.NoError(t, err)
					require.Equal(t, after, book.LastID())
				} else {
					var missing *chstore.MissingError
					require.ErrorAs(t, err, &missing)
					require.Equal(t, after, missing.After)
					require.Equal(t, mk.id, missing.Next)
					require.Equal(t, lost.Add(-time.Second), missing.From)
					require.Equal(t, again.Time(), missing.To)
				}
				_, id = textAt(t, s, mk.instrument, mk.now)
				require.Equal(t, mk.id, id)
			})
		}
	}
}

// The venue's ids go back: what was sent with the old, higher ones just before does not disturb.
func TestBookAtRegressed(t *testing.T) {
	short.Skip(t)
	s, _ := openStore(t, chstore.Config{})
	mk := newMarket(4, marketprism.Spot)
	recs := []marketprism.Record{mk.snapshotRecord(0)}
	mk.run(20, 100*time.Millisecond)
	recs = append(recs, mk.updates(mk.rng, mk.changes, 3, 0)...)
	recs = append(recs, marketprism.Record{
		Instrument: mk.instrument, ReceivedAt: mk.now.Add(20 * time.Millisecond),
		Gap: &orderbook.Gap{After: mk.id, Reason: orderbook.GapRegressed},
	})
	mk.id, mk.changes = 10, nil
	mk.run(5, 100*time.Millisecond)
	recs = append(recs, mk.snapshotRecord(0))
	mk.run(20, 100*time.Millisecond)
	recs = append(recs, mk.updates(mk.rng, mk.changes, 1, 0)...)
	require.NoError(t, s.Write(t.Context(), recs))
	text, id := textAt(t, s, mk.instrument, mk.now)
	require.EqualValues(t, 35, id)
	require.Equal(t, mk.history[id], text)
}

// An instrument that never had an order begins with the snapshot -1 and whatever update comes first.
func TestBookAtFirstUpdate(t *testing.T) {
	s, _ := openStore(t, chstore.Config{})
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	require.NoError(t, s.Write(t.Context(), []marketprism.Record{
		{Instrument: spot("NEW"), ReceivedAt: at, Snapshot: &orderbook.Snapshot{LastID: -1}},
		{Instrument: spot("NEW"), EventTime: at.Add(time.Hour), Update: &orderbook.Update{
			FirstID: 700, LastID: 701, EventTime: at.Add(time.Hour), Bids: []orderbook.Level{{Price: 1, Quantity: 2}},
		}},
	}))
	_, id := textAt(t, s, spot("NEW"), at)
	require.EqualValues(t, -1, id)
	text, id := textAt(t, s, spot("NEW"), at.Add(time.Hour))
	require.EqualValues(t, 701, id)
	require.Equal(t, "0.00000001 0.00000002\n-\n-\n", text)
}

// A spot snapshot has only the collector's time. However wrong that is, the ids show which updates
// come after it.
func TestBookAtWrongClock(t *testing.T) {
	short.Skip(t)
	for name, wrong := range map[string]time.Duration{
		"an hour behind": -time.Hour, "an hour ahead": time.Hour, "played back years later": 5 * 365 * 24 * time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := openStore(t, chstore.Config{})
			mk := newMarket(5, marketprism.Spot)
			mk.run(10, time.Second)
			recs := []marketprism.Record{mk.snapshotRecord(0)}
			mk.run(30, time.Second)
			recs = append(recs, mk.updates(mk.rng, mk.changes, 3, 0)...)
			for i := range recs {
				recs[i].ReceivedAt = recs[i].ReceivedAt.Add(wrong)
			}
			require.NoError(t, s.Write(t.Context(), recs))
			for _, at := range []time.Time{mk.now.Add(-10 * time.Second), mk.now} {
				text, id := textAt(t, s, mk.instrument, at)
				var want int64
				for _, r := range recs {
					if r.Update != nil && !r.EventTime.After(at) {
						want = max(want, r.Update.LastID)
					}
				}
				require.Equal(t, want, id)
				require.Equal(t, mk.history[id], text)
			}
		})
	}
}
