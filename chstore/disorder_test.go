package chstore_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// Two collectors with borders of their own. One misses 102 and 103; the other has them, in an update that
// ends behind the first one's next. Nothing is missing.
func TestNestedUpdates(t *testing.T) {
	for _, market := range []marketprism.Market{marketprism.Spot, marketprism.USDM} {
		recs := []marketprism.Record{snapshotOf(100, 0), updateOf(101, 101, 1), updateOf(102, 105, 2), updateOf(104, 104, 2.1), updateOf(106, 106, 3)}
		for i := range recs {
			recs[i].Instrument.Market = market
			if u := recs[i].Update; u != nil && market != marketprism.Spot {
				u.PrevLastID = u.FirstID - 1
			}
		}
		s := storeOf(t, recs...)
		book, err := s.BookAt(t.Context(), recs[0].Instrument, secondsOf(4))
		require.NoError(t, err)
		require.EqualValues(t, 106, book.LastID())
		r := check(t, s, chstore.CheckQuery{})
		require.True(t, r.OK(), "%s: %s", market, r.String())
	}
}

// disordered returns what two connections to servers recorded whose clocks differ.
func disordered() []marketprism.Record {
	return []marketprism.Record{snapshotOf(100, 0), updateOf(101, 101, 1), updateOf(103, 103, 2), updateOf(102, 102, 2.5), updateOf(104, 104, 3), updateOf(105, 105, 4)}
}

// Books may begin where an update that comes before those of earlier times is yet to come.
func TestBooksFromInDisorder(t *testing.T) {
	s := storeOf(t, disordered()...)
	for _, from := range []float64{0, 1.5, 2.2, 2.5, 2.7} {
		ids := make(map[float64]int64)
		for state, err := range s.Books(t.Context(), chstore.BookQuery{Instrument: spot("BOOK"), From: secondsOf(from), To: secondsOf(5)}) {
			require.NoError(t, err)
			if state.Book != nil {
				ids[state.At.Sub(dayOf).Seconds()] = state.Book.LastID()
			}
		}
		for at, want := range map[float64]int64{2.5: 103, 3: 104, 4: 105} {
			if at >= from {
				require.Equal(t, want, ids[at], "from %v at %v", from, at)
			}
		}
	}
}

// What is replayed into a Syncer has no gap where BookAt has none.
func TestReplayInDisorder(t *testing.T) {
	s := storeOf(t, disordered()...)
	var got sinktest.Recorder
	require.NoError(t, s.Replay(t.Context(), chstore.ReplayQuery{Instruments: []marketprism.Instrument{spot("BOOK")}}, chstore.ReplayConfig{}, &got))
	sync, err := orderbook.NewSyncer(orderbook.SyncerConfig{Continuity: orderbook.Contiguous, MaxStale: -1})
	require.NoError(t, err)
	for _, r := range got.Records() {
		if r.Snapshot != nil {
			sync.Snapshot(dayOf, sync.Connected(dayOf).Fetch, r.Snapshot)
			continue
		}
		for _, e := range sync.Update(dayOf, r.Update).Events {
			require.Nil(t, e.Gap, r.Key())
		}
	}
	require.EqualValues(t, 105, sync.Book().LastID())
}

// Nothing is brought before the Gap with which ids begin anew, however close it is.
func TestReplayKeepsWhatIsBeforeAWipe(t *testing.T) {
	wiped := marketprism.Record{Instrument: spot("BOOK"), ReceivedAt: secondsOf(2), Gap: &orderbook.Gap{After: 1002, Reason: orderbook.GapRegressed}}
	s := storeOf(t, snapshotOf(1000, 0), updateOf(1002, 1002, 1), updateOf(1001, 1001, 1.5), wiped, snapshotOf(10, 2.5), updateOf(11, 11, 3))
	var got sinktest.Recorder
	require.NoError(t, s.Replay(t.Context(), chstore.ReplayQuery{Instruments: []marketprism.Instrument{spot("BOOK")}}, chstore.ReplayConfig{}, &got))
	var keys []string
	for _, r := range got.Records() {
		keys = append(keys, strings.TrimPrefix(r.Key(), "binance:spot:"))
	}
	require.Equal(t, []string{
		"snap:BOOK:1000:1x1", "depth:BOOK:1001-1001", "depth:BOOK:1002-1002", "gap:BOOK:1002-regressed", "snap:BOOK:10:1x1", "depth:BOOK:11-11",
	}, keys)
}

// A snapshot that disagrees is found where updates are not in the order of their ids, too.
func TestCheckSnapshotsInDisorder(t *testing.T) {
	wrong := snapshotOf(105, 6)
	wrong.Snapshot.Bids[0].Quantity++
	s := storeOf(t, append(disordered(), wrong, updateOf(106, 106, 7))...)
	r := check(t, s, chstore.CheckQuery{})
	require.Len(t, r.Findings, 1)
	require.Equal(t, chstore.CheckSnapshots, r.Findings[0].Check)
}
