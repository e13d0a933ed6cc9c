package bookfeed_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/bookfeed"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/orderbook"
)

func TestFeedJoinsARunningStream(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	btc, eth := bustest.NewVenue("BTCUSDT", 1), bustest.NewVenue("币安人生USDT", 2)
	for _, v := range []*bustest.Venue{btc, eth} {
		b.Publish(t, []marketprism.Record{v.Snapshot()})
		b.Publish(t, v.Updates(300))
		b.Publish(t, []marketprism.Record{v.Snapshot()})
		b.Publish(t, v.Updates(20))
	}
	f := newFollow(t, b, bookfeed.Config{}, btc, eth)
	require.NoError(t, f.Ready(t.Context()))
	f.reach(btc)
	f.reach(eth)
	status, ok := f.Status(btc.Instrument)
	require.True(t, ok)
	require.Less(t, status.Sync.Applied, uint64(300), "it begins at the last snapshot")

	for range 20 {
		b.Publish(t, btc.Updates(5))
		b.Publish(t, eth.Updates(1))
	}
	f.reach(btc)
	f.reach(eth)
	require.Empty(t, f.reasons())
	bid, ask, err := f.Best(btc.Instrument)
	require.NoError(t, err)
	require.NoError(t, f.View(btc.Instrument, func(b *orderbook.Book, _ bookfeed.Status) {
		wantBid, _ := b.BestBid()
		wantAsk, _ := b.BestAsk()
		require.Equal(t, [2]orderbook.Level{wantBid, wantAsk}, [2]orderbook.Level{bid, ask})
	}))

	require.NoError(t, f.stop())
	require.Equal(t, []orderbook.GapReason{orderbook.GapDisconnect, orderbook.GapDisconnect}, f.reasons())
	require.ErrorIs(t, f.Ready(t.Context()), bookfeed.ErrStopped)
	require.ErrorIs(t, f.View(btc.Instrument, nil), bookfeed.ErrNotSynced)
	_, _, err = f.Best(btc.Instrument)
	require.ErrorIs(t, err, bookfeed.ErrNotSynced)
	_, ok = f.Status(marketprism.Instrument{})
	require.False(t, ok)
	require.ErrorIs(t, f.View(marketprism.Instrument{}, nil), bookfeed.ErrUnknownInstrument)
}

// A feed that is there first begins with the first snapshot to come.
func TestFeedWaitsForASnapshot(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	v := bustest.NewVenue("BTCUSDT", 3)
	f := newFollow(t, b, bookfeed.Config{}, v)
	require.Eventually(t, func() bool {
		s, _ := f.Status(v.Instrument)
		return s.State == orderbook.Buffering
	}, bustest.Patience, bustest.Interval)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, f.Ready(ctx), "is not synced: buffering, waits for a snapshot: context deadline exceeded")
	b.Publish(t, v.Updates(3))
	b.Publish(t, []marketprism.Record{v.Snapshot()})
	f.reach(v)
	s, _ := f.Status(v.Instrument)
	require.Zero(t, s.Wait)
}

// A feed that cannot read the bus says so.
func TestFeedSaysWhyItIsNotSynced(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	v := bustest.NewVenue("BTCUSDT", 3)
	failed := make(chan natsbus.ServerFailedInfo, 1000)
	require.NoError(t, b.Close())
	f := newFollow(t, b, bookfeed.Config{Hooks: &bookfeed.Hooks{ServerFailed: func(i natsbus.ServerFailedInfo) { failed <- i }}}, v)
	for range 2 {
		bustest.Receive(t, failed)
	}
	s, _ := f.Status(v.Instrument)
	require.Equal(t, marketprism.WaitConnection, s.Wait.For)
	require.Error(t, s.Wait.Err)
	require.ErrorContains(t, f.View(v.Instrument, nil), "is not synced: offline, waits for a connection: nats: ")
	require.NoError(t, f.stop())
	require.ErrorContains(t, f.View(v.Instrument, nil), "is not synced: offline, waits for Run")
}

