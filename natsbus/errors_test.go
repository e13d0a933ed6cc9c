package natsbus_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/natsserver/natstest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/deadletter"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// limited returns a bus whose account may store 200 kB, and a function that makes room for what fill has stored.
func limited(t *testing.T) (b *bustest.Bus, fill, makeRoom func()) {
	t.Helper()
	s := secured(t, `accounts { A {
		jetstream { max_mem: 10MB, max_file: 200KB, max_streams: 20, max_consumers: 50 }
		users [ { user: me, password: secret } ]
	} }`)
	js := natstest.JetStream(t, s, append(natsbus.Options(), nats.UserInfo("me", "secret"))...)
	b = &bustest.Bus{Server: s, JS: js}
	all := natsbus.StreamConfig{MaxBytes: -1}
	require.NoError(t, natsbus.EnsureStreams(t.Context(), js, natsbus.StreamsConfig{
		Books: all, Trades: all, DeadLetters: all, Redrive: all, Advisories: all, Heartbeats: natsbus.StreamConfig{MaxBytes: 1 << 20},
	}))
	fill = func() {
		_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "FILL", Subjects: []string{"fill"}})
		require.NoError(t, err)
		for size := 128 << 10; size > 0; size /= 2 {
			for err == nil {
				_, err = js.Publish(t.Context(), "fill", make([]byte, size))
			}
			require.ErrorContains(t, err, "resource limits exceeded for account")
			err = nil
		}
	}
	return b, fill, func() { require.NoError(t, js.DeleteStream(t.Context(), "FILL")) }
}

// An account at its limit is full, as a stream is, for records, dead letters and the letters of advisories: all wait for
// room.
func TestAccountAtItsLimit(t *testing.T) {
	short.Skip(t)
	b, fill, makeRoom := limited(t)
	recs := bustest.Updates(3)
	b.Publish(t, recs[:2])
	_, err := b.JS.Publish(t.Context(), natsbus.Subject("", bustest.BTC, marketprism.KindUpdate), []byte("garbage"))
	require.NoError(t, err)
	other, err := b.JS.CreateConsumer(t.Context(), "MD_DEPTH", jetstream.ConsumerConfig{Durable: "other", AckPolicy: jetstream.AckExplicitPolicy})
	require.NoError(t, err)
	fetched, err := other.Fetch(1, jetstream.FetchMaxWait(bustest.Patience))
	require.NoError(t, err)
	require.NoError(t, (<-fetched.Messages()).TermWithReason("mine"))
	require.Eventually(t, func() bool { return b.Messages(t, "MD_ADVISORY") == 1 }, bustest.Patience, bustest.Interval)
	fill()

	p := b.Publisher(t, natsbus.PublisherConfig{MaxAttempts: 1})
	require.ErrorIs(t, p.Write(t.Context(), recs[2:]), natsbus.ErrStreamFull)
	require.EqualValues(t, 1, p.Stats().Failures.StreamFull)
	var got sinktest.Recorder
	failed := make(chan natsbus.RetryInfo, 1000)
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true, Hooks: &natsbus.Hooks{
		DeadLetterFailed: func(i natsbus.RetryInfo) { failed <- i },
	}})
	stop := bustest.Run(t, c, &got)
	w, err := deadletter.NewAdvisoryWatch(b.JS, deadletter.AdvisoryConfig{RetryMin: time.Millisecond, RetryMax: 20 * time.Millisecond})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan error, 1)
	go func() { watched <- w.Run(ctx) }()
	for range 2 {
		require.ErrorIs(t, bustest.Receive(t, failed).Err, natsbus.ErrStreamFull)
	}
	require.Eventually(t, func() bool { return w.Stats().ServerFailures > 1 }, bustest.Patience, bustest.Interval)

	makeRoom()
	require.NoError(t, b.Publisher(t, natsbus.PublisherConfig{}).Write(t.Context(), recs[2:]))
	require.Eventually(t, func() bool { return b.Messages(t, "MD_DLQ") == 2 }, bustest.Patience, bustest.Interval)
	bustest.RequireEqual(t, recs, bustest.Await(t, &got, len(recs)))
	bustest.Settled(t, c, len(recs)+1)
	require.NoError(t, stop())
	cancel()
	require.NoError(t, <-watched)
}

// A stream that reserves more than the account may store is not made.
func TestAccountWithoutRoomForAStream(t *testing.T) {
	b, _, _ := limited(t)
	err := natsbus.EnsureStreams(t.Context(), b.JS, natsbus.StreamsConfig{Prefix: "other"})
	require.ErrorIs(t, err, natsbus.ErrStorage)
}
