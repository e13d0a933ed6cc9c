package natsbus_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/deadletter"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/natsbus/internal/letter"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// publishPoison publishes a record, a message that is no record, and another record.
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
	for _, want := range [][]marketprism.Record{good[:1], nil} { // the next Run reads it again
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

// A message that is no sound record of its subject becomes a dead letter, whatever is wrong with it; the sink gets the
// others.
func TestUnsoundMessagesAreMovedToTheDeadLetters(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	v := bustest.NewVenue("BTCUSDT", 3)
	unsound := map[string][]bustest.Unsound{}
	for _, m := range v.Unsound() {
		stream := natsbus.BooksStream("")
		if m.Kind == marketprism.KindTrade || m.Kind == marketprism.KindAggTrade {
			stream = natsbus.TradesStream("")
		}
		unsound[stream] = append(unsound[stream], m)
	}
	for stream, good := range map[string][]marketprism.Record{
		natsbus.BooksStream(""):  {bustest.Update(1), bustest.Update(2)},
		natsbus.TradesStream(""): {bustest.Trade(1), bustest.Trade(2)},
	} {
		b.Publish(t, good[:1])
		for _, m := range unsound[stream] {
			v.PublishUnsound(t, b, m)
		}
		b.Publish(t, good[1:])
		var got sinktest.Recorder
		c := b.Consumer(t, natsbus.ConsumerConfig{Stream: stream, DeadLetters: true})
		stop := bustest.Run(t, c, &got)
		bustest.Settled(t, c, len(unsound[stream])+len(good))
		require.NoError(t, stop())
		bustest.RequireEqual(t, good, got.Records())
		letters := b.Letters(t, deadletter.Filter{Stream: stream})
		require.Len(t, letters, len(unsound[stream]))
		for i, m := range unsound[stream] {
			require.Equal(t, m.Body, string(letters[i].Body), m.What)
			require.Equal(t, natsbus.DeadDecode, letters[i].Reason, m.What)
			require.NotEmpty(t, letters[i].Error, m.What)
		}
		b.AllAcked(t, stream, "test")
	}
}

// Without a stream of dead letters the message waits, and is not dropped.
func TestDeadLetterWaitsUntilItIsStored(t *testing.T) {
	short.Skip(t)
	b := bustest.New(t, natsbus.StreamsConfig{})
	good := publishPoison(t, b)
	require.NoError(t, b.JS.DeleteStream(t.Context(), natsbus.DeadLettersStream("")))
	var got sinktest.Recorder
	failed := make(chan error, 1000)
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true, Hooks: &natsbus.Hooks{
		DeadLetterFailed: func(i natsbus.RetryInfo) { failed <- i.Err },
	}})
	bustest.Run(t, c, &got)
	for range 2 {
		require.ErrorIs(t, bustest.Receive(t, failed), natsbus.ErrNoStream)
		require.Equal(t, 2, b.Unacked(t, natsbus.BooksStream(""), "test"))
	}
	require.NoError(t, natsbus.EnsureStreams(t.Context(), b.JS, natsbus.StreamsConfig{}))
	bustest.Settled(t, c, 3)
	bustest.RequireEqual(t, good, got.Records())
	require.Equal(t, 1, b.Messages(t, natsbus.DeadLettersStream("")))
}

