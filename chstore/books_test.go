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

// states reads all states; books are cloned.
func states(t *testing.T, s *chstore.Store, q chstore.BookQuery) []chstore.BookState {
	t.Helper()
	var all []chstore.BookState
	for state, err := range s.Books(t.Context(), q) {
		require.NoError(t, err)
		require.Equal(t, state.Book == nil, state.Missing != nil)
		if state.Book != nil {
			state.Book = state.Book.Clone()
		}
		all = append(all, state)
	}
	return all
}

// requireBookAt fails unless BookAt gives the same for the state's moment.
func requireBookAt(t *testing.T, s *chstore.Store, i marketprism.Instrument, state chstore.BookState) {
	t.Helper()
	book, err := s.BookAt(t.Context(), i, state.At)
	if state.Missing != nil {
		var missing *chstore.MissingError
		require.ErrorAs(t, err, &missing, "at %s", state.At)
		require.Equal(t, missing.After, state.Missing.After)
		return
	}
	require.NoError(t, err, "at %s", state.At)
	want, _ := book.AppendText(nil)
	got, _ := state.Book.AppendText(nil)
	require.Equal(t, book.LastID(), state.Book.LastID(), "at %s", state.At)
	require.Equal(t, string(want), string(got), "at %s", state.At)
}

func TestBooks(t *testing.T) {
	short.Skip(t)
	for _, m := range []marketprism.Market{marketprism.Spot, marketprism.USDM} {
		for _, collectors := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s/%d", m, collectors), func(t *testing.T) {
				s, _ := openStore(t, chstore.Config{})
				mk := newMarket(uint64(collectors), m)
				start := mk.now
				var recs []marketprism.Record
				for range 4 {
					mk.run(17, 40*time.Millisecond)
					recs = append(recs, mk.snapshotRecord(90*time.Millisecond))
					mk.run(100, 40*time.Millisecond)
				}
				rng := rand.New(rand.NewPCG(9, 9))
				recs = append(recs, mk.updates(rng, mk.changes, 12, 0)...)
				if collectors == 2 {
					recs = append(recs, mk.updates(rng, mk.changes, 7, 250*time.Millisecond)...)
				}
				require.NoError(t, s.Write(t.Context(), recs))

				every := states(t, s, chstore.BookQuery{Instrument: mk.instrument})
				last := map[time.Time]chstore.BookState{} // several updates can have one time
				for _, state := range every {
					text, _ := state.Book.AppendText(nil)
					require.Equal(t, mk.history[state.Book.LastID()], string(text))
					last[state.At] = state
				}
				require.Equal(t, mk.id, every[len(every)-1].Book.LastID())
				for at, state := range last {
					if at.UnixMilli()%200 == 0 {
						requireBookAt(t, s, mk.instrument, state)
					}
				}
				from := start.Add(2 * time.Second)
				steps := states(t, s, chstore.BookQuery{Instrument: mk.instrument, From: from, To: mk.now, Every: 1300 * time.Millisecond})
				require.Len(t, steps, int((mk.now.Sub(from)-1)/(1300*time.Millisecond))+1)
				for i, state := range steps {
					require.Equal(t, from.Add(time.Duration(i)*1300*time.Millisecond), state.At)
					requireBookAt(t, s, mk.instrument, state)
				}
			})
		}
	}
}

// A missing range gives one state; the nearest moments it names are good ones; and steps agree with BookAt on both
// of its sides.
func TestBooksMissing(t *testing.T) {
	short.Skip(t)
	for _, m := range []marketprism.Market{marketprism.Spot, marketprism.USDM} {
		t.Run(string(m), func(t *testing.T) {
			s, _ := openStore(t, chstore.Config{})
			mk := newMarket(2, m)
			start := mk.now
			recs := []marketprism.Record{mk.snapshotRecord(0)}
			mk.run(60, time.Second)
			updates := mk.updates(mk.rng, mk.changes, 1, 0)
			recs = append(recs, slices.Concat(updates[:30], updates[31:])...)
			again := mk.snapshotRecord(time.Millisecond)
			recs = append(recs, again)
			mk.changes = nil
			mk.run(5, time.Second)
			recs = append(recs, mk.updates(mk.rng, mk.changes, 1, 0)...)
			require.NoError(t, s.Write(t.Context(), recs))

			all := states(t, s, chstore.BookQuery{Instrument: mk.instrument})
			ranges := slices.DeleteFunc(slices.Clone(all), func(s chstore.BookState) bool { return s.Missing == nil })
			require.Len(t, ranges, 1)
			require.Equal(t, updates[31].EventTime, ranges[0].At)
			require.Equal(t, updates[29].Update.LastID, ranges[0].Missing.After)
			requireBookAt(t, s, mk.instrument, ranges[0])
			for _, good := range []time.Time{ranges[0].Missing.From, ranges[0].Missing.To} {
				_, err := s.BookAt(t.Context(), mk.instrument, good)
				require.NoError(t, err)
			}
			require.Len(t, all, 1+30+1+1+5, "snapshot, updates, missing, snapshot, updates")

			steps := states(t, s, chstore.BookQuery{Instrument: mk.instrument, From: start, To: mk.now, Every: 2500 * time.Millisecond})
			for _, state := range steps {
				requireBookAt(t, s, mk.instrument, state)
			}
			within := states(t, s, chstore.BookQuery{Instrument: mk.instrument, From: updates[40].EventTime, Every: time.Second})
			require.NotNil(t, within[0].Missing)
			require.NotNil(t, within[1].Book)
			requireBookAt(t, s, mk.instrument, within[1])
		})
	}
}