// Two collectors divide the same changes at different borders, and one is behind the other. Each change is emitted once.
func TestFeedMergesCollectors(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	v := bustest.NewVenue("BTCUSDT", 4)
	first := v.Snapshot()
	b.Publish(t, []marketprism.Record{first})
	changes := v.Updates(40)
	behind := merged(changes, 7)
	b.Publish(t, changes[:20])
	b.Publish(t, []marketprism.Record{behind[0], behind[1]}) // up to 14; the stream has all up to 20
	b.Publish(t, changes[20:])
	// The slower one's snapshot comes after the updates that follow it.
	late := first.Clone()
	late.Snapshot.Bids = slices.Clone(late.Snapshot.Bids[:len(late.Snapshot.Bids)-1])
	late.Snapshot.BidBound = orderbook.Bound{Price: late.Snapshot.Bids[len(late.Snapshot.Bids)-1].Price, Limited: true}
	b.Publish(t, []marketprism.Record{late})
	b.Publish(t, behind[2:])

	f := newFollow(t, b, bookfeed.Config{}, v)
	require.NoError(t, f.Ready(t.Context()))
	for range 30 {
		changes := v.Updates(12)
		b.Publish(t, changes)
		b.Publish(t, merged(changes, 5))
	}
	b.Publish(t, []marketprism.Record{v.Snapshot()}) // it is complete, where the one before was not
	f.reach(v)
	require.Empty(t, f.reasons())
}

// A collector that ends publishes a Gap. The book comes back with the next collector's snapshot.
func TestFeedSurvivesACollectorsEnd(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	v := bustest.NewVenue("BTCUSDT", 5)
	b.Publish(t, append([]marketprism.Record{v.Snapshot()}, v.Updates(5)...))
	f := newFollow(t, b, bookfeed.Config{}, v)
	f.reach(v)
	bustest.Receive(t, f.synced)

	b.Publish(t, []marketprism.Record{v.Gap(v.ID(), orderbook.GapDisconnect)})
	lost := bustest.Receive(t, f.lost)
	require.Equal(t, orderbook.GapDisconnect, lost.Gap.Reason)
	require.Equal(t, v.ID(), lost.Gap.After)
	var missing *bookfeed.NotSyncedError
	require.ErrorAs(t, f.View(v.Instrument, nil), &missing)

	v.Updates(10) // no collector sees these
	b.Publish(t, append([]marketprism.Record{v.Snapshot()}, v.Updates(5)...))
	f.reach(v)
	require.Equal(t, []orderbook.GapReason{orderbook.GapDisconnect}, f.reasons())
}

// A collector is killed and publishes no Gap. The next collector's snapshot shows that, with and without updates after
// it.
func TestFeedSurvivesACollectorsDeath(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		b := bustest.New(t, natsbus.StreamsConfig{})
		v := bustest.NewVenue("BTCUSDT", 6)
		b.Publish(t, append([]marketprism.Record{v.Snapshot()}, v.Updates(5)...))
		f := newFollow(t, b, bookfeed.Config{CatchUp: 50 * time.Millisecond}, v)
		f.reach(v)
		after := v.ID()
		v.Updates(10) // no collector sees these
		b.Publish(t, []marketprism.Record{v.Snapshot()})
		if !quiet {
			b.Publish(t, v.Updates(3))
		}
		f.reach(v)
		require.Equal(t, []orderbook.GapReason{orderbook.GapSequence}, f.reasons())
		lost := bustest.Receive(t, f.lost)
		require.Equal(t, orderbook.GapSequence, lost.Gap.Reason)
		require.Equal(t, after, lost.LastID)
	}
}

