package natsbus_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/orderbook"
)

// The bus goes away and comes back. The state says so meanwhile, and nothing is lost.
func TestDepthFeedSurvivesTheBus(t *testing.T) {
	b := newBus(t, natsbus.StreamsConfig{})
	v := newVenue("BTCUSDT", 20)
	b.publish(t, append([]marketprism.Record{v.snapshot()}, v.updates(5)...))
	failed := make(chan natsbus.FeedFailedInfo, 1000)
	f := b.follow(t, natsbus.DepthFeedConfig{Hooks: &natsbus.FeedHooks{
		ServerFailed: func(i natsbus.FeedFailedInfo) { failed <- i },
	}}, v)
	for range 2 {
		f.reach(v)
		receive(t, f.synced)
		b.restart(t)
		b.publish(t, v.updates(10))
		lost := receive(t, f.lost)
		require.Zero(t, lost.Gap.Reason)
		require.Equal(t, v.instrument, receive(t, failed).Instrument)
	}
	f.reach(v)
	require.Empty(t, f.reasons())
}

// The stream is deleted and made anew: what was between is not known.
func TestDepthFeedSurvivesANewStream(t *testing.T) {
	b := newBus(t, natsbus.StreamsConfig{})
	v := newVenue("BTCUSDT", 21)
	b.publish(t, append([]marketprism.Record{v.snapshot()}, v.updates(5)...))
	f := b.follow(t, natsbus.DepthFeedConfig{}, v)
	f.reach(v)
	receive(t, f.synced)
	require.NoError(t, b.js.DeleteStream(t.Context(), natsbus.BooksStream("")))
	receive(t, f.lost)
	require.NoError(t, natsbus.EnsureStreams(t.Context(), b.js, natsbus.StreamsConfig{}))
	v.updates(3)
	b.publish(t, append([]marketprism.Record{v.snapshot()}, v.updates(5)...))
	f.reach(v)
	require.Equal(t, []orderbook.GapReason{orderbook.GapDisconnect}, f.reasons())
}

// Snapshots adds books often enough for a feed to join without the first one, and they are right.
func TestDepthFeedJoinsAtAnAddedSnapshot(t *testing.T) {
	b := newBus(t, natsbus.StreamsConfig{})
	v := newVenue("BTCUSDT", 22)
	dst, err := natsbus.NewSnapshots(b.publisher(t, natsbus.PublisherConfig{}), natsbus.SnapshotsConfig{Every: time.Nanosecond})
	require.NoError(t, err)
	first := v.snapshot()
	require.NoError(t, dst.Write(t.Context(), []marketprism.Record{first}))
	f := b.follow(t, natsbus.DepthFeedConfig{}, v)
	for range 20 {
		require.NoError(t, dst.Write(t.Context(), v.updates(10)))
	}
	f.reach(v)
	require.Empty(t, f.reasons())
	f.mu.Lock()
	require.NotEmpty(t, f.audits)
	for _, a := range f.audits {
		require.Zero(t, a.Different)
	}
	f.mu.Unlock()

	late := b.follow(t, natsbus.DepthFeedConfig{Lookback: -1}, v)
	require.NoError(t, late.Ready(t.Context()))
	late.reach(v)
	status, _ := late.Status(v.instrument)
	require.Zero(t, status.Sync.Applied)
}

// BenchmarkDepthFeedJoin measures the time from Run until all books are known, on a stream of some
// thousand messages of other instruments.
func BenchmarkDepthFeedJoin(b *testing.B) {
	bus := newBus(b, natsbus.StreamsConfig{})
	var venues []*venue
	for i := range 100 {
		v := newVenue(fmt.Sprintf("SYM%dUSDT", i), uint64(i))
		venues = append(venues, v)
		bus.publish(b, append([]marketprism.Record{v.snapshot()}, v.updates(200)...))
	}
	for _, n := range []int{1, 10, 100} {
		var instruments []marketprism.Instrument
		for _, v := range venues[:n] {
			instruments = append(instruments, v.instrument)
		}
		b.Run(fmt.Sprintf("instruments=%d", n), func(b *testing.B) {
			for b.Loop() {
				feed, err := natsbus.NewDepthFeed(bus.js, natsbus.DepthFeedConfig{Instruments: instruments})
				require.NoError(b, err)
				ctx, cancel := context.WithCancel(b.Context())
				done := make(chan error, 1)
				go func() { done <- feed.Run(ctx) }()
				require.NoError(b, feed.Ready(b.Context()))
				cancel()
				<-done
			}
		})
	}
}
