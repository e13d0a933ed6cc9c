package deadletter_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/natsserver/natstest"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/deadletter"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/natsbus/internal/letter"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// publishTraced publishes a record with a trace.
func publishTraced(t *testing.T, b *bustest.Bus, r marketprism.Record) (body []byte) {
	t.Helper()
	body, err := natsbus.AppendRecord(nil, &r)
	require.NoError(t, err)
	_, err = b.JS.PublishMsg(t.Context(), &nats.Msg{
		Subject: natsbus.Subject("", r.Instrument, r.Kind()),
		Header: nats.Header{
			"Nats-Msg-Id": {r.Key()}, "traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}, "tracestate": {"a=b"},
		},
		Data: body,
	})
	require.NoError(t, err)
	return body
}

// A refused record becomes a dead letter with its body and headers, is re-driven, refused again, re-driven again, and
// then stored with the Origin that it had: the sink of an exact store sees each sequence of the stream once.
func TestDeadLetterRoundTrip(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs := bustest.Updates(20)
	b.Publish(t, recs[:7])
	body := publishTraced(t, b, recs[7])
	b.Publish(t, recs[8:])
	var got sinktest.Recorder
	sk := bustest.NewPicky(&got, recs[7])
	died := make(chan natsbus.DeadLetterInfo, 10)
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true, Hooks: &natsbus.Hooks{
		DeadLettered: func(i natsbus.DeadLetterInfo) { died <- i },
	}})
	bustest.Run(t, c, sk)
	<-died
	bustest.Await(t, &got, len(recs)-1)
	dead := b.DeadLetters()

	first := b.Letters(t, deadletter.Filter{})[0]
	for redrives := range 2 {
		letters := b.Letters(t, deadletter.Filter{})
		require.Len(t, letters, 1)
		l := letters[0]
		require.Equal(t, body, l.Body)
		require.Equal(t, nats.Header{
			"Nats-Msg-Id": {recs[7].Key()}, "traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}, "tracestate": {"a=b"},
		}, l.Header)
		require.Equal(t, natsbus.DeadRefused, l.Reason)
		require.Equal(t, "write", l.Stage)
		require.Equal(t, "write: never accepted", l.Error)
		require.Equal(t, "MD_DEPTH", l.Stream)
		require.Equal(t, got.Records()[0].Origin.Source, l.Source)
		require.EqualValues(t, 8, l.StreamSequence)
		require.Equal(t, "md.binance.spot.depth.BTCUSDT", l.Subject)
		require.Equal(t, "test", l.Consumer)
		require.Equal(t, redrives, l.Redrives)
		require.Equal(t, first.FirstFailedAt, l.FirstFailedAt)
		require.Equal(t, first.StoredAt, l.StoredAt)
		require.False(t, l.FailedAt.Before(l.FirstFailedAt))

		if redrives == 1 {
			sk.Relent()
		}
		report, err := dead.Redrive(t.Context(), deadletter.Filter{}, deadletter.RedriveConfig{})
		require.NoError(t, err)
		require.Equal(t, deadletter.RedriveReport{Redriven: 1}, report)
		if redrives == 0 {
			again := <-died
			require.Equal(t, 1, again.Redrives)
			require.EqualValues(t, 8, again.Sequence)
		}
	}
	all := bustest.Await(t, &got, len(recs))
	bustest.RequireEqual(t, append(bustest.Without(recs, 7), recs[7]), all)
	require.Equal(t, marketprism.Origin{Source: all[0].Origin.Source, Sequence: 8}, all[19].Origin)
	require.Eventually(t, func() bool { return c.Stats().Redriven == 1 }, bustest.Patience, bustest.Interval)
	require.EqualValues(t, 20, c.Stats().Sequence, "a re-drive does not change the position in the stream")
	require.Zero(t, b.Messages(t, "MD_DLQ"))
	requireRedrivesUsed(t, b)
}

