package bookfeed_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/bookfeed"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

func TestSnapshotsAreAdded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []marketprism.Record
		var refuse error
		s, err := bookfeed.NewSnapshots(sink.Func(func(_ context.Context, recs []marketprism.Record) error {
			if refuse != nil {
				return refuse
			}
			got = nil
			for i := range recs {
				got = append(got, recs[i].Clone())
			}
			return nil
		}), bookfeed.SnapshotsConfig{Every: time.Minute, Levels: 3})
		require.NoError(t, err)
		v := bustest.NewVenue("BTCUSDT", 1)
		write := func(recs ...marketprism.Record) int {
			require.NoError(t, s.Write(t.Context(), recs))
			bustest.RequireEqual(t, recs, got[:len(recs)])
			return len(got) - len(recs)
		}

		require.Zero(t, write(v.Updates(3)...), "the book is not synced")
		require.Zero(t, write(append([]marketprism.Record{v.Snapshot()}, v.Updates(3)...)...))
		time.Sleep(time.Minute)
		require.Zero(t, write(bustest.Trade(1)), "the book has not changed")

		changes := v.Updates(5)
		refuse = errors.New("refused")
		require.ErrorIs(t, s.Write(t.Context(), changes), refuse)
		refuse = nil
		require.Equal(t, 1, write(changes...), "what was refused is added to the next Write")
		added := got[len(got)-1]
		require.Equal(t, v.ID(), added.Snapshot.LastID)
		v.Book.Prune(3)
		want := v.Book.Snapshot()
		require.Equal(t, want.Bids, added.Snapshot.Bids)
		require.Equal(t, want.AskBound, added.Snapshot.AskBound)
		require.True(t, want.AskBound.Limited)

		require.Zero(t, write(v.Updates(1)...), "not again so soon")
		time.Sleep(time.Minute)
		require.Zero(t, write(append(v.Updates(1), v.Gap(v.ID(), orderbook.GapSequence))...), "the book is not synced any more")
	})
}

func TestSnapshotsIsASink(t *testing.T) {
	sinktest.TestSink(t, func(t *testing.T) (sink.Sink, func(*testing.T) []marketprism.Record) {
		got := &sinktest.Recorder{}
		s, err := bookfeed.NewSnapshots(got, bookfeed.SnapshotsConfig{})
		require.NoError(t, err)
		return s, func(*testing.T) []marketprism.Record { return got.Unique() }
	})
}

// An added snapshot that the next sink refuses is left out and reported; the records are written.
func TestSnapshotsLeavesOutRefusedOnes(t *testing.T) {
	v := bustest.NewVenue("BTCUSDT", 1)
	first, changes := v.Snapshot(), v.Updates(5)
	var got sinktest.Recorder
	var refused []marketprism.Record
	s, err := bookfeed.NewSnapshots(sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
		e := &sink.RefusedError{}
		for i := range recs {
			if recs[i].Snapshot != nil && recs[i].Snapshot.LastID > first.Snapshot.LastID {
				e.Records = append(e.Records, sink.Refusal{Index: i, Err: natsbus.ErrTooLarge})
			}
		}
		if len(e.Records) > 0 {
			return e
		}
		return got.Write(ctx, recs)
	}), bookfeed.SnapshotsConfig{Every: time.Nanosecond, Refused: func(i sink.RefusedInfo) {
		require.ErrorIs(t, i.Err, natsbus.ErrTooLarge)
		refused = append(refused, *i.Record)
	}})
	require.NoError(t, err)
	require.NoError(t, s.Write(t.Context(), []marketprism.Record{first}))
	require.NoError(t, s.Write(t.Context(), changes))
	bustest.RequireEqual(t, append([]marketprism.Record{first}, changes...), got.Records())
	require.Len(t, refused, 1)
	require.Equal(t, v.ID(), refused[0].Snapshot.LastID)
}

func TestSnapshotsConfigIsChecked(t *testing.T) {
	_, err := bookfeed.NewSnapshots(&sinktest.Recorder{}, bookfeed.SnapshotsConfig{Every: -1})
	require.ErrorContains(t, err, "Every")
}