// While the stream of dead letters is full, messages wait for it, and the sink is not blamed: its circuit stays closed.
func TestFullDeadLettersAreNoFailureOfTheSink(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{DeadLetters: natsbus.StreamConfig{MaxBytes: 2000}})
	for err := error(nil); err == nil; {
		_, err = b.JS.Publish(t.Context(), "dlq.MD_DEPTH.other.x", bytes.Repeat([]byte("?"), 100))
	}
	good := publishPoison(t, b)
	bad := bustest.Update(3)
	b.Publish(t, []marketprism.Record{bad})
	var got sinktest.Recorder
	failed := make(chan natsbus.RetryInfo, 10_000)
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true, Hooks: &natsbus.Hooks{
		SinkFailed:       func(i natsbus.SinkFailedInfo) { t.Errorf("the sink failed: %v", i.Err) },
		Circuit:          func(i natsbus.CircuitInfo) { t.Errorf("the circuit is %v: %v", i.State, i.Err) },
		DeadLetterFailed: func(i natsbus.RetryInfo) { failed <- i },
	}})
	stop := bustest.Run(t, c, bustest.NewPicky(&got, bad))
	for n := range 2 {
		info := bustest.Receive(t, failed)
		require.ErrorIs(t, info.Err, natsbus.ErrStreamFull)
		require.Equal(t, n+1, info.Attempt)
		require.Equal(t, "MD_DEPTH", info.Stream)
		require.Contains(t, []uint64{2, 4}, info.Sequence)
	}
	stats := c.Stats()
	require.NotZero(t, stats.DeadLetterFailures)
	require.NotZero(t, stats.DeadLettersFailSince)
	require.Zero(t, stats.SinkFailures)
	require.Zero(t, stats.DeadLettered)
	require.Equal(t, natsbus.CircuitClosed, stats.Circuit)
	require.NotZero(t, b.Unacked(t, "MD_DEPTH", "test"))

	_, err := b.DeadLetters().Purge(t.Context(), deadletter.Filter{Consumer: "other"})
	require.NoError(t, err)
	bustest.Settled(t, c, 4)
	require.NoError(t, stop())
	bustest.RequireEqual(t, good, got.Records())
	require.Zero(t, c.Stats().DeadLettersFailSince)
	require.Equal(t, 2, b.Messages(t, "MD_DLQ"))
}

// A server that has forgotten the durable, or has another one under its name, never confirms a termination. The Consumer
// resets the durable instead of waiting.
func TestDeadLetterOfAForgottenDelivery(t *testing.T) {
	short.Skip(t)
	for _, remade := range []bool{false, true} {
		t.Run(map[bool]string{false: "deleted", true: "created again"}[remade], func(t *testing.T) {
			b := bustest.New(t, natsbus.StreamsConfig{})
			recs := bustest.Updates(6)
			b.Publish(t, recs)
			var got sinktest.Recorder
			picky, forgotten := bustest.NewPicky(&got, recs[3]), false
			c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true})
			bustest.Run(t, c, sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
				err := picky.Write(ctx, recs)
				if err == nil || len(recs) > 1 || forgotten {
					return err
				}
				forgotten = true
				stream, lookup := b.JS.Stream(ctx, "MD_DEPTH")
				require.NoError(t, lookup)
				durable, lookup := stream.Consumer(ctx, "test")
				require.NoError(t, lookup)
				require.NoError(t, stream.DeleteConsumer(ctx, "test"))
				if remade {
					_, lookup = stream.CreateConsumer(ctx, durable.CachedInfo().Config)
					require.NoError(t, lookup)
				}
				return err
			}))
			bustest.Await(t, &got, 2*3+2) // the first three before and after
			require.Eventually(t, func() bool { return b.Unacked(t, "MD_DEPTH", "test") == 0 }, bustest.Patience, bustest.Interval)
			require.True(t, forgotten)
			bustest.RequireEqual(t, append(recs[:3:3], bustest.Without(recs, 3)...), got.Records())
			require.Equal(t, 1, b.Messages(t, "MD_DLQ"))
			require.EqualValues(t, 1, c.Stats().DeadLettered, "delivered again, and counted once")
			require.EqualValues(t, 1, c.Stats().Replies.Term)
		})
	}
}

// A stream that was deleted and created again counts from 1. Its letters and their re-drives are distinct from those of
// the stream before.
func TestDeadLettersOfARecreatedStream(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	var got sinktest.Recorder
	recs := bustest.Updates(2)
	for i := range recs {
		if i > 0 {
			require.NoError(t, b.JS.DeleteStream(t.Context(), "MD_DEPTH"))
			require.NoError(t, natsbus.EnsureStreams(t.Context(), b.JS, natsbus.StreamsConfig{}))
		}
		b.Publish(t, recs[i:i+1])
		c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true})
		stop := bustest.Run(t, c, bustest.NewPicky(&got, recs...))
		bustest.Settled(t, c, 1)
		require.NoError(t, stop())
		letters := b.Letters(t, deadletter.Filter{})
		require.Len(t, letters, i+1)
		require.EqualValues(t, 1, letters[i].StreamSequence)
	}
	report, err := b.DeadLetters().Redrive(t.Context(), deadletter.Filter{}, deadletter.RedriveConfig{})
	require.NoError(t, err)
	require.Equal(t, deadletter.RedriveReport{Redriven: 2}, report)
	require.Zero(t, b.Messages(t, "MD_DLQ"))
	bustest.Run(t, b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true}), &got)
	bustest.RequireEqual(t, recs, bustest.Await(t, &got, 2))
}