// kill makes dead letters of recs and stops the Consumer.
func kill(t *testing.T, b *bustest.Bus, recs []marketprism.Record) {
	t.Helper()
	b.Publish(t, recs)
	var got sinktest.Recorder
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true})
	stop := bustest.Run(t, c, bustest.NewPicky(&got, recs...))
	bustest.Settled(t, c, len(recs))
	require.NoError(t, stop())
}

// requireRedrivesUsed waits until no re-drive is in its stream: the acknowledgement removes it, some time after its record was
// accepted or became a letter again.
func requireRedrivesUsed(t *testing.T, b *bustest.Bus) {
	t.Helper()
	require.Eventually(t, func() bool { return b.Messages(t, "MD_REDRIVE") == 0 }, bustest.Patience, bustest.Interval)
}

func TestRedriveSelectsAndBounds(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs := bustest.Updates(10)
	for i := 5; i < 10; i++ {
		recs[i].Instrument.Symbol = "ETHUSDT"
	}
	kill(t, b, recs)
	dead := b.DeadLetters()
	all := b.Letters(t, deadletter.Filter{})
	require.Len(t, all, 10)

	eth := deadletter.Filter{Subject: "md.*.*.depth.ETHUSDT"}
	require.Len(t, b.Letters(t, eth), 5)
	require.Len(t, b.Letters(t, deadletter.Filter{From: all[3].FailedAt, To: all[7].FailedAt}), 4)
	require.Len(t, b.Letters(t, deadletter.Filter{Reasons: []natsbus.DeadReason{natsbus.DeadDecode}}), 0)
	require.Len(t, b.Letters(t, deadletter.Filter{Stream: "MD_DEPTH", Consumer: "test", Sequences: []uint64{2, 9}}), 2)
	require.Len(t, b.Letters(t, deadletter.Filter{Consumer: "other"}), 0)

	moved := 0
	report, err := dead.Redrive(t.Context(), eth, deadletter.RedriveConfig{DryRun: true, Moved: func(*deadletter.Letter) { moved++ }})
	require.NoError(t, err)
	require.Equal(t, deadletter.RedriveReport{Redriven: 5}, report)
	require.Equal(t, 5, moved)
	require.Equal(t, 10, b.Messages(t, "MD_DLQ"))
	require.Zero(t, b.Messages(t, "MD_REDRIVE"))

	report, err = dead.Redrive(t.Context(), eth, deadletter.RedriveConfig{Max: 2, Rate: -1})
	require.NoError(t, err)
	require.Equal(t, deadletter.RedriveReport{Redriven: 2}, report)
	require.Equal(t, 8, b.Messages(t, "MD_DLQ"))
	require.Equal(t, 2, b.Messages(t, "MD_REDRIVE"))

	stats, err := dead.Stats(t.Context())
	require.NoError(t, err)
	require.Equal(t, 8, stats.Letters)
	require.Equal(t, map[natsbus.DeadReason]int{natsbus.DeadRefused: 8}, stats.ByReason)
	require.Equal(t, map[string]int{"md.binance.spot.depth.BTCUSDT": 5, "md.binance.spot.depth.ETHUSDT": 3}, stats.BySubject)
	require.Equal(t, all[0].FailedAt, stats.Oldest)
	require.Equal(t, all[9].FailedAt, stats.Newest)

	purged, err := dead.Purge(t.Context(), eth)
	require.NoError(t, err)
	require.Equal(t, 3, purged)
	require.Equal(t, 5, b.Messages(t, "MD_DLQ"))

	third, err := dead.Get(t.Context(), 3)
	require.NoError(t, err)
	require.Equal(t, all[2].Body, third.Body)
	_, err = dead.Get(t.Context(), 9)
	require.ErrorIs(t, err, deadletter.ErrNotFound)
	var failed *deadletter.Error
	require.ErrorAs(t, err, &failed)
	require.EqualValues(t, 9, failed.Sequence)

	ctx, cancel := context.WithCancel(t.Context())
	report, err = dead.Redrive(ctx, deadletter.Filter{}, deadletter.RedriveConfig{Moved: func(*deadletter.Letter) { cancel() }})
	require.Error(t, err)
	require.Equal(t, 1, report.Redriven, "the report counts the letters before the end")
}

