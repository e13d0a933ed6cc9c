package natsbus_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/orderbook"
)

func TestDepthFeedJoinsARunningStream(t *testing.T) {
	b := newBus(t, natsbus.StreamsConfig{})
	btc, eth := newVenue("BTCUSDT", 1), newVenue("币安人生USDT", 2)
	for _, v := range []*venue{btc, eth} {
		b.publish(t, []marketprism.Record{v.snapshot()})
		b.publish(t, v.updates(300))
		b.publish(t, []marketprism.Record{v.snapshot()})
		b.publish(t, v.updates(20))
	}
	f := b.follow(t, natsbus.DepthFeedConfig{}, btc, eth)
	require.NoError(t, f.Ready(t.Context()))
	f.reach(btc)
	f.reach(eth)
	status, ok := f.Status(btc.instrument)
	require.True(t, ok)
	require.Less(t, status.Sync.Applied, uint64(300), "it begins at the last snapshot")

	for range 20 {
		b.publish(t, btc.updates(5))
		b.publish(t, eth.updates(1))
	}
	f.reach(btc)
	f.reach(eth)
	require.Empty(t, f.reasons())

	require.ErrorIs(t, f.stop(), context.Canceled)
	require.Equal(t, []orderbook.GapReason{orderbook.GapDisconnect, orderbook.GapDisconnect}, f.reasons())
	require.ErrorIs(t, f.Ready(t.Context()), natsbus.ErrStopped)
	require.ErrorIs(t, f.View(btc.instrument, nil), natsbus.ErrNotSynced)
	_, ok = f.Status(marketprism.Instrument{})
	require.False(t, ok)
	require.ErrorIs(t, f.View(marketprism.Instrument{}, nil), natsbus.ErrUnknownInstrument)
}

// A feed that is there first takes the first snapshot that comes.
func TestDepthFeedWaitsForASnapshot(t *testing.T) {
	b := newBus(t, natsbus.StreamsConfig{})
	v := newVenue("BTCUSDT", 3)
	f := b.follow(t, natsbus.DepthFeedConfig{}, v)
	require.Eventually(t, func() bool {
		s, _ := f.Status(v.instrument)
		return s.State == orderbook.Buffering
	}, patience, interval)
	b.publish(t, v.updates(3))
	b.publish(t, []marketprism.Record{v.snapshot()})
	f.reach(v)
}

// Two collectors cut the same changes at different borders, and one is behind the other. Each change is
// shown once.
func TestDepthFeedMergesCollectors(t *testing.T) {
	b := newBus(t, natsbus.StreamsConfig{})
	v := newVenue("BTCUSDT", 4)
	first := v.snapshot()
	b.publish(t, []marketprism.Record{first})
	changes := v.updates(40)
	behind := merged(changes, 7)
	b.publish(t, changes[:20])
	b.publish(t, []marketprism.Record{behind[0], behind[1]}) // up to 14 of what is there up to 20
	b.publish(t, changes[20:])
	// The slower one's snapshot comes behind the updates that follow it.
	late := first.Clone()
	late.Snapshot.Bids = slices.Clone(late.Snapshot.Bids[:len(late.Snapshot.Bids)-1])
	late.Snapshot.BidBound = orderbook.Bound{Price: late.Snapshot.Bids[len(late.Snapshot.Bids)-1].Price, Limited: true}
	b.publish(t, []marketprism.Record{late})
	b.publish(t, behind[2:])

	f := b.follow(t, natsbus.DepthFeedConfig{}, v)
	require.NoError(t, f.Ready(t.Context()))
	for range 30 {
		changes := v.updates(12)
		b.publish(t, changes)
		b.publish(t, merged(changes, 5))
	}
	b.publish(t, []marketprism.Record{v.snapshot()}) // it is complete, where the one before was not
	f.reach(v)
	require.Empty(t, f.reasons())
}

// A collector that ends says so. The book comes back with the next one's snapshot.
func TestDepthFeedSurvivesACollectorsEnd(t *testing.T) {
	b := newBus(t, natsbus.StreamsConfig{})
	v := newVenue("BTCUSDT", 5)
	b.publish(t, append([]marketprism.Record{v.snapshot()}, v.updates(5)...))
	f := b.follow(t, natsbus.DepthFeedConfig{}, v)
	f.reach(v)
	receive(t, f.synced)

	b.publish(t, []marketprism.Record{v.gap(v.id(), orderbook.GapDisconnect)})
	lost := receive(t, f.lost)
	require.Equal(t, orderbook.GapDisconnect, lost.Gap.Reason)
	require.Equal(t, v.id(), lost.Gap.After)
	var missing *natsbus.NotSyncedError
	require.ErrorAs(t, f.View(v.instrument, nil), &missing)

	v.updates(10) // nobody sees these
	b.publish(t, append([]marketprism.Record{v.snapshot()}, v.updates(5)...))
	f.reach(v)
	require.Equal(t, []orderbook.GapReason{orderbook.GapDisconnect}, f.reasons())
}

