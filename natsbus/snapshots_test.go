package natsbus_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

func TestSnapshotsAreAdded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []marketprism.Record
		var refuse error
		s, err := natsbus.NewSnapshots(sink.Func(func(_ context.Context, recs []marketprism.Record) error {
			if refuse != nil {
				return refuse
			}
			got = nil
			for i := range recs {
				got = append(got, recs[i].Clone())
			}
			return nil
		}), natsbus.SnapshotsConfig{Every: time.Minute, Levels: 3})
		require.NoError(t, err)
		v := newVenue("BTCUSDT", 1)
		write := func(recs ...marketprism.Record) int {
			require.NoError(t, s.Write(t.Context(), recs))
			requireEqual(t, recs, got[:len(recs)])
			return len(got) - len(recs)
		}

		require.Zero(t, write(v.updates(3)...), "the book is not known")
		require.Zero(t, write(append([]marketprism.Record{v.snapshot()}, v.updates(3)...)...))
		time.Sleep(time.Minute)
		require.Zero(t, write(v.record(marketprism.Record{Trade: &marketprism.Trade{ID: 1}})), "the book has not changed")

		changes := v.updates(5)
		refuse = errors.New("refused")
		require.ErrorIs(t, s.Write(t.Context(), changes), refuse)
		refuse = nil
		require.Equal(t, 1, write(changes...), "what was refused is added to the next Write")
		added := got[len(got)-1]
		require.Equal(t, v.id(), added.Snapshot.LastID)
		v.book.Prune(3)
		want := v.book.Snapshot()
		require.Equal(t, want.Bids, added.Snapshot.Bids)
		require.Equal(t, want.AskBound, added.Snapshot.AskBound)
		require.True(t, want.AskBound.Limited)

		require.Zero(t, write(v.updates(1)...), "not again so soon")
		time.Sleep(time.Minute)
		require.Zero(t, write(append(v.updates(1), v.gap(v.id(), orderbook.GapSequence))...), "the book is not known any more")
	})
}

func TestSnapshotsIsASink(t *testing.T) {
	sinktest.TestSink(t, func(t *testing.T) (sink.Sink, func(*testing.T) []marketprism.Record) {
		got := &sinktest.Recorder{}
		s, err := natsbus.NewSnapshots(got, natsbus.SnapshotsConfig{})
		require.NoError(t, err)
		return s, func(*testing.T) []marketprism.Record { return got.Unique() }
	})
}

func TestSnapshotsConfigIsChecked(t *testing.T) {
	_, err := natsbus.NewSnapshots(&sinktest.Recorder{}, natsbus.SnapshotsConfig{Every: -1})
	require.ErrorContains(t, err, "Every")
}

// The bounds of a snapshot go over the bus.
func TestCodecKeepsBounds(t *testing.T) {
	v := newVenue("BTCUSDT", 2)
	want := v.snapshot()
	want.Snapshot.SetLimit(len(want.Snapshot.Bids))
	require.True(t, want.Snapshot.BidBound.Limited)
	body, err := natsbus.AppendRecord(nil, &want)
	require.NoError(t, err)
	var got marketprism.Record
	require.NoError(t, natsbus.DecodeRecord(body, &got))
	require.Equal(t, want.Snapshot.BidBound, got.Snapshot.BidBound)
	require.Equal(t, want.Snapshot.AskBound, got.Snapshot.AskBound)
}