// A letter that was re-driven MaxRedrives times stays in the stream.
func TestNoLetterCirculatesWithoutEnd(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs := bustest.Updates(1)
	kill(t, b, recs)
	var got sinktest.Recorder
	died := make(chan natsbus.DeadLetterInfo, 10)
	bustest.Run(t, b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true, Hooks: &natsbus.Hooks{
		DeadLettered: func(i natsbus.DeadLetterInfo) { died <- i },
	}}), bustest.NewPicky(&got, recs...))
	for n := range 3 {
		report, err := b.DeadLetters().Redrive(t.Context(), deadletter.Filter{}, deadletter.RedriveConfig{})
		require.NoError(t, err)
		require.Equal(t, 1, report.Redriven)
		require.Equal(t, n+1, (<-died).Redrives)
	}
	report, err := b.DeadLetters().Redrive(t.Context(), deadletter.Filter{}, deadletter.RedriveConfig{})
	require.NoError(t, err)
	require.Equal(t, deadletter.RedriveReport{Exhausted: 1}, report)
	require.Equal(t, 1, b.Messages(t, "MD_DLQ"))
	requireRedrivesUsed(t, b)
}

// A letter whose re-drive is not stored stays, and a Redrive that was interrupted between the two steps leaves one copy
// when it is repeated.
func TestRedriveLosesAndDoublesNothing(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs := bustest.Updates(3)
	kill(t, b, recs)
	dead := b.DeadLetters()
	require.NoError(t, b.JS.DeleteStream(t.Context(), natsbus.RedriveStream("")))
	report, err := dead.Redrive(t.Context(), deadletter.Filter{}, deadletter.RedriveConfig{})
	require.ErrorIs(t, err, natsbus.ErrNoStream)
	require.Zero(t, report.Redriven)
	require.Equal(t, 3, b.Messages(t, "MD_DLQ"))
	require.NoError(t, natsbus.EnsureStreams(t.Context(), b.JS, natsbus.StreamsConfig{}))

	// A stream that refuses deletions has the effect of a process that is killed after publishing.
	cfg := bustest.Config(t, b.JS, "MD_DLQ")
	require.NoError(t, b.JS.DeleteStream(t.Context(), "MD_DLQ"))
	cfg.DenyDelete = true
	_, err = b.JS.CreateStream(t.Context(), cfg)
	require.NoError(t, err)
	kill(t, b, bustest.Updates(6)[3:])
	for range 2 {
		report, err = dead.Redrive(t.Context(), deadletter.Filter{}, deadletter.RedriveConfig{})
		var failed *deadletter.Error
		require.ErrorAs(t, err, &failed)
		require.Equal(t, "redrive", failed.Op)
		require.Zero(t, report.Redriven)
		require.Equal(t, 1, b.Messages(t, "MD_REDRIVE"))
		require.Equal(t, 3, b.Messages(t, "MD_DLQ"))
	}
}

