package deadletter_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/deadletter"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// next fetches one message of another program's durable; nil if there is none.
func next(t *testing.T, durable jetstream.Consumer, wait time.Duration) jetstream.Msg {
	t.Helper()
	fetched, err := durable.Fetch(1, jetstream.FetchMaxWait(wait))
	require.NoError(t, err)
	return <-fetched.Messages()
}

// watch runs an AdvisoryWatch until the test ends.
func watch(t *testing.T, b *bustest.Bus) *deadletter.AdvisoryWatch {
	t.Helper()
	w, err := deadletter.NewAdvisoryWatch(b.JS, deadletter.AdvisoryConfig{RetryMin: time.Millisecond, RetryMax: 20 * time.Millisecond})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return w
}

// A message that the server gives up for another program becomes a dead letter, with body and headers, even if the watch
// was not running and the stream of dead letters did not exist at the time.
func TestGivenUpMessagesBecomeDeadLetters(t *testing.T) {
	short.Skip(t)
	b := bustest.New(t, natsbus.StreamsConfig{})
	body := publishTraced(t, b, bustest.Update(1))
	b.Publish(t, bustest.Updates(3)[1:])
	other, err := b.JS.CreateConsumer(t.Context(), "MD_DEPTH", jetstream.ConsumerConfig{
		Durable: "other", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 2, MaxAckPending: 1,
	})
	require.NoError(t, err)
	for range 2 {
		require.NoError(t, next(t, other, bustest.Patience).Nak())
	}
	second := next(t, other, bustest.Patience) // the first is skipped
	require.NoError(t, second.TermWithReason("bad day"))
	require.NoError(t, b.JS.DeleteStream(t.Context(), "MD_DLQ"))

	w := watch(t, b)
	require.Eventually(t, func() bool { return w.Stats().ServerFailures > 0 }, bustest.Patience, bustest.Interval)
	require.NoError(t, natsbus.EnsureStreams(t.Context(), b.JS, natsbus.StreamsConfig{}))
	require.Eventually(t, func() bool { return w.Stats().Advisories == 2 }, bustest.Patience, bustest.Interval)
	byReason := make(map[natsbus.DeadReason]*deadletter.Letter)
	for _, l := range b.Letters(t, deadletter.Filter{Consumer: "other"}) {
		byReason[l.Reason] = l
	}
	require.Len(t, byReason, 2)

	l := byReason[deadletter.MaxDeliveries]
	require.NotNil(t, l)
	require.EqualValues(t, 1, l.StreamSequence)
	require.EqualValues(t, 2, l.Deliveries)
	require.Equal(t, "deliver", l.Stage)
	require.Equal(t, "md.binance.spot.depth.BTCUSDT", l.Subject)
	require.Equal(t, body, l.Body)
	require.Len(t, l.Header, 3)
	require.Equal(t, "a=b", l.Header["tracestate"][0])

	l = byReason[deadletter.Terminated]
	require.NotNil(t, l)
	require.EqualValues(t, 2, l.StreamSequence)
	require.Contains(t, l.Error, "bad day")

	require.NotNil(t, next(t, other, bustest.Patience), "the stream goes on behind them")
}

// The termination of a message that is a dead letter already makes no second one, and a message that is no advisory is
// counted and skipped.
func TestSettledAdvisoriesAreOnlyCounted(t *testing.T) {
	short.Skip(t)
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs := bustest.Updates(3)
	var got sinktest.Recorder
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true})
	bustest.Run(t, c, bustest.NewPicky(&got, recs[1]))
	b.Publish(t, recs)
	bustest.Settled(t, c, 3)
	for _, text := range []string{"?", "{}"} {
		_, err := b.JS.Publish(t.Context(), "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.MD_DEPTH.x", []byte(text))
		require.NoError(t, err)
	}
	// The message is gone, and the letter says so.
	_, err := b.JS.Publish(t.Context(), "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.MD_DEPTH.x",
		[]byte(`{"stream":"MD_DEPTH","consumer":"x","stream_seq":99,"deliveries":7}`))
	require.NoError(t, err)
	w := watch(t, b)
	require.Eventually(t, func() bool { return w.Stats().Advisories == 4 }, bustest.Patience, bustest.Interval)
	require.Equal(t, deadletter.AdvisoryStats{Advisories: 4, Settled: 1, Malformed: 2, DeadLettered: 1}, w.Stats())
	letters := b.Letters(t, deadletter.Filter{})
	require.Len(t, letters, 2)
	require.Contains(t, letters[1].Error, "gone")
	require.EqualValues(t, 99, letters[1].StreamSequence)
}

// advise publishes an advisory that a message was delivered too often, as of some time.
func advise(t *testing.T, b *bustest.Bus, sequence int, at time.Time) {
	t.Helper()
	_, err := b.JS.Publish(t.Context(), "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.MD_DEPTH.other",
		fmt.Appendf(nil, `{"timestamp":%q,"stream":"MD_DEPTH","consumer":"other","stream_seq":%d,"deliveries":3}`,
			at.UTC().Format(time.RFC3339Nano), sequence))
	require.NoError(t, err)
}

