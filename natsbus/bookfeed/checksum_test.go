package bookfeed_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/bookfeed"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/orderbook"
)

// A snapshot that is not the book its collector had is never taken: not to join with, and not while the
// book runs, which it ends until the ids or the next snapshot put it right. Both are told.
func TestFeedVerifiesChecksum(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	v := bustest.NewVenue("BTCUSDT", 11)
	told := make(chan natsbus.UndecodableInfo, 10)
	hooks := &bookfeed.Hooks{Undecodable: func(i natsbus.UndecodableInfo) { told <- i }}
	b.Publish(t, v.Updates(20))
	b.PublishWrong(t, v.Snapshot())
	b.Publish(t, v.Updates(5))

	f := newFollow(t, b, bookfeed.Config{Hooks: hooks}, v)
	bustest.RequireKind(t, (<-told).Err, "checksum")
	require.Eventually(t, func() bool {
		s, _ := f.Status(v.Instrument)
		return s.Sequence == 26 && s.State == orderbook.Buffering
	}, bustest.Patience, bustest.Interval, "it has read all and does not join")
	b.Publish(t, []marketprism.Record{v.Snapshot()})
	require.NoError(t, f.Ready(t.Context()))
	f.reach(v)

	b.PublishWrong(t, v.Snapshot())
	bustest.RequireKind(t, (<-told).Err, "checksum")
	lost := <-f.lost
	require.Equal(t, orderbook.GapInvalid, lost.Gap.Reason)
	require.ErrorContains(t, lost.Gap.Err, "checksum")
	b.Publish(t, v.Updates(3))
	f.reach(v)
	require.NoError(t, f.View(v.Instrument, func(book *orderbook.Book, _ bookfeed.Status) {
		require.Equal(t, v.Book.Checksum(), book.Checksum())
	}))
}