// Headers of the original that the server or this package would act on have no effect, and are restored.
func TestDeadLetterKeepsHostileHeaders(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	header := nats.Header{
		"Md-Dlq-Stream": {"OTHER"}, "Md-Dlq-Reason": {"forged"}, "md-dlq-x": {"1"}, "Md-Dlq-Orig-Nats-Msg-Id": {"forged"},
		"Plain": {"a", "b"},
	}
	sent := nats.Header{}
	for name, values := range header {
		sent[name] = values
	}
	_, err := b.JS.PublishMsg(t.Context(), &nats.Msg{Subject: natsbus.Subject("", bustest.BTC, marketprism.KindUpdate), Header: sent, Data: []byte("x")})
	require.NoError(t, err)
	var got sinktest.Recorder
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true})
	stop := bustest.Run(t, c, &got)
	bustest.Settled(t, c, 1)
	for redrives := range 2 {
		letters := b.Letters(t, deadletter.Filter{})
		require.Len(t, letters, 1)
		require.Equal(t, header, letters[0].Header)
		require.Equal(t, "MD_DEPTH", letters[0].Stream)
		require.Equal(t, natsbus.DeadDecode, letters[0].Reason)
		require.Equal(t, redrives, letters[0].Redrives)
		if redrives == 0 {
			_, err := b.DeadLetters().Redrive(t.Context(), deadletter.Filter{}, deadletter.RedriveConfig{})
			require.NoError(t, err)
			bustest.Settled(t, c, 2)
		}
	}
	require.NoError(t, stop())

	// A message of another program can be read and purged, but not re-driven.
	_, err = b.JS.PublishMsg(t.Context(), &nats.Msg{Subject: "dlq.MD_DEPTH.x.y", Data: []byte("?")})
	require.NoError(t, err)
	report, err := b.DeadLetters().Redrive(t.Context(), deadletter.Filter{Consumer: "x"}, deadletter.RedriveConfig{})
	require.NoError(t, err)
	require.Equal(t, deadletter.RedriveReport{Foreign: 1}, report)
}

// A re-drive that was stored while the Consumer was away, or was with it when it died, comes at its next Run.
func TestRedriveSurvivesTheConsumerAndTheServer(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs := bustest.Updates(5)
	kill(t, b, recs)
	_, err := b.DeadLetters().Redrive(t.Context(), deadletter.Filter{}, deadletter.RedriveConfig{Rate: -1})
	require.NoError(t, err)
	require.Equal(t, 5, b.Messages(t, "MD_REDRIVE"))

	var got sinktest.Recorder
	stuck, entered, _ := bustest.Block(&got)
	cfg := natsbus.ConsumerConfig{DeadLetters: true, AckWait: time.Hour, DrainTimeout: -1}
	stop := bustest.Run(t, b.Consumer(t, cfg), stuck)
	<-entered
	require.ErrorIs(t, stop(), context.Canceled, "the re-drives were not written")
	require.Empty(t, got.Records())

	b.Restart(t)
	bustest.Run(t, b.Consumer(t, cfg), &got)
	bustest.RequireEqual(t, recs, bustest.Await(t, &got, len(recs)))
	for i, r := range got.Records() {
		require.EqualValues(t, i+1, r.Origin.Sequence)
	}
	require.Eventually(t, func() bool {
		s, err := b.JS.Stream(t.Context(), "MD_REDRIVE")
		return err == nil && s.CachedInfo().State.Msgs == 0
	}, bustest.Patience, bustest.Interval)
}

// The readers of the stream and of its re-drives call the sink and the hooks one at a time.
func TestRedrivesAndStreamAlternate(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs := bustest.Updates(1200)
	kill(t, b, recs[:200])
	_, err := b.DeadLetters().Redrive(t.Context(), deadletter.Filter{}, deadletter.RedriveConfig{Rate: -1})
	require.NoError(t, err)
	b.Publish(t, recs[200:])

	var busy, met atomic.Int32
	alone := func() func() {
		if busy.Add(1) != 1 {
			met.Add(1)
		}
		return func() { busy.Add(-1) }
	}
	var got sinktest.Recorder
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true, Batch: 10, Hooks: &natsbus.Hooks{
		Consumed:     func(natsbus.ConsumeInfo) { defer alone()() },
		DurableReset: func(natsbus.DurableResetInfo) { defer alone()() },
	}})
	bustest.Run(t, c, sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
		defer alone()()
		return got.Write(ctx, recs)
	}))
	bustest.Settled(t, c, len(recs))
	require.Zero(t, met.Load())
	require.EqualValues(t, 200, c.Stats().Redriven)
	require.Len(t, got.Unique(), len(recs))
	require.Len(t, got.Records(), len(recs))
}

