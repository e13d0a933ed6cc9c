package chstore_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// Two collectors with borders of their own. One misses 102 and 103; the other has them, in an update that
// ends behind the first one's next. Nothing is missing.
func TestNestedUpdates(t *testing.T) {
	short.Skip(t)
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
	short.Skip(t)
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

// Nothing is brought before the Gap with which ids start again, however close it is.
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

// Of two collectors the one whose answer was older is later: the book does not go back to it.
func TestOlderSnapshotComesLater(t *testing.T) {
	short.Skip(t)
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
	short.Skip(t)
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

// A missing range ends with a snapshot beyond it, and begins before the moment asked for.
func TestMissingErrorNamesGoodMoments(t *testing.T) {
	short.Skip(t)
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
			var missing *chstore.MissingError
			require.ErrorAs(t, err, &missing)
			require.True(t, test.from.Equal(missing.From), "%v", missing)
			require.True(t, test.to.Equal(missing.To), "%v", missing)
			for _, good := range []time.Time{missing.From, missing.To} {
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

// dayOf is when the tests of crafted books begin; their times are seconds from then on.
var dayOf = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)

func secondsOf(seconds float64) time.Time {
	return dayOf.Add(time.Duration(seconds * float64(time.Second)))
}

func levelOf(price, quantity int64) orderbook.Level {
	return orderbook.Level{Price: orderbook.Fixed(price) * orderbook.One, Quantity: orderbook.Fixed(quantity) * orderbook.One}
}

// snapshotOf is a snapshot that came at some second. The quantity of its best bid is its id.
func snapshotOf(id int64, at float64) marketprism.Record {
	return marketprism.Record{Instrument: spot("BOOK"), ReceivedAt: secondsOf(at), Snapshot: &orderbook.Snapshot{
		LastID: id, Bids: []orderbook.Level{levelOf(99, id)}, Asks: []orderbook.Level{levelOf(101, 1)},
	}}
}

// updateOf is an update that was sent, and came, at some second.
func updateOf(first, last int64, at float64) marketprism.Record {
	sent := secondsOf(at)
	return marketprism.Record{Instrument: spot("BOOK"), EventTime: sent, ReceivedAt: sent, Update: &orderbook.Update{
		FirstID: first, LastID: last, EventTime: sent, Bids: []orderbook.Level{levelOf(99, last)},
	}}
}

func storeOf(t *testing.T, recs ...marketprism.Record) *chstore.Store {
	t.Helper()
	s, _ := openStore(t, chstore.Config{})
	require.NoError(t, s.Write(t.Context(), recs))
	return s
}

// check returns the report on all that is stored between two times.
func check(t *testing.T, s *chstore.Store, q chstore.CheckQuery) chstore.Report {
	t.Helper()
	r, err := s.Check(t.Context(), q)
	require.NoError(t, err)
	return r
}