// After a Gap, states wait for the proof that nothing was missed, in the middle and at the end.
func TestBooksGap(t *testing.T) {
	short.Skip(t)
	for name, test := range map[string]struct {
		missed int
		after  bool // something is stored after the gap
	}{
		"nothing missed": {0, true}, "missed": {3, true}, "nothing came": {0, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := openStore(t, chstore.Config{})
			mk := newMarket(3, marketprism.Spot)
			start := mk.now
			recs := []marketprism.Record{mk.snapshotRecord(0)}
			mk.run(20, time.Second)
			recs = append(recs, mk.updates(mk.rng, mk.changes, 3, 0)...)
			lost := mk.now.Add(time.Second)
			recs = append(recs, marketprism.Record{
				Instrument: mk.instrument, ReceivedAt: lost,
				Gap: &orderbook.Gap{After: mk.id, Reason: orderbook.GapDisconnect},
			})
			mk.run(test.missed, time.Second)
			mk.now = mk.now.Add(10 * time.Second)
			if test.after {
				recs = append(recs, mk.snapshotRecord(0))
			}
			require.NoError(t, s.Write(t.Context(), recs))
			missing := test.missed > 0 || !test.after
			for _, to := range []time.Time{mk.now.Add(3 * time.Second), lost.Add(3 * time.Second)} {
				steps := states(t, s, chstore.BookQuery{Instrument: mk.instrument, From: start, To: to, Every: time.Second})
				found := false
				for _, state := range steps {
					requireBookAt(t, s, mk.instrument, state)
					found = found || state.Missing != nil
				}
				require.Equal(t, missing, found)
				if !missing {
					require.Len(t, steps, int(to.Sub(start)/time.Second))
				}
			}
		})
	}
}

func TestBooksStops(t *testing.T) {
	s, _ := openStore(t, chstore.Config{})
	for _, q := range []chstore.BookQuery{{Every: -1}, {Every: 1}} {
		for _, err := range s.Books(t.Context(), q) {
			require.ErrorIs(t, err, chstore.ErrQuery)
		}
	}
	mk := newMarket(1, marketprism.Spot)
	recs := []marketprism.Record{mk.snapshotRecord(0)}
	mk.run(20, time.Second)
	recs = append(recs, mk.updates(mk.rng, mk.changes, 1, 0)...)
	require.NoError(t, s.Write(t.Context(), recs))
	n := 0
	for _, err := range s.Books(t.Context(), chstore.BookQuery{Instrument: mk.instrument}) {
		require.NoError(t, err)
		if n++; n == 5 {
			break
		}
	}
	require.Equal(t, 5, n)
	require.Empty(t, states(t, s, chstore.BookQuery{Instrument: spot("NONE")}))
}

// Updates that one collector lost come later from another: the book is not synced until then, and synced after.
func TestBooksMended(t *testing.T) {
	short.Skip(t)
	for _, m := range []marketprism.Market{marketprism.Spot, marketprism.USDM} {
		t.Run(string(m), func(t *testing.T) {
			s, _ := openStore(t, chstore.Config{})
			mk := newMarket(6, m)
			recs := []marketprism.Record{mk.snapshotRecord(0)}
			mk.run(30, 100*time.Millisecond)
			updates := mk.updates(mk.rng, mk.changes, 1, 0)
			late := &updates[10]
			late.EventTime = late.EventTime.Add(450 * time.Millisecond)
			late.Update.EventTime = late.EventTime
			require.NoError(t, s.Write(t.Context(), append(recs, updates...)))
			all := states(t, s, chstore.BookQuery{Instrument: mk.instrument})
			var ids []int64
			for i, state := range all {
				if state.Missing == nil {
					ids = append(ids, state.Book.LastID())
				} else {
					require.Equal(t, late.Update.FirstID-1, state.Missing.After)
				}
				if i > 9 && i < 20 {
					requireBookAt(t, s, mk.instrument, state)
				}
			}
			require.Len(t, all, len(ids)+1, "one missing range")
			require.NotContains(t, ids, late.Update.LastID)
			require.Contains(t, ids, late.Update.LastID+4, "the kept ones are applied with it")
			require.Equal(t, mk.id, ids[len(ids)-1])
		})
	}
}

// The venue's ids go back: the book is lost until the next snapshot, and old ids do not disturb it.
func TestBooksRegressed(t *testing.T) {
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
	old := mk.id
	mk.id, mk.changes = 10, nil
	mk.run(5, 100*time.Millisecond)
	recs = append(recs, mk.snapshotRecord(120*time.Millisecond))
	mk.changes = nil
	mk.run(20, 100*time.Millisecond)
	recs = append(recs, mk.updates(mk.rng, mk.changes, 1, 0)...)
	require.NoError(t, s.Write(t.Context(), recs))
	all := states(t, s, chstore.BookQuery{Instrument: mk.instrument})
	var lost int
	for i, state := range all {
		if state.Missing != nil {
			require.Equal(t, old, state.Missing.After)
			lost = i
			continue
		}
		text, _ := state.Book.AppendText(nil)
		require.Equal(t, mk.history[state.Book.LastID()], string(text))
	}
	require.Equal(t, old, all[lost-1].Book.LastID())
	require.EqualValues(t, 15, all[lost+1].Book.LastID())
	require.Equal(t, mk.id, all[len(all)-1].Book.LastID())
	require.Len(t, all, lost+1+1+20)
}