// A Consumer that died after it stored a letter, and before it terminated the message, leaves one copy.
func TestDeadLetterIsStoredOnce(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	b.Publish(t, bustest.Updates(1))
	stream, err := b.JS.Stream(t.Context(), "MD_DEPTH")
	require.NoError(t, err)
	source := "MD_DEPTH@" + stream.CachedInfo().Created.UTC().Format(time.RFC3339Nano)
	_, err = b.JS.Publish(t.Context(), "dlq.MD_DEPTH.test.md.binance.spot.depth.BTCUSDT", []byte("stored before"),
		jetstream.WithMsgID("dlq:"+source+":MD_DEPTH:test:1"))
	require.NoError(t, err)
	var got sinktest.Recorder
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true})
	bustest.Run(t, c, bustest.NewPicky(&got, bustest.Updates(1)...))
	require.Eventually(t, func() bool { return c.Stats().Replies.Term == 1 }, bustest.Patience, bustest.Interval)
	b.AllAcked(t, "MD_DEPTH", "test")
	letters := b.Letters(t, deadletter.Filter{})
	require.Len(t, letters, 1)
	require.Equal(t, "stored before", string(letters[0].Body))
	require.Zero(t, c.Stats().DeadLettered)
}

// A Consumer without a stream of re-drives looks for it, while it reads its own stream.
func TestConsumerWithoutRedriveStream(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	require.NoError(t, b.JS.DeleteStream(t.Context(), natsbus.RedriveStream("")))
	recs := bustest.Updates(3)
	var got sinktest.Recorder
	missing := make(chan error, 1000)
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true, Hooks: &natsbus.Hooks{ServerFailed: func(i natsbus.ServerFailedInfo) {
		select {
		case missing <- i.Err:
		default:
		}
	}}})
	bustest.Run(t, c, bustest.NewPicky(&got, recs[1]))
	b.Publish(t, recs)
	bustest.Settled(t, c, 3)
	require.ErrorIs(t, <-missing, jetstream.ErrStreamNotFound)
	require.NoError(t, natsbus.EnsureStreams(t.Context(), b.JS, natsbus.StreamsConfig{}))
	_, err := b.DeadLetters().Redrive(t.Context(), deadletter.Filter{}, deadletter.RedriveConfig{})
	require.NoError(t, err)
	bustest.Settled(t, c, 4)
	require.EqualValues(t, 2, c.Stats().DeadLettered)
}

func TestInCluster(t *testing.T) {
	bustest.RunInCluster(t, map[string]func(*testing.T){
		"dead letters":              TestDeadLetterRoundTrip,
		"re-drive through restarts": TestRedriveSurvivesTheConsumerAndTheServer,
		"leader changes":            redrivesThroughLeaderChanges,
	})
}

// A message that is refused again, after its letter was purged or re-driven, is a letter again, and can be re-driven
// again, also while the server remembers the ids of the first ones.
func TestMessageRefusedAgainIsALetterAgain(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs := bustest.Updates(1)
	b.Publish(t, recs)
	dead := b.DeadLetters()
	for _, redriven := range []bool{false, false, true, true, false, true} {
		var got sinktest.Recorder
		sk := bustest.NewPicky(&got, recs...)
		c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true})
		stop := bustest.Run(t, c, sk)
		bustest.Settled(t, c, 1)
		letters := b.Letters(t, deadletter.Filter{})
		require.Len(t, letters, 1)
		require.EqualValues(t, 1, letters[0].StreamSequence)
		if redriven {
			sk.Relent()
			report, err := dead.Redrive(t.Context(), deadletter.Filter{}, deadletter.RedriveConfig{})
			require.NoError(t, err)
			require.Equal(t, deadletter.RedriveReport{Redriven: 1}, report)
			bustest.RequireEqual(t, recs, bustest.Await(t, &got, 1))
			requireRedrivesUsed(t, b)
		} else {
			purged, err := dead.Purge(t.Context(), deadletter.Filter{})
			require.NoError(t, err)
			require.Equal(t, 1, purged)
		}
		require.NoError(t, stop())
		stream, err := b.JS.Stream(t.Context(), "MD_DEPTH")
		require.NoError(t, err)
		require.NoError(t, stream.DeleteConsumer(t.Context(), "test"))
	}
}

