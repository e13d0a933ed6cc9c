package natsbus_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
)

// publishWrong publishes a snapshot of which one quantity is not the collector's any more.
func publishWrong(t *testing.T, b *bus, r marketprism.Record) {
	t.Helper()
	quantity := r.Snapshot.Bids[0].Quantity
	body, err := natsbus.AppendRecord(nil, &r)
	require.NoError(t, err)
	old := []byte(`"` + quantity.String() + `"]`)
	require.True(t, bytes.Contains(body, old))
	body = bytes.Replace(body, old, []byte(`"987"]`), 1)
	_, err = b.js.PublishMsg(t.Context(), &nats.Msg{Subject: natsbus.Subject("", r.Instrument, r.Kind()), Data: body})
	require.NoError(t, err)
}

// A snapshot that is not the book its collector had is never taken: not to join with, and not while the
// book runs, which it ends until the ids or the next snapshot put it right. Both are told.
func TestDepthFeedVerifiesChecksum(t *testing.T) {
	b := newBus(t, natsbus.StreamsConfig{})
	v := newVenue("BTCUSDT", 11)
	told := make(chan natsbus.UndecodableInfo, 10)
	hooks := &natsbus.FeedHooks{Undecodable: func(i natsbus.UndecodableInfo) { told <- i }}
	b.publish(t, v.updates(20))
	publishWrong(t, b, v.snapshot())
	b.publish(t, v.updates(5))

	f := b.follow(t, natsbus.DepthFeedConfig{Hooks: hooks}, v)
	require.ErrorIs(t, (<-told).Err, natsbus.ErrChecksum)
	require.Eventually(t, func() bool {
		s, _ := f.Status(v.instrument)
		return s.Sequence == 26 && s.State == orderbook.Buffering
	}, patience, interval, "it has read all and does not join")
	b.publish(t, []marketprism.Record{v.snapshot()})
	require.NoError(t, f.Ready(t.Context()))
	f.reach(v)

	publishWrong(t, b, v.snapshot())
	require.ErrorIs(t, (<-told).Err, natsbus.ErrChecksum)
	lost := <-f.lost
	require.Equal(t, orderbook.GapInvalid, lost.Gap.Reason)
	require.ErrorContains(t, lost.Gap.Err, "checksum")
	b.publish(t, v.updates(3))
	f.reach(v)
	require.NoError(t, f.View(v.instrument, func(book *orderbook.Book, _ natsbus.Status) {
		require.Equal(t, v.book.Checksum(), book.Checksum())
	}))
}

// A Consumer stops at such a snapshot, or makes it a dead letter.
func TestConsumerRefusesWrongChecksum(t *testing.T) {
	b := newBus(t, natsbus.StreamsConfig{})
	publishWrong(t, b, newVenue("BTCUSDT", 12).snapshot())
	c := b.consumer(t, natsbus.ConsumerConfig{})
	err := c.Run(t.Context(), sink.Func(func(context.Context, []marketprism.Record) error {
		t.Error("it was written")
		return nil
	}))
	require.ErrorIs(t, err, natsbus.ErrChecksum)
}
