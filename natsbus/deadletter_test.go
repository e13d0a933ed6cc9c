package natsbus_test

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// publishPoison publishes a record, a message that is none, and another record.
func publishPoison(t *testing.T, b *bus) (good []marketprism.Record) {
	t.Helper()
	good = []marketprism.Record{update(1), update(2)}
	b.publish(t, good[:1])
	_, err := b.js.PublishMsg(t.Context(), &nats.Msg{
		Subject: natsbus.Subject("", btc, marketprism.KindUpdate),
		Header:  nats.Header{"Nats-Msg-Id": {"poison"}, "Trace": {"kept"}},
		Data:    []byte(`{"v":1,"kind":"depth"}`),
	})
	require.NoError(t, err)
	b.publish(t, good[1:])
	return good
}

func TestUndecodableMessageStopsRun(t *testing.T) {
	b := newBus(t, natsbus.StreamsConfig{})
	good := publishPoison(t, b)
	for _, want := range [][]marketprism.Record{good[:1], nil} { // it is met again
		var got sinktest.Recorder
		err := b.consumer(t, natsbus.ConsumerConfig{}).Run(t.Context(), &got)
		var failed *natsbus.DecodeError
		require.ErrorAs(t, err, &failed)
		require.ErrorIs(t, err, natsbus.ErrMissing)
		require.Equal(t, "MD_DEPTH", failed.Stream)
		require.EqualValues(t, 2, failed.Sequence)
		require.Equal(t, "md.binance.spot.depth.BTCUSDT", failed.Subject)
		requireEqual(t, want, got.Records())
		require.Equal(t, 2, b.unacked(t, natsbus.BooksStream(""), "test"))
	}
}

func TestUndecodableMessageIsMovedToTheDeadLetters(t *testing.T) {
	b := newBus(t, natsbus.StreamsConfig{})
	good := publishPoison(t, b)
	var (
		got  sinktest.Recorder
		dead []natsbus.DeadLetterInfo
	)
	c := b.consumer(t, natsbus.ConsumerConfig{DeadLetters: true, Hooks: &natsbus.Hooks{
		DeadLettered: func(i natsbus.DeadLetterInfo) { dead = append(dead, i) },
	}})
	stop := run(t, c, &got)
	requireEqual(t, good, await(t, &got, 2))
	require.Error(t, stop())
	require.Len(t, dead, 1)
	b.allAcked(t, natsbus.BooksStream(""), "test")

	stream, err := b.js.Stream(t.Context(), natsbus.DeadLettersStream(""))
	require.NoError(t, err)
	letter, err := stream.GetMsg(t.Context(), 1)
	require.NoError(t, err)
	source := letter.Header.Get(natsbus.HeaderDeadSource)
	require.Regexp(t, "^MD_DEPTH@2", source)
	require.Equal(t, "dlq.MD_DEPTH.test.md.binance.spot.depth.BTCUSDT", letter.Subject)
	require.Equal(t, `{"v":1,"kind":"depth"}`, string(letter.Data))
	for name, want := range map[string]string{
		"Nats-Msg-Id":                "dlq:" + source + ":MD_DEPTH:test:2",
		"Md-Dlq-Orig-Nats-Msg-Id":    "poison",
		"Trace":                      "kept",
		natsbus.HeaderDeadID:         "MD_DEPTH:test:2",
		natsbus.HeaderDeadStream:     "MD_DEPTH",
		natsbus.HeaderDeadSequence:   "2",
		natsbus.HeaderDeadSubject:    "md.binance.spot.depth.BTCUSDT",
		natsbus.HeaderDeadConsumer:   "test",
		natsbus.HeaderDeadDeliveries: "1",
		natsbus.HeaderDeadReason:     "decode",
		natsbus.HeaderDeadStage:      "decode",
		natsbus.HeaderDeadAttempts:   "1",
	} {
		require.Equal(t, want, letter.Header.Get(name), name)
	}
	require.Contains(t, letter.Header.Get(natsbus.HeaderDeadError), "exchange")
}

// Without a stream for dead letters the message is held, not dropped.
func TestDeadLetterIsHeldUntilItIsStored(t *testing.T) {
	b := newBus(t, natsbus.StreamsConfig{})
	good := publishPoison(t, b)
	require.NoError(t, b.js.DeleteStream(t.Context(), natsbus.DeadLettersStream("")))
	var got sinktest.Recorder
	failures := 0
	c := b.consumer(t, natsbus.ConsumerConfig{DeadLetters: true, Hooks: &natsbus.Hooks{SinkFailed: func(i natsbus.SinkFailedInfo) {
		require.Equal(t, 2, b.unacked(t, natsbus.BooksStream(""), "test"))
		if failures++; failures == 2 {
			require.NoError(t, natsbus.EnsureStreams(t.Context(), b.js, natsbus.StreamsConfig{}))
		}
	}}})
	run(t, c, &got)
	requireEqual(t, good, await(t, &got, 2))
	require.GreaterOrEqual(t, failures, 2)
	require.Equal(t, 1, b.messages(t, natsbus.DeadLettersStream("")))
}