// One of two collectors loses the book. The other one's next update proves that nothing is missing, and
// no snapshot is needed.
func TestFeedMendsByIDs(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	v := bustest.NewVenue("BTCUSDT", 7)
	b.Publish(t, append([]marketprism.Record{v.Snapshot()}, v.Updates(5)...))
	f := newFollow(t, b, bookfeed.Config{}, v)
	f.reach(v)
	bustest.Receive(t, f.synced)

	b.Publish(t, []marketprism.Record{v.Gap(v.ID()-2, orderbook.GapOverflow)}) // the book is past that
	b.Publish(t, v.Updates(2))
	f.reach(v)
	require.Empty(t, f.reasons())

	b.Publish(t, []marketprism.Record{v.Gap(v.ID(), orderbook.GapOverflow)})
	require.Equal(t, orderbook.GapOverflow, bustest.Receive(t, f.lost).Gap.Reason)
	b.Publish(t, merged(v.Updates(4), 4))
	f.reach(v)
	require.Equal(t, []orderbook.GapReason{orderbook.GapOverflow}, f.reasons())
}

// The ids of futures have gaps; each update has the id of the one before.
func TestFeedFollowsFutures(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	v := bustest.NewVenue("BTCUSDT", 14).Futures()
	b.Publish(t, append([]marketprism.Record{v.Snapshot()}, v.Updates(20)...))
	f := newFollow(t, b, bookfeed.Config{}, v)
	f.reach(v)
	bustest.Receive(t, f.synced)
	b.Publish(t, []marketprism.Record{v.Gap(v.ID(), orderbook.GapDisconnect)})
	bustest.Receive(t, f.lost)
	changes := v.Updates(12)
	b.Publish(t, changes)
	b.Publish(t, merged(changes, 5))
	f.reach(v)
	v.Updates(1) // no collector sees this
	b.Publish(t, append(v.Updates(2), v.Snapshot()))
	f.reach(v)
	require.Equal(t, []orderbook.GapReason{orderbook.GapDisconnect, orderbook.GapSequence}, f.reasons())
}

// After the ids went back they prove nothing.
func TestFeedFollowsRegressedIDs(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	v := bustest.NewVenue("BTCUSDT", 8)
	b.Publish(t, append([]marketprism.Record{v.Snapshot()}, v.Updates(5)...))
	f := newFollow(t, b, bookfeed.Config{}, v)
	f.reach(v)
	gap := v.Gap(v.ID(), orderbook.GapRegressed)
	back := v.Book.Snapshot()
	back.LastID = 10
	v.Book.Reset(&back)
	v.Updates(1)
	b.Publish(t, append([]marketprism.Record{gap, v.Snapshot()}, v.Updates(5)...))
	f.reach(v)
	require.Equal(t, []orderbook.GapReason{orderbook.GapRegressed}, f.reasons())
}

func TestFeedShowsAMissingRange(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	v := bustest.NewVenue("BTCUSDT", 9)
	b.Publish(t, append([]marketprism.Record{v.Snapshot()}, v.Updates(5)...))
	f := newFollow(t, b, bookfeed.Config{}, v)
	f.reach(v)
	bustest.Receive(t, f.synced)
	after := v.ID()
	v.Updates(3)
	b.Publish(t, v.Updates(4))
	lost := bustest.Receive(t, f.lost)
	require.Equal(t, after, lost.Gap.After)
	var missing *orderbook.SequenceError
	require.ErrorAs(t, lost.Gap.Err, &missing)
	require.Equal(t, after+1, missing.Want)
	b.Publish(t, []marketprism.Record{v.Snapshot()})
	f.reach(v)
}

// A later snapshot of the same id is compared with the book, and corrects it.
func TestFeedAuditsItsBooks(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	v := bustest.NewVenue("BTCUSDT", 10)
	b.Publish(t, append([]marketprism.Record{v.Snapshot()}, v.Updates(5)...))
	f := newFollow(t, b, bookfeed.Config{}, v)
	f.reach(v)
	b.Publish(t, []marketprism.Record{v.Snapshot()})
	b.Publish(t, v.Updates(1))
	f.reach(v)
	wrong := orderbook.Level{Price: 42 * orderbook.One, Quantity: orderbook.One}
	v.Book.Apply(&orderbook.Update{FirstID: v.ID(), LastID: v.ID(), Bids: []orderbook.Level{wrong}})
	b.Publish(t, []marketprism.Record{v.Snapshot()})
	b.Publish(t, v.Updates(1))
	f.reach(v)
	require.Len(t, f.audits, 2)
	require.Zero(t, f.audits[0].Different)
	require.Equal(t, 1, f.audits[1].Different)
	require.Equal(t, wrong.Price, f.audits[1].Differences[0].Price)
	require.Empty(t, f.reasons())
}