// An advisory that is older than its stream is about one that was deleted and created again: the message at that
// sequence, which may come later, is not the one that was given up, and its letter is another one.
func TestAdvisoryOfAFormerStream(t *testing.T) {
	short.Skip(t)
	b := bustest.New(t, natsbus.StreamsConfig{})
	b.Publish(t, bustest.Updates(1))
	w := watch(t, b)
	for sequence := range 2 { // the second is not there yet
		advise(t, b, sequence+1, time.Unix(1_577_836_800, 0))
	}
	require.Eventually(t, func() bool { return b.Messages(t, "MD_DLQ") == 2 }, bustest.Patience, bustest.Interval)
	for _, former := range b.Letters(t, deadletter.Filter{}) {
		require.Equal(t, "gone", former.Subject)
		require.Empty(t, former.Body)
		require.Equal(t, -1, former.BodySize)
	}

	b.Publish(t, bustest.Updates(2)[1:])
	for sequence := range 2 {
		advise(t, b, sequence+1, time.Now())
	}
	require.Eventually(t, func() bool { return w.Stats().Advisories == 4 }, bustest.Patience, bustest.Interval)
	letters := b.Letters(t, deadletter.Filter{})
	require.Len(t, letters, 4)
	for _, present := range letters[2:] {
		require.Equal(t, "md.binance.spot.depth.BTCUSDT", present.Subject)
		require.NotEmpty(t, present.Body)
	}
}

// A message that is given up again, after its letter was purged, is a letter again; one whose letter is there is not.
func TestMessageGivenUpAgain(t *testing.T) {
	short.Skip(t)
	b := bustest.New(t, natsbus.StreamsConfig{})
	b.Publish(t, bustest.Updates(1))
	w := watch(t, b)
	for n := range uint64(3) {
		for range 2 {
			advise(t, b, 1, time.Now())
		}
		require.Eventually(t, func() bool { return w.Stats().Advisories == 2*(n+1) }, bustest.Patience, bustest.Interval)
		require.Equal(t, n+1, w.Stats().Settled)
		purged, err := b.DeadLetters().Purge(t.Context(), deadletter.Filter{})
		require.NoError(t, err)
		require.Equal(t, 1, purged)
	}
}

// A stream of advisories that is full of those that were read takes new ones: the server does not repeat an advisory that
// was refused.
func TestFullAdvisories(t *testing.T) {
	short.Skip(t)
	b := bustest.New(t, natsbus.StreamsConfig{Advisories: natsbus.StreamConfig{MaxBytes: 4000}})
	b.Publish(t, bustest.Updates(1))
	w := watch(t, b)
	defer func() { require.Zero(t, w.Stats().Missed) }()
	subject := "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.MD_DEPTH.test"
	for n := range uint64(40) {
		require.NoError(t, b.JS.Conn().Publish(subject, []byte(`{"stream":"MD_DEPTH","consumer":"test","stream_seq":1,"reason":"dlq:refused"}`)))
		require.Eventually(t, func() bool { return w.Stats().Settled == n+1 }, bustest.Patience, bustest.Interval)
	}
	other, err := b.JS.CreateConsumer(t.Context(), "MD_DEPTH", jetstream.ConsumerConfig{Durable: "other", AckPolicy: jetstream.AckExplicitPolicy})
	require.NoError(t, err)
	require.NoError(t, next(t, other, bustest.Patience).TermWithReason("bad day"))
	require.Eventually(t, func() bool { return w.Stats().DeadLettered == 1 }, bustest.Patience, bustest.Interval)
}

// Advisories that their stream dropped before the watch has read them are counted and reported.
func TestMissedAdvisories(t *testing.T) {
	short.Skip(t)
	b := bustest.New(t, natsbus.StreamsConfig{Advisories: natsbus.StreamConfig{MaxBytes: 4000, Uncompressed: true}})
	const n = 60
	dropped := make(chan natsbus.UndecodableInfo, 10)
	w, err := deadletter.NewAdvisoryWatch(b.JS, deadletter.AdvisoryConfig{Hooks: &deadletter.Hooks{
		Undecodable: func(i natsbus.UndecodableInfo) { dropped <- i },
	}})
	require.NoError(t, err)
	run := func(until func() bool) {
		t.Helper()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		require.Eventually(t, until, bustest.Patience, bustest.Interval)
		cancel()
		require.NoError(t, <-done)
	}
	advise := func() {
		_, err := b.JS.Publish(t.Context(), "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.MD_DEPTH.test",
			[]byte(`{"stream":"MD_DEPTH","consumer":"test","stream_seq":1,"reason":"dlq:refused"}`))
		require.NoError(t, err)
	}
	advise()
	run(func() bool { return w.Stats().Settled == 1 })
	require.Zero(t, w.Stats().Missed)
	for range n {
		advise()
	}
	run(func() bool { return w.Stats().Missed+w.Stats().Settled == 1+n })
	stats := w.Stats()
	require.Positive(t, stats.Missed)
	info := bustest.Receive(t, dropped)
	require.Equal(t, 1+stats.Missed, info.Sequence)
	run(func() bool { return b.Unacked(t, deadletter.AdvisoriesStream(""), "dead-letters") == 0 })
	require.Equal(t, stats, w.Stats())
	require.Empty(t, dropped)
}

func TestAdvisoryWatchWithoutStream(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	require.NoError(t, b.JS.DeleteStream(t.Context(), deadletter.AdvisoriesStream("")))
	w, err := deadletter.NewAdvisoryWatch(b.JS, deadletter.AdvisoryConfig{})
	require.NoError(t, err)
	require.ErrorIs(t, w.Run(t.Context()), jetstream.ErrStreamNotFound)
	_, err = deadletter.NewAdvisoryWatch(b.JS, deadletter.AdvisoryConfig{Durable: "a.b"})
	require.Error(t, err)

	require.NoError(t, natsbus.EnsureStreams(t.Context(), b.JS, natsbus.StreamsConfig{}))
	_, err = b.JS.CreatePushConsumer(t.Context(), deadletter.AdvisoriesStream(""), jetstream.ConsumerConfig{
		Durable: "dead-letters", DeliverSubject: "somewhere", AckPolicy: jetstream.AckExplicitPolicy,
	})
	require.NoError(t, err)
	require.ErrorIs(t, w.Run(t.Context()), natsbus.ErrIncompatible)
}
