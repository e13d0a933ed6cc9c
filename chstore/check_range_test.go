package chstore_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/orderbook"
)

// No update is missing between others, but between the snapshot and the first of them.
func TestCheckFindsAHoleBehindASnapshot(t *testing.T) {
	s := storeOf(t, snapshotOf(100, 0), updateOf(105, 105, 5), updateOf(106, 106, 6))
	r := check(t, s, chstore.CheckQuery{Silence: -1})
	require.Len(t, r.Findings, 1)
	require.Equal(t, chstore.CheckMissingUpdates, r.Findings[0].Check)
	require.Equal(t, "after the snapshot at id 100", r.Findings[0].Detail)
}

// A long range may be checked piece by piece: what lies on a border is found once.
func TestCheckFindsAHoleOnABorder(t *testing.T) {
	trade := func(id int64, at float64) marketprism.Record {
		return marketprism.Record{Instrument: spot("BOOK"), EventTime: secondsOf(at), ReceivedAt: secondsOf(at), Trade: &marketprism.Trade{ID: id, Price: 1, Quantity: 1}}
	}
	s := storeOf(t, snapshotOf(100, 0), updateOf(101, 101, 1), updateOf(102, 102, 2), trade(1, 2), updateOf(110, 110, 12), trade(5, 12), updateOf(111, 111, 13))
	whole := check(t, s, chstore.CheckQuery{Silence: -1})
	require.Len(t, whole.Findings, 2)
	first, second := check(t, s, chstore.CheckQuery{To: secondsOf(10), Silence: -1}), check(t, s, chstore.CheckQuery{From: secondsOf(10), Silence: -1})
	require.Empty(t, first.Findings)
	require.Equal(t, whole.Findings, second.Findings)
	third := check(t, s, chstore.CheckQuery{From: secondsOf(12.5), Silence: -1})
	require.Empty(t, third.Findings)
}

// That others of the market move counts, whichever instruments are looked at.
func TestCheckFindsSilenceOfOne(t *testing.T) {
	trade := func(symbol string, id int64, at float64) marketprism.Record {
		return marketprism.Record{Instrument: spot(symbol), EventTime: secondsOf(at), ReceivedAt: secondsOf(at), Trade: &marketprism.Trade{ID: id, Price: 1, Quantity: 1}}
	}
	s := storeOf(t, trade("A", 1, 0), trade("A", 2, 600), trade("B", 1, 0), trade("B", 2, 100), trade("B", 3, 200), trade("B", 4, 300), trade("B", 5, 600))
	for _, instruments := range [][]marketprism.Instrument{nil, {spot("A")}} {
		r := check(t, s, chstore.CheckQuery{Instruments: instruments})
		require.Contains(t, r.String(), "silence")
		for _, f := range r.Findings {
			require.False(t, len(instruments) > 0 && f.Instrument != spot("A"), "%+v", f)
		}
	}
}

// A side that is known down to a limit, of which all known levels are taken, may have others.
func TestCheckKnowsALimitedSide(t *testing.T) {
	snapshot := snapshotOf(100, 0)
	snapshot.Snapshot.BidBound = orderbook.Bound{Price: levelOf(99, 1).Price, Limited: true}
	update := updateOf(101, 101, 1)
	update.Update.Bids = []orderbook.Level{levelOf(99, 0)}
	r := check(t, storeOf(t, snapshot, update), chstore.CheckQuery{})
	require.True(t, r.OK(), "%s", r.String())
}