// A collector is killed and says nothing. The next one's snapshot shows it, with and without updates
// behind it.
func TestDepthFeedSurvivesACollectorsDeath(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		b := newBus(t, natsbus.StreamsConfig{})
		v := newVenue("BTCUSDT", 6)
		b.publish(t, append([]marketprism.Record{v.snapshot()}, v.updates(5)...))
		f := b.follow(t, natsbus.DepthFeedConfig{CatchUp: 50 * time.Millisecond}, v)
		f.reach(v)
		v.updates(10) // nobody sees these
		b.publish(t, []marketprism.Record{v.snapshot()})
		if !quiet {
			b.publish(t, v.updates(3))
		}
		f.reach(v)
		require.Equal(t, []orderbook.GapReason{orderbook.GapSequence}, f.reasons())
	}
}

// One of two collectors loses the book. The other one's next update proves that nothing is missing, and
// no snapshot is needed.
func TestDepthFeedMendsByIDs(t *testing.T) {
	b := newBus(t, natsbus.StreamsConfig{})
	v := newVenue("BTCUSDT", 7)
	b.publish(t, append([]marketprism.Record{v.snapshot()}, v.updates(5)...))
	f := b.follow(t, natsbus.DepthFeedConfig{}, v)
	f.reach(v)
	receive(t, f.synced)

	b.publish(t, []marketprism.Record{v.gap(v.id()-2, orderbook.GapOverflow)}) // the book is past that
	b.publish(t, v.updates(2))
	f.reach(v)
	require.Empty(t, f.reasons())

	b.publish(t, []marketprism.Record{v.gap(v.id(), orderbook.GapOverflow)})
	require.Equal(t, orderbook.GapOverflow, receive(t, f.lost).Gap.Reason)
	b.publish(t, merged(v.updates(4), 4))
	f.reach(v)
	require.Equal(t, []orderbook.GapReason{orderbook.GapOverflow}, f.reasons())
}

// The ids of futures jump; updates are linked by the id of the one before.
func TestDepthFeedFollowsFutures(t *testing.T) {
	b := newBus(t, natsbus.StreamsConfig{})
	v := newVenue("BTCUSDT", 14).futures()
	b.publish(t, append([]marketprism.Record{v.snapshot()}, v.updates(20)...))
	f := b.follow(t, natsbus.DepthFeedConfig{}, v)
	f.reach(v)
	receive(t, f.synced)
	b.publish(t, []marketprism.Record{v.gap(v.id(), orderbook.GapDisconnect)})
	receive(t, f.lost)
	changes := v.updates(12)
	b.publish(t, changes)
	b.publish(t, merged(changes, 5))
	f.reach(v)
	v.updates(1) // nobody sees this
	b.publish(t, append(v.updates(2), v.snapshot()))
	f.reach(v)
	require.Equal(t, []orderbook.GapReason{orderbook.GapDisconnect, orderbook.GapSequence}, f.reasons())
}

// After ids went back they prove nothing.
func TestDepthFeedFollowsRegressedIDs(t *testing.T) {
	b := newBus(t, natsbus.StreamsConfig{})
	v := newVenue("BTCUSDT", 8)
	b.publish(t, append([]marketprism.Record{v.snapshot()}, v.updates(5)...))
	f := b.follow(t, natsbus.DepthFeedConfig{}, v)
	f.reach(v)
	gap := v.gap(v.id(), orderbook.GapRegressed)
	back := v.book.Snapshot()
	back.LastID = 10
	v.book.Reset(&back)
	v.updates(1)
	b.publish(t, append([]marketprism.Record{gap, v.snapshot()}, v.updates(5)...))
	f.reach(v)
	require.Equal(t, []orderbook.GapReason{orderbook.GapRegressed}, f.reasons())
}

func TestDepthFeedShowsAMissingRange(t *testing.T) {
	b := newBus(t, natsbus.StreamsConfig{})
	v := newVenue("BTCUSDT", 9)
	b.publish(t, append([]marketprism.Record{v.snapshot()}, v.updates(5)...))
	f := b.follow(t, natsbus.DepthFeedConfig{}, v)
	f.reach(v)
	receive(t, f.synced)
	after := v.id()
	v.updates(3)
	b.publish(t, v.updates(4))
	lost := receive(t, f.lost)
	require.Equal(t, after, lost.Gap.After)
	var missing *orderbook.SequenceError
	require.ErrorAs(t, lost.Gap.Err, &missing)
	require.Equal(t, after+1, missing.Want)
	b.publish(t, []marketprism.Record{v.snapshot()})
	f.reach(v)
}