// A message that is no record, or one of another instrument than its subject, may have been an update. The ids of the
// next one prove that it was not.
func TestFeedDistrustsWhatItCannotRead(t *testing.T) {
	other := bustest.NewVenue("ETHUSDT", 12).Snapshot()
	foreign, err := natsbus.AppendRecord(nil, &other)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		kind marketprism.Kind
		body []byte
		want error // in the hook's
	}{
		"no record":          {marketprism.KindUpdate, []byte("{}"), nil},
		"another instrument": {marketprism.KindSnapshot, foreign, natsbus.ErrSubject},
	} {
		t.Run(name, func(t *testing.T) {
			b := bustest.New(t, natsbus.StreamsConfig{})
			v := bustest.NewVenue("BTCUSDT", 11)
			b.Publish(t, append([]marketprism.Record{v.Snapshot()}, v.Updates(5)...))
			bad := make(chan natsbus.UndecodableInfo, 1)
			f := newFollow(t, b, bookfeed.Config{Hooks: &bookfeed.Hooks{
				Undecodable: func(i natsbus.UndecodableInfo) { bad <- i },
			}}, v)
			f.reach(v)
			bustest.Receive(t, f.synced)
			_, err := b.JS.Publish(t.Context(), natsbus.Subject("", v.Instrument, c.kind), c.body)
			require.NoError(t, err)
			require.Equal(t, orderbook.GapInvalid, bustest.Receive(t, f.lost).Gap.Reason)
			info := bustest.Receive(t, bad)
			require.Equal(t, uint64(7), info.Sequence)
			require.ErrorAs(t, info.Err, new(*natsbus.CodecError))
			if c.want != nil {
				require.ErrorIs(t, info.Err, c.want)
			}
			b.Publish(t, v.Updates(1))
			f.reach(v)
		})
	}
}

// A message that is no sound record ends the book, whatever is wrong with it, and never gets into it.
func TestFeedRefusesUnsoundMessages(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	for name, v := range map[string]*bustest.Venue{"spot": bustest.NewVenue("BTCUSDT", 11), "futures": bustest.NewVenue("BTCUSDT", 12).Futures()} {
		t.Run(name, func(t *testing.T) {
			unsound := v.Unsound()
			if v.Instrument.Market == marketprism.USDM {
				body := v.Unsound()[0].Body
				body = strings.Replace(strings.Replace(body, `,"prev_last_id":0`, "", 1), "OTHERBTCUSDT", "BTCUSDT", 1)
				unsound = append(unsound, bustest.Unsound{What: "no predecessor", Kind: marketprism.KindUpdate, Body: body})
			}
			b.Publish(t, append([]marketprism.Record{v.Snapshot()}, v.Updates(5)...))
			f := newFollow(t, b, bookfeed.Config{}, v)
			f.reach(v)
			for _, m := range unsound {
				if m.Kind == marketprism.KindTrade || m.Kind == marketprism.KindAggTrade {
					continue // a feed does not read them
				}
				v.PublishUnsound(t, b, m)
				lost := bustest.Receive(t, f.lost)
				require.Equal(t, orderbook.GapInvalid, lost.Gap.Reason, m.What)
				require.ErrorAs(t, lost.Gap.Err, new(*natsbus.CodecError), m.What)
				b.Publish(t, v.Updates(1))
				f.reach(v)
			}
		})
	}
}

func TestFeedStopsOnTheHandlersError(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	v := bustest.NewVenue("BTCUSDT", 12)
	b.Publish(t, []marketprism.Record{v.Snapshot()})
	refused := errors.New("refused")
	feed, err := bookfeed.New(b.JS, bookfeed.Config{
		Instruments: []marketprism.Instrument{v.Instrument},
		Handler:     func(context.Context, *marketprism.Record) error { return refused },
	})
	require.NoError(t, err)
	require.ErrorIs(t, feed.Run(t.Context()), refused)
}

