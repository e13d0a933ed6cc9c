package bookfeed_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/bookfeed"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/orderbook"
)

// During an outage of the bus the book is not synced, and nothing is lost.
func TestFeedSurvivesTheBus(t *testing.T) {
	short.Skip(t)
	b := bustest.New(t, natsbus.StreamsConfig{})
	v := bustest.NewVenue("BTCUSDT", 20)
	b.Publish(t, append([]marketprism.Record{v.Snapshot()}, v.Updates(5)...))
	failed := make(chan natsbus.ServerFailedInfo, 1000)
	f := newFollow(t, b, bookfeed.Config{Hooks: &bookfeed.Hooks{
		ServerFailed: func(i natsbus.ServerFailedInfo) { failed <- i },
	}}, v)
	for range 2 {
		f.reach(v)
		bustest.Receive(t, f.synced)
		b.Restart(t)
		b.Publish(t, v.Updates(10))
		lost := bustest.Receive(t, f.lost)
		require.Zero(t, lost.Gap.Reason)
		require.Error(t, bustest.Receive(t, failed).Err)
	}
	f.reach(v)
	require.Empty(t, f.reasons())
}

// The stream is deleted and created again: the updates in between are unknown.
func TestFeedSurvivesANewStream(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	v := bustest.NewVenue("BTCUSDT", 21)
	b.Publish(t, append([]marketprism.Record{v.Snapshot()}, v.Updates(5)...))
	f := newFollow(t, b, bookfeed.Config{}, v)
	f.reach(v)
	bustest.Receive(t, f.synced)
	require.NoError(t, b.JS.DeleteStream(t.Context(), natsbus.BooksStream("")))
	bustest.Receive(t, f.lost)
	require.NoError(t, natsbus.EnsureStreams(t.Context(), b.JS, natsbus.StreamsConfig{}))
	v.Updates(3)
	b.Publish(t, append([]marketprism.Record{v.Snapshot()}, v.Updates(5)...))
	f.reach(v)
	require.Equal(t, []orderbook.GapReason{orderbook.GapDisconnect}, f.reasons())
}

// Snapshots adds snapshots often enough for a feed to join without the first one, and they are correct.
func TestFeedJoinsAtAnAddedSnapshot(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	v := bustest.NewVenue("BTCUSDT", 22)
	dst, err := bookfeed.NewSnapshots(b.Publisher(t, natsbus.PublisherConfig{}), bookfeed.SnapshotsConfig{Every: time.Nanosecond})
	require.NoError(t, err)
	first := v.Snapshot()
	require.NoError(t, dst.Write(t.Context(), []marketprism.Record{first}))
	f := newFollow(t, b, bookfeed.Config{}, v)
	for range 20 {
		require.NoError(t, dst.Write(t.Context(), v.Updates(10)))
	}
	f.reach(v)
	require.Empty(t, f.reasons())
	f.mu.Lock()
	require.NotEmpty(t, f.audits)
	for _, a := range f.audits {
		require.Zero(t, a.Different)
	}
	f.mu.Unlock()

	late := newFollow(t, b, bookfeed.Config{Lookback: -1}, v)
	require.NoError(t, late.Ready(t.Context()))
	late.reach(v)
	status, _ := late.Status(v.Instrument)
	require.Zero(t, status.Sync.Applied)
}

// BenchmarkFeedJoin measures the time from Run until all books are synced, on a stream with thousands of messages of other
// instruments.
func BenchmarkFeedJoin(b *testing.B) {
	bus := bustest.New(b, natsbus.StreamsConfig{})
	var venues []*bustest.Venue
	for i := range 100 {
		v := bustest.NewVenue(fmt.Sprintf("SYM%dUSDT", i), uint64(i))
		venues = append(venues, v)
		bus.Publish(b, append([]marketprism.Record{v.Snapshot()}, v.Updates(200)...))
	}
	for _, n := range []int{1, 10, 100} {
		var instruments []marketprism.Instrument
		for _, v := range venues[:n] {
			instruments = append(instruments, v.Instrument)
		}
		b.Run(fmt.Sprintf("instruments=%d", n), func(b *testing.B) {
			for b.Loop() {
				feed, err := bookfeed.New(bus.JS, bookfeed.Config{Instruments: instruments})
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

// A feed has the correct book after every restart of the leader, whether or not it is connected to it, and after the leader
// stepped down.
func feedOutlivesTheLeader(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	v := bustest.NewVenue("BTCUSDT", 20)
	b.Publish(t, append([]marketprism.Record{v.Snapshot()}, v.Updates(5)...))
	f := newFollow(t, b, bookfeed.Config{}, v)
	for range 2 {
		f.reach(v)
		b.Restart(t)
		b.Publish(t, v.Updates(10))
	}
	for range 3 {
		f.reach(v)
		b.StepDown(t, "MD_DEPTH")
		b.Publish(t, v.Updates(10))
	}
	f.reach(v)
	require.Empty(t, f.reasons())
}

func TestInCluster(t *testing.T) {
	bustest.RunInCluster(t, map[string]func(*testing.T){"feed": feedOutlivesTheLeader})
}

// A snapshot that is not its collector's book is rejected and reported: the feed does not join with it, and a running
// book is lost until the ids or the next snapshot correct it.
func TestFeedVerifiesChecksum(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	v := bustest.NewVenue("BTCUSDT", 11)
	undecodable := make(chan natsbus.UndecodableInfo, 10)
	hooks := &bookfeed.Hooks{Undecodable: func(i natsbus.UndecodableInfo) { undecodable <- i }}
	b.Publish(t, v.Updates(20))
	b.PublishWrong(t, v.Snapshot())
	b.Publish(t, v.Updates(5))

	f := newFollow(t, b, bookfeed.Config{Hooks: hooks}, v)
	bustest.RequireKind(t, (<-undecodable).Err, "checksum")
	require.Eventually(t, func() bool {
		s, _ := f.Status(v.Instrument)
		return s.Sequence == 26 && s.State == orderbook.Buffering
	}, bustest.Patience, bustest.Interval, "it has read all messages and does not join")
	b.Publish(t, []marketprism.Record{v.Snapshot()})
	require.NoError(t, f.Ready(t.Context()))
	f.reach(v)

	b.PublishWrong(t, v.Snapshot())
	bustest.RequireKind(t, (<-undecodable).Err, "checksum")
	lost := <-f.lost
	require.Equal(t, orderbook.GapInvalid, lost.Gap.Reason)
	require.ErrorContains(t, lost.Gap.Err, "checksum")
	b.Publish(t, v.Updates(3))
	f.reach(v)
	require.NoError(t, f.View(v.Instrument, func(book *orderbook.Book, _ bookfeed.Status) {
		require.Equal(t, v.Book.Checksum(), book.Checksum())
	}))
}
