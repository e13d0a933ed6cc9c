package chstore_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// Of two collectors the one whose answer was older is later: the book does not go back to it.
func TestOlderSnapshotComesLater(t *testing.T) {
	s := storeOf(t, snapshotOf(200, 10), snapshotOf(150, 11), updateOf(201, 201, 13), updateOf(202, 202, 14))
	for at, want := range map[float64]int64{10: 200, 12: 200, 13: 201, 15: 202} {
		book, err := s.BookAt(t.Context(), spot("BOOK"), secondsOf(at))
		require.NoError(t, err)
		require.Equal(t, want, book.LastID(), "at %v s", at)
	}
	for _, from := range []float64{9, 12} {
		for state, err := range s.Books(t.Context(), chstore.BookQuery{Instrument: spot("BOOK"), From: secondsOf(from), To: secondsOf(16)}) {
			require.NoError(t, err)
			requireBookAt(t, s, spot("BOOK"), state)
		}
	}
}

// A market that is wiped begins with low ids: its snapshot is not an old one.
func TestLowerSnapshotAfterAWipe(t *testing.T) {
	wiped := marketprism.Record{Instrument: spot("BOOK"), ReceivedAt: secondsOf(3), Gap: &orderbook.Gap{After: 1001, Reason: orderbook.GapRegressed}}
	s := storeOf(t, snapshotOf(1000, 0), updateOf(1001, 1001, 1), wiped, snapshotOf(10, 4), updateOf(11, 11, 5), updateOf(12, 12, 6))
	for at, want := range map[float64]int64{2: 1001, 4: 10, 6: 12} {
		book, err := s.BookAt(t.Context(), spot("BOOK"), secondsOf(at))
		require.NoError(t, err)
		require.Equal(t, want, book.LastID(), "at %v s", at)
	}
	r := check(t, s, chstore.CheckQuery{Silence: -1})
	require.True(t, r.OK(), "%s", r.String())
}

// Replay that begins with a book, between the id of a spot snapshot and its arrival, does not go back to that.
func TestReplayWithBooksLeavesOutALateSnapshot(t *testing.T) {
	s := storeOf(t, snapshotOf(100, 0), updateOf(101, 101, 1), updateOf(102, 102, 2), updateOf(103, 103, 3), updateOf(104, 104, 4),
		updateOf(105, 105, 5), snapshotOf(103, 6), updateOf(106, 106, 7))
	var got sinktest.Recorder
	q := chstore.ReplayQuery{Instruments: []marketprism.Instrument{spot("BOOK")}, From: secondsOf(5.5)}
	require.NoError(t, s.Replay(t.Context(), q, chstore.ReplayConfig{Books: true}, &got))
	var ids []int64
	for _, r := range got.Records() {
		if r.Snapshot != nil {
			ids = append(ids, -r.Snapshot.LastID)
		} else {
			ids = append(ids, r.Update.LastID)
		}
	}
	require.Equal(t, []int64{-105, 106}, ids)
}

// A hole ends with a snapshot from behind it, and begins before the moment asked for.
func TestHoleNamesGoodMoments(t *testing.T) {
	for name, test := range map[string]struct {
		recs     []marketprism.Record
		at       float64
		from, to time.Time
	}{
		"older snapshot in it": {
			[]marketprism.Record{snapshotOf(100, 0), updateOf(101, 101, 1), updateOf(103, 103, 3), snapshotOf(100, 4), snapshotOf(105, 10), updateOf(106, 106, 11)},
			3.5, secondsOf(1), secondsOf(10),
		},
		"base behind it": {
			[]marketprism.Record{updateOf(102, 102, 5), updateOf(103, 103, 6), snapshotOf(100, 10), snapshotOf(110, 30)},
			6, time.Time{}, secondsOf(30),
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := storeOf(t, test.recs...)
			_, err := s.BookAt(t.Context(), spot("BOOK"), secondsOf(test.at))
			var hole *chstore.MissingError
			require.ErrorAs(t, err, &hole)
			require.True(t, test.from.Equal(hole.From), "%v", hole)
			require.True(t, test.to.Equal(hole.To), "%v", hole)
			for _, good := range []time.Time{hole.From, hole.To} {
				if !good.IsZero() {
					_, err = s.BookAt(t.Context(), spot("BOOK"), good)
					require.NoError(t, err)
				}
			}
		})
	}
}

// A snapshot cut at 1 level of the same id replaces the deep book in Books.
func TestShallowSnapshotOfOneIDAndTime(t *testing.T) {
	deep := snapshotOf(100, 0)
	deep.Snapshot.Bids = append(deep.Snapshot.Bids, levelOf(98, 1), levelOf(97, 1))
	shallow := snapshotOf(100, 0)
	shallow.ReceivedAt = shallow.ReceivedAt.Add(time.Second)
	shallow.EventTime, deep.EventTime = secondsOf(0), secondsOf(0)
	for _, r := range []*marketprism.Record{&deep, &shallow} {
		r.Instrument.Market, r.Snapshot.EventTime = marketprism.USDM, secondsOf(0)
	}
	s := storeOf(t, deep, shallow)
	book, err := s.BookAt(t.Context(), deep.Instrument, secondsOf(2))
	require.NoError(t, err)
	for st, err := range s.Books(t.Context(), chstore.BookQuery{Instrument: deep.Instrument, From: secondsOf(-1), To: secondsOf(3), Every: time.Second}) {
		require.NoError(t, err)
		if a, b := len(book.AppendBids(nil, -1)), len(st.Book.AppendBids(nil, -1)); st.At.Equal(secondsOf(2)) && a != b {
			t.Errorf("at 2 s BookAt has %d bids, Books %d", a, b)
		}
	}
}