// A message that leaves no room for the headers of its letter becomes a letter all the same, which names the position of
// the body. The messages behind it are delivered.
func TestDeadLetterWithoutRoom(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	limit := int(b.JS.Conn().MaxPayload())
	header := nats.Header{"Trace": {"kept"}}
	for _, test := range []struct {
		name   string
		header nats.Header
		room   int // that the message leaves
		kept   nats.Header
		body   bool // is kept
	}{
		{"for some headers", header, 200, header, false},
		{"for none", header, 0, header, false},
		{"for more headers", nats.Header{"Large": {strings.Repeat("x", 65_300)}}, limit / 2, nats.Header{}, true},
		{"for anything", nats.Header{"Large": {strings.Repeat("x", 65_300)}}, 0, nats.Header{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			good := bustest.Updates(2)
			poison := &nats.Msg{Subject: natsbus.Subject("", bustest.BTC, marketprism.KindUpdate), Header: test.header}
			poison.Data = bytes.Repeat([]byte("?"), limit-test.room-(poison.Size()-len(poison.Subject)))
			b.Publish(t, good[:1])
			ack, err := b.JS.PublishMsg(t.Context(), poison)
			require.NoError(t, err)
			b.Publish(t, good[1:])

			durable := strings.ReplaceAll(test.name, " ", "-")
			dead := make(chan natsbus.DeadLetterInfo, 1)
			c := b.Consumer(t, natsbus.ConsumerConfig{Durable: durable, DeadLetters: true, Hooks: &natsbus.Hooks{
				DeadLettered: func(i natsbus.DeadLetterInfo) {
					if i.Sequence == ack.Sequence {
						dead <- i
					}
				},
			}})
			stop := bustest.Run(t, c, &sinktest.Recorder{})
			require.Equal(t, test.body, !(<-dead).Bodiless)
			require.Eventually(t, func() bool { return b.Unacked(t, "MD_DEPTH", durable) == 0 }, bustest.Patience, bustest.Interval)
			require.NoError(t, stop())

			stream, err := b.JS.Stream(t.Context(), "MD_DEPTH")
			require.NoError(t, err)
			letters := b.Letters(t, deadletter.Filter{Consumer: durable})
			letter := letters[len(letters)-1]
			require.Equal(t, ack.Sequence, letter.StreamSequence)
			if require.Equal(t, len(poison.Data), letter.BodySize); test.body {
				require.Equal(t, poison.Data, letter.Body)
			} else {
				require.Empty(t, letter.Body)
			}
			require.Equal(t, len(test.header)-len(test.kept), letter.HeadersCut)
			require.Equal(t, test.kept, letter.Header)
			require.Equal(t, natsbus.DeadDecode, letter.Reason)
			original, err := stream.GetMsg(t.Context(), letter.StreamSequence)
			require.NoError(t, err)
			require.Equal(t, poison.Data, original.Data)

			report, err := b.DeadLetters().Redrive(t.Context(), deadletter.Filter{Sequences: []uint64{letter.Sequence}}, deadletter.RedriveConfig{})
			require.NoError(t, err)
			want := deadletter.RedriveReport{TooLarge: 1}
			if test.body {
				want = deadletter.RedriveReport{Redriven: 1}
			}
			require.Equal(t, want, report)
		})
	}
}

// A stream of dead letters may allow smaller messages than the server.
func TestDeadLetterLargerThanItsStreamAllows(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	stream, err := b.JS.Stream(t.Context(), "MD_DLQ")
	require.NoError(t, err)
	cfg := stream.CachedInfo().Config
	cfg.MaxMsgSize = 4096
	_, err = b.JS.UpdateStream(t.Context(), cfg)
	require.NoError(t, err)
	_, err = b.JS.Publish(t.Context(), natsbus.Subject("", bustest.BTC, marketprism.KindUpdate), bytes.Repeat([]byte("?"), 4096))
	require.NoError(t, err)
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true})
	bustest.Run(t, c, &sinktest.Recorder{})
	bustest.Settled(t, c, 1)
	letter := b.Letters(t, deadletter.Filter{})[0]
	require.Empty(t, letter.Body)
	require.Equal(t, 4096, letter.BodySize)
}