// The re-drive of a letter that is repeated after the Consumer has used the first one stores no second copy.
func TestRedriveIsRepeatedOnce(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs := bustest.Updates(1)
	kill(t, b, recs)
	cfg := bustest.Config(t, b.JS, "MD_DLQ")
	cfg.DenyDelete = true // as in TestRedriveLosesAndDoublesNothing
	require.NoError(t, b.JS.DeleteStream(t.Context(), "MD_DLQ"))
	_, err := b.JS.CreateStream(t.Context(), cfg)
	require.NoError(t, err)
	stream, err := b.JS.Stream(t.Context(), "MD_DEPTH")
	require.NoError(t, err)
	require.NoError(t, stream.DeleteConsumer(t.Context(), "test"))
	kill(t, b, recs)
	var got sinktest.Recorder
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true})
	bustest.Run(t, c, &got)
	for range 3 {
		_, err := b.DeadLetters().Redrive(t.Context(), deadletter.Filter{}, deadletter.RedriveConfig{})
		require.Error(t, err, "the letter stays")
		require.Eventually(t, func() bool { return c.Stats().Redriven == 1 }, bustest.Patience, bustest.Interval)
	}
	requireRedrivesUsed(t, b)
	require.Len(t, got.Records(), 1)
}

// publishStrange publishes letters that cannot be re-driven: two of a durable for whose re-drives there is no stream, one
// that names no valid subject, and one whose message was gone before it became a letter.
func publishStrange(t *testing.T, b *bustest.Bus) {
	t.Helper()
	origin := letter.Origin{Stream: "OTHER", Source: "OTHER@x", Consumer: "other", Subject: "a.b", Sequence: 1}
	invalid, gone := origin, origin
	invalid.Subject, invalid.Sequence = "a b", 3
	gone.Stream, gone.Subject, gone.Sequence = "MD_DEPTH", "gone", 4
	for _, o := range []letter.Origin{origin, {Stream: "OTHER", Source: "OTHER@x", Consumer: "other", Subject: "a.c", Sequence: 2}, invalid, gone} {
		msg := letter.New(o, nil, []byte("?"), letter.Cause{Reason: string(natsbus.DeadRefused), Err: context.Canceled})
		msg.Subject = "dlq.MD_DEPTH.other.x" // another program may publish anything there
		if o == gone {
			msg.Data = nil
			letter.SetBodySize(msg, letter.BodyGone)
		}
		_, err := b.JS.PublishMsg(t.Context(), msg)
		require.NoError(t, err)
	}
}

// Letters that cannot be re-driven keep no other letter from it, and are reported.
func TestRedrivePassesStrangeLetters(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	publishStrange(t, b)
	kill(t, b, bustest.Updates(3))
	report, err := b.DeadLetters().Redrive(t.Context(), deadletter.Filter{}, deadletter.RedriveConfig{Rate: -1})
	var failed *deadletter.Error
	require.ErrorAs(t, err, &failed)
	require.ErrorIs(t, err, natsbus.ErrNoStream)
	require.EqualValues(t, 1, failed.Sequence)
	require.Equal(t, deadletter.RedriveReport{Redriven: 3, Foreign: 1, Gone: 1, Stranded: 2}, report)
	require.Equal(t, 4, b.Messages(t, "MD_DLQ"))
	require.Equal(t, 3, b.Messages(t, "MD_REDRIVE"))
}