// When Run's context ends, the handler finishes the current record, a record of another book that waits
// for it is handled too, and each book ends with a Gap.
func TestFeedEndsEveryBookWithAGap(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	venues := []*bustest.Venue{bustest.NewVenue("BTCUSDT", 13), bustest.NewVenue("ETHUSDT", 14)}
	cfg := bookfeed.Config{}
	for _, v := range venues {
		b.Publish(t, []marketprism.Record{v.Snapshot()})
		cfg.Instruments = append(cfg.Instruments, v.Instrument)
	}
	entered, release := make(chan struct{}, 10), make(chan struct{})
	gaps := make(map[marketprism.Instrument]int) // the handler runs one call at a time
	cfg.Handler = func(ctx context.Context, rec *marketprism.Record) error {
		switch {
		case rec.Update != nil:
			entered <- struct{}{}
			<-release
		case rec.Gap != nil:
			gaps[rec.Instrument]++
		}
		return ctx.Err()
	}
	feed, err := bookfeed.New(b.JS, cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- feed.Run(ctx) }()
	require.NoError(t, feed.Ready(t.Context()))
	for _, v := range venues {
		b.Publish(t, v.Updates(1))
	}
	bustest.Receive(t, entered)
	for _, v := range venues { // the other book has applied its update, and its record waits
		require.Eventually(t, func() bool {
			s, _ := feed.Status(v.Instrument)
			return s.LastID == v.ID()
		}, bustest.Patience, bustest.Interval)
	}
	cancel()
	close(release)
	require.NoError(t, bustest.Receive(t, done))
	require.Equal(t, map[marketprism.Instrument]int{venues[0].Instrument: 1, venues[1].Instrument: 1}, gaps)
	require.ErrorIs(t, feed.Ready(t.Context()), bookfeed.ErrStopped)
}

// A handler that fails when the books end, here with the error of a context that has ended before, makes Run fail: the error
// counts what was not delivered.
func TestFeedReportsTheHandlersErrorAtTheEnd(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	cfg := bookfeed.Config{Handler: func(_ context.Context, rec *marketprism.Record) error { return ctx.Err() }}
	for i, symbol := range []string{"AUSDT", "BUSDT", "CUSDT"} {
		v := bustest.NewVenue(symbol, uint64(20+i))
		b.Publish(t, []marketprism.Record{v.Snapshot()})
		cfg.Instruments = append(cfg.Instruments, v.Instrument)
	}
	feed, err := bookfeed.New(b.JS, cfg)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- feed.Run(ctx) }()
	require.NoError(t, feed.Ready(t.Context()))
	cancel()
	var failed *marketprism.HandlerError
	require.ErrorAs(t, bustest.Receive(t, done), &failed)
	require.ErrorIs(t, failed, context.Canceled)
	require.Equal(t, 2, failed.Undelivered)
}

func TestFeedConfigIsChecked(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	inst := bustest.NewVenue("BTCUSDT", 13).Instrument
	for want, cfg := range map[string]bookfeed.Config{
		"empty":    {},
		"twice":    {Instruments: []marketprism.Instrument{inst, inst}},
		"prefix":   {Instruments: []marketprism.Instrument{inst}, Prefix: "a.*"},
		"Stream":   {Instruments: []marketprism.Instrument{inst}, Stream: "a.b"},
		"CatchUp":  {Instruments: []marketprism.Instrument{inst}, CatchUp: -1},
		"RetryMin": {Instruments: []marketprism.Instrument{inst}, RetryMin: 2, RetryMax: 1},
	} {
		_, err := bookfeed.New(b.JS, cfg)
		require.ErrorContains(t, err, want)
	}
	feed, err := bookfeed.New(b.JS, bookfeed.Config{Stream: "ABSENT", Instruments: []marketprism.Instrument{inst}})
	require.NoError(t, err)
	var absent *natsbus.StreamError
	require.ErrorAs(t, feed.Run(t.Context()), &absent)
	require.Equal(t, "ABSENT", absent.Stream)
}
