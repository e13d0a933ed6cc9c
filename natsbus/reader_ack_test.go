package natsbus_test

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/natsbus/internal/letter"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// publishPoison publishes a record, a message that is none, and another record.
func publishPoison(t *testing.T, b *bustest.Bus) (good []marketprism.Record) {
	t.Helper()
	good = []marketprism.Record{bustest.Update(1), bustest.Update(2)}
	b.Publish(t, good[:1])
	_, err := b.JS.PublishMsg(t.Context(), &nats.Msg{
		Subject: natsbus.Subject("", bustest.BTC, marketprism.KindUpdate),
		Header:  nats.Header{"Nats-Msg-Id": {"poison"}, "Trace": {"kept"}},
		Data:    []byte(`{"v":1,"kind":"depth"}`),
	})
	require.NoError(t, err)
	b.Publish(t, good[1:])
	return good
}

func TestUndecodableMessageStopsRun(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	good := publishPoison(t, b)
	for _, want := range [][]marketprism.Record{good[:1], nil} { // it is met again
		var got sinktest.Recorder
		err := b.Consumer(t, natsbus.ConsumerConfig{}).Run(t.Context(), &got)
		var failed *natsbus.DecodeError
		require.ErrorAs(t, err, &failed)
		bustest.RequireKind(t, err, "missing")
		require.Equal(t, "MD_DEPTH", failed.Stream)
		require.EqualValues(t, 2, failed.Sequence)
		require.Equal(t, "md.binance.spot.depth.BTCUSDT", failed.Subject)
		bustest.RequireEqual(t, want, got.Records())
		require.Equal(t, 2, b.Unacked(t, natsbus.BooksStream(""), "test"))
	}
}

func TestUndecodableMessageIsMovedToTheDeadLetters(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	good := publishPoison(t, b)
	var (
		got  sinktest.Recorder
		dead []natsbus.DeadLetterInfo
	)
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true, Hooks: &natsbus.Hooks{
		DeadLettered: func(i natsbus.DeadLetterInfo) { dead = append(dead, i) },
	}})
	stop := bustest.Run(t, c, &got)
	bustest.RequireEqual(t, good, bustest.Await(t, &got, 2))
	require.NoError(t, stop())
	require.Len(t, dead, 1)
	b.AllAcked(t, natsbus.BooksStream(""), "test")

	stream, err := b.JS.Stream(t.Context(), natsbus.DeadLettersStream(""))
	require.NoError(t, err)
	stored, err := stream.GetMsg(t.Context(), 1)
	require.NoError(t, err)
	source := stored.Header.Get(letter.HeaderSource)
	require.Regexp(t, "^MD_DEPTH@2", source)
	require.Equal(t, "dlq.MD_DEPTH.test.md.binance.spot.depth.BTCUSDT", stored.Subject)
	require.Equal(t, `{"v":1,"kind":"depth"}`, string(stored.Data))
	for name, want := range map[string]string{
		"Nats-Msg-Id":             "dlq:" + source + ":MD_DEPTH:test:2",
		"Md-Dlq-Orig-Nats-Msg-Id": "poison",
		"Trace":                   "kept",
		letter.HeaderID:           "MD_DEPTH:test:2",
		letter.HeaderStream:       "MD_DEPTH",
		letter.HeaderSequence:     "2",
		letter.HeaderSubject:      "md.binance.spot.depth.BTCUSDT",
		letter.HeaderConsumer:     "test",
		letter.HeaderDeliveries:   "1",
		letter.HeaderReason:       "decode",
		letter.HeaderStage:        "decode",
		letter.HeaderAttempts:     "1",
	} {
		require.Equal(t, want, stored.Header.Get(name), name)
	}
	require.Contains(t, stored.Header.Get(letter.HeaderError), "exchange")
}

// Without a stream for dead letters the message is held, not dropped.
func TestDeadLetterIsHeldUntilItIsStored(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	good := publishPoison(t, b)
	require.NoError(t, b.JS.DeleteStream(t.Context(), natsbus.DeadLettersStream("")))
	var got sinktest.Recorder
	failures := 0
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true, Hooks: &natsbus.Hooks{SinkFailed: func(i natsbus.SinkFailedInfo) {
		require.Equal(t, 2, b.Unacked(t, natsbus.BooksStream(""), "test"))
		if failures++; failures == 2 {
			require.NoError(t, natsbus.EnsureStreams(t.Context(), b.JS, natsbus.StreamsConfig{}))
		}
	}}})
	bustest.Run(t, c, &got)
	bustest.RequireEqual(t, good, bustest.Await(t, &got, 2))
	require.GreaterOrEqual(t, failures, 2)
	require.Equal(t, 1, b.Messages(t, natsbus.DeadLettersStream("")))
}