// While the stream of re-drives is full, letters stay where they are, and the error says so.
func TestRedriveIntoAFullStream(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{Redrive: natsbus.StreamConfig{MaxBytes: 6000, Uncompressed: true}})
	recs := bustest.Updates(20)
	kill(t, b, recs)
	report, err := b.DeadLetters().Redrive(t.Context(), deadletter.Filter{}, deadletter.RedriveConfig{Rate: -1})
	require.ErrorIs(t, err, natsbus.ErrStreamFull)
	require.Positive(t, report.Redriven)
	require.Equal(t, report.Redriven, b.Messages(t, "MD_REDRIVE"))
	require.Equal(t, len(recs)-report.Redriven, b.Messages(t, "MD_DLQ"))
	var got sinktest.Recorder
	bustest.Run(t, b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true}), &got)
	require.Eventually(t, func() bool { // the Consumer makes room
		_, err = b.DeadLetters().Redrive(t.Context(), deadletter.Filter{}, deadletter.RedriveConfig{Rate: -1})
		return err == nil
	}, bustest.Patience, bustest.Interval)
	bustest.RequireEqual(t, recs, bustest.Await(t, &got, len(recs)))
}

// behindLaggingReplica returns a connection on which a replica that has none of the messages yet answers the direct gets.
func behindLaggingReplica(t *testing.T, b *bustest.Bus) jetstream.JetStream {
	t.Helper()
	nc := b.JS.Conn()
	relay, err := nc.Subscribe("lagging.>", func(m *nats.Msg) {
		request := strings.TrimPrefix(m.Subject, "lagging.")
		if strings.HasPrefix(request, "DIRECT.GET.") {
			_ = m.RespondMsg(&nats.Msg{Header: nats.Header{"Status": {"404"}, "Description": {"Message Not Found"}}})
			return
		}
		_ = nc.PublishRequest(jetstream.DefaultAPIPrefix+request, m.Reply, m.Data)
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = relay.Unsubscribe() })
	js, err := jetstream.NewWithAPIPrefix(natstest.JetStream(t, b.Server).Conn(), "lagging")
	require.NoError(t, err)
	return js
}

// A replica that has a message later than the leader does not make it count as gone.
func TestLaggingReplicaHidesNothing(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	kill(t, b, bustest.Updates(2))
	lagging := &bustest.Bus{Server: b.Server, JS: behindLaggingReplica(t, b)}
	require.Len(t, lagging.Letters(t, deadletter.Filter{}), 2)
	l, err := lagging.DeadLetters().Get(t.Context(), 2)
	require.NoError(t, err)
	require.EqualValues(t, 2, l.StreamSequence)
	require.NotEmpty(t, l.Body)
	require.Equal(t, "BTCUSDT", l.Subject[len(l.Subject)-7:])
	_, err = lagging.DeadLetters().Get(t.Context(), 3)
	require.ErrorIs(t, err, deadletter.ErrNotFound)
	report, err := lagging.DeadLetters().Redrive(t.Context(), deadletter.Filter{}, deadletter.RedriveConfig{})
	require.NoError(t, err)
	require.Equal(t, deadletter.RedriveReport{Redriven: 2}, report)
	require.Equal(t, 2, b.Messages(t, "MD_REDRIVE"))

	body := publishTraced(t, b, bustest.Update(3))
	advise(t, b, 3, time.Now())
	w := watch(t, lagging)
	require.Eventually(t, func() bool { return w.Stats().DeadLettered == 1 }, bustest.Patience, bustest.Interval)
	l = b.Letters(t, deadletter.Filter{})[0]
	require.Equal(t, body, l.Body)
	require.NotEmpty(t, l.Header.Get("traceparent"))
}