// A later snapshot of the same id is compared with the book, and corrects it.
func TestDepthFeedAuditsItsBooks(t *testing.T) {
	b := newBus(t, natsbus.StreamsConfig{})
	v := newVenue("BTCUSDT", 10)
	b.publish(t, append([]marketprism.Record{v.snapshot()}, v.updates(5)...))
	f := b.follow(t, natsbus.DepthFeedConfig{}, v)
	f.reach(v)
	b.publish(t, []marketprism.Record{v.snapshot()})
	b.publish(t, v.updates(1))
	f.reach(v)
	wrong := orderbook.Level{Price: 42 * orderbook.One, Quantity: orderbook.One}
	v.book.Apply(&orderbook.Update{FirstID: v.id(), LastID: v.id(), Bids: []orderbook.Level{wrong}})
	b.publish(t, []marketprism.Record{v.snapshot()})
	b.publish(t, v.updates(1))
	f.reach(v)
	require.Len(t, f.audits, 2)
	require.Zero(t, f.audits[0].Different)
	require.Equal(t, 1, f.audits[1].Different)
	require.Equal(t, wrong.Price, f.audits[1].Differences[0].Price)
	require.Empty(t, f.reasons())
}

// A message that is no record may have been an update. The next one's ids tell that it was not.
func TestDepthFeedDistrustsWhatItCannotRead(t *testing.T) {
	b := newBus(t, natsbus.StreamsConfig{})
	v := newVenue("BTCUSDT", 11)
	b.publish(t, append([]marketprism.Record{v.snapshot()}, v.updates(5)...))
	bad := make(chan natsbus.UndecodableInfo, 1)
	f := b.follow(t, natsbus.DepthFeedConfig{Hooks: &natsbus.FeedHooks{
		Undecodable: func(i natsbus.UndecodableInfo) { bad <- i },
	}}, v)
	f.reach(v)
	receive(t, f.synced)
	_, err := b.js.Publish(t.Context(), natsbus.Subject("", v.instrument, marketprism.KindUpdate), []byte("{}"))
	require.NoError(t, err)
	require.Equal(t, orderbook.GapInvalid, receive(t, f.lost).Gap.Reason)
	require.Equal(t, uint64(7), receive(t, bad).Sequence)
	b.publish(t, v.updates(1))
	f.reach(v)
}

func TestDepthFeedStopsOnTheHandlersError(t *testing.T) {
	b := newBus(t, natsbus.StreamsConfig{})
	v := newVenue("BTCUSDT", 12)
	b.publish(t, []marketprism.Record{v.snapshot()})
	refused := errors.New("refused")
	feed, err := natsbus.NewDepthFeed(b.js, natsbus.DepthFeedConfig{
		Instruments: []marketprism.Instrument{v.instrument},
		Handler:     func(context.Context, *marketprism.Record) error { return refused },
	})
	require.NoError(t, err)
	require.ErrorIs(t, feed.Run(t.Context()), refused)
}

func TestDepthFeedConfigIsChecked(t *testing.T) {
	b := newBus(t, natsbus.StreamsConfig{})
	inst := newVenue("BTCUSDT", 13).instrument
	for want, cfg := range map[string]natsbus.DepthFeedConfig{
		"empty":    {},
		"twice":    {Instruments: []marketprism.Instrument{inst, inst}},
		"prefix":   {Instruments: []marketprism.Instrument{inst}, Prefix: "a.*"},
		"Stream":   {Instruments: []marketprism.Instrument{inst}, Stream: "a.b"},
		"CatchUp":  {Instruments: []marketprism.Instrument{inst}, CatchUp: -1},
		"RetryMin": {Instruments: []marketprism.Instrument{inst}, RetryMin: 2, RetryMax: 1},
	} {
		_, err := natsbus.NewDepthFeed(b.js, cfg)
		require.ErrorContains(t, err, want)
	}
	feed, err := natsbus.NewDepthFeed(b.js, natsbus.DepthFeedConfig{Stream: "ABSENT", Instruments: []marketprism.Instrument{inst}})
	require.NoError(t, err)
	var absent *natsbus.StreamError
	require.ErrorAs(t, feed.Run(t.Context()), &absent)
	require.Equal(t, "ABSENT", absent.Stream)
}
