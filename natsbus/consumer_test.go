package natsbus_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/natsserver/natstest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/deadletter"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

func TestEveryKindArrivesExactlyAndInOrder(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs := append(sinktest.Records(1, 3000), sinktest.Extremes()...)
	b.Publish(t, recs)
	books, trades := split(recs)
	for stream, want := range map[string][]marketprism.Record{natsbus.BooksStream(""): books, natsbus.TradesStream(""): trades} {
		c := b.Consumer(t, natsbus.ConsumerConfig{Stream: stream, Batch: 700})
		var got sinktest.Recorder
		stop := bustest.Run(t, c, &got)
		bustest.Await(t, &got, len(want))
		require.NoError(t, stop())
		bustest.RequireEqual(t, want, got.Records())

		source, err := natsbus.StreamSource(t.Context(), b.JS, stream)
		require.NoError(t, err)
		for i, r := range got.Records() {
			require.Equal(t, marketprism.Origin{Source: source, Sequence: uint64(i + 1)}, r.Origin)
		}
		b.AllAcked(t, stream, "test")
		stats := c.Stats()
		require.EqualValues(t, len(want), stats.Records)
		require.EqualValues(t, len(want), stats.Sequence)
		require.EqualValues(t, 1, stats.DurableResets)
		require.Zero(t, stats.Redelivered+stats.SinkFailures+stats.ServerFailures+stats.Behind)
	}
}

// A Run that ends in the middle of a batch acknowledges nothing of the batch, and the next Run begins with it, at once
// and in order, although AckWait is an hour.
func TestKilledConsumerIsResumed(t *testing.T) {
	for _, test := range []struct {
		name  string
		drain time.Duration
	}{{"killed", -1}, {"drain too short", time.Millisecond}} {
		t.Run(test.name, func(t *testing.T) {
			b := bustest.New(t, natsbus.StreamsConfig{})
			recs, _ := split(sinktest.Records(1, 1000))
			b.Publish(t, recs)
			cfg := natsbus.ConsumerConfig{Batch: 100, AckWait: time.Hour, FlushEvery: 5 * time.Second, DrainTimeout: test.drain}

			var before sinktest.Recorder
			writes := 0
			stuck, entered, _ := bustest.Block(&before)
			stop := bustest.Run(t, b.Consumer(t, cfg), sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
				if writes++; writes <= 3 {
					return before.Write(ctx, recs)
				}
				return stuck.Write(ctx, recs)
			}))
			<-entered
			require.ErrorIs(t, stop(), context.Canceled)
			require.Eventually(t, func() bool { return b.Unacked(t, natsbus.BooksStream(""), "test") == len(recs)-300 }, bustest.Patience, bustest.Interval)

			var after sinktest.Recorder
			cfg.FlushEvery = 0
			bustest.Run(t, b.Consumer(t, cfg), &after)
			got := append(before.Records(), bustest.Await(t, &after, len(recs)-300)...)
			bustest.RequireEqual(t, recs, got)
			for i, r := range got {
				require.EqualValues(t, i+1, r.Origin.Sequence)
				require.Equal(t, got[0].Origin.Source, r.Origin.Source)
			}
		})
	}
}

// A batch that is with the sink when ctx ends is written and acknowledged.
func TestRunDrains(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs, _ := split(sinktest.Records(1, 100))
	b.Publish(t, recs)
	var got sinktest.Recorder
	held, entered, release := bustest.Block(&got)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	c := b.Consumer(t, natsbus.ConsumerConfig{Batch: len(recs), FlushEvery: 2 * time.Second}) // all in one batch
	go func() { done <- c.Run(ctx, held) }()
	<-entered
	require.ErrorIs(t, c.Run(t.Context(), held), natsbus.ErrRunning)
	cancel()
	release()
	require.NoError(t, <-done)
	bustest.RequireEqual(t, recs, got.Records())
	b.AllAcked(t, natsbus.BooksStream(""), "test")
}

// A Run that waits for messages ends at once with ctx, and delivers the messages that have arrived.
func TestRunEndsDuringAFetch(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs := bustest.Updates(2)
	b.Publish(t, recs)
	var got sinktest.Recorder
	delivered := make(chan natsbus.DeliveryInfo, len(recs))
	stop := bustest.Run(t, b.Consumer(t, natsbus.ConsumerConfig{FlushEvery: time.Hour, Hooks: &natsbus.Hooks{
		Delivered: func(i natsbus.DeliveryInfo) { delivered <- i },
	}}), &got)
	for range recs {
		bustest.Receive(t, delivered)
	}
	require.NoError(t, stop())
	bustest.RequireEqual(t, recs, got.Records())
	b.AllAcked(t, natsbus.BooksStream(""), "test")
}

func TestFailingSinkIsWaitedFor(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs, _ := split(sinktest.Records(1, 1000))
	b.Publish(t, recs)
	var (
		got    sinktest.Recorder
		faults sinktest.Faults
	)
	broken := errors.New("broken")
	faults.FailNext(3, broken)
	faults.FailAfter(20, broken)
	faults.FailAfter(100, broken) // the sink has written all, and returns an error
	failures := 0
	c := b.Consumer(t, natsbus.ConsumerConfig{Batch: 100, Hooks: &natsbus.Hooks{SinkFailed: func(i natsbus.SinkFailedInfo) {
		failures++
		require.ErrorIs(t, i.Err, broken)
		require.Equal(t, failures, i.Attempt)
		require.EqualValues(t, 1, i.First)
		require.Equal(t, len(recs), b.Unacked(t, natsbus.BooksStream(""), "test"), "nothing is acknowledged")
	}}})
	bustest.Run(t, c, faults.Wrap(&got))
	require.Eventually(t, func() bool { return len(got.Unique()) == len(recs) }, bustest.Patience, bustest.Interval)
	require.Equal(t, 5, failures)
	bustest.RequireEqual(t, recs, got.Unique())
	sizes := got.Writes() // of the first batch: a part, all of it, and all of it again
	require.LessOrEqual(t, sizes[0], 20)
	require.Equal(t, sizes[1], sizes[2])
}

// While the sink is slow, the Consumer sends signs of life: nothing is delivered again, although the sink takes longer
// than AckWait.
func TestSlowSinkKeepsItsBatch(t *testing.T) {
	short.Skip(t)
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs, _ := split(sinktest.Records(1, 50))
	b.Publish(t, recs)
	progress := make(chan *nats.Msg, 1000)
	sub, err := b.JS.Conn().ChanSubscribe("$JS.ACK."+natsbus.BooksStream("")+".>", progress)
	require.NoError(t, err)
	defer func() { require.NoError(t, sub.Unsubscribe()) }()

	var got sinktest.Recorder
	held, entered, release := bustest.Block(&got)
	c := b.Consumer(t, natsbus.ConsumerConfig{AckWait: 1500 * time.Millisecond})
	bustest.Run(t, c, held)
	<-entered
	for range 6 * len(recs) { // six times a third of AckWait
		require.Equal(t, "+WPI", string((<-progress).Data))
	}
	require.Zero(t, c.Stats().LastProgress)
	release()
	bustest.Await(t, &got, len(recs))
	require.Eventually(t, func() bool { return c.Stats().Records == uint64(len(recs)) }, bustest.Patience, bustest.Interval)
	bustest.RequireEqual(t, recs, got.Records())
	require.Zero(t, c.Stats().Redelivered)
	require.Eventually(t, func() bool { return !c.Stats().LastProgress.IsZero() }, bustest.Patience, bustest.Interval)
}

// Messages that the server has delivered to another client are requested again before any later one goes to the sink.
func TestMissingDeliveriesComeInOrder(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs, _ := split(sinktest.Records(1, 1000))
	b.Publish(t, recs)
	var got sinktest.Recorder
	realigns := make(chan natsbus.DurableResetInfo, 10)
	c := b.Consumer(t, natsbus.ConsumerConfig{Batch: 100, AckWait: time.Hour, MaxAckPending: 1000, Hooks: &natsbus.Hooks{
		DurableReset: func(i natsbus.DurableResetInfo) { realigns <- i },
	}})
	writes, acked := 0, 0 // two batches; a slow server does not fill them
	bustest.Run(t, c, sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
		if writes++; writes == 3 {
			acked = len(got.Records())
			thief, err := b.JS.Consumer(ctx, natsbus.BooksStream(""), "test")
			if err != nil {
				return err
			}
			stolen, err := thief.Fetch(30)
			if err != nil {
				return err
			}
			n := 0
			for range stolen.Messages() {
				n++
			}
			if n != 30 {
				t.Errorf("%d messages stolen", n)
			}
		}
		return got.Write(ctx, recs)
	}))
	bustest.RequireEqual(t, recs, bustest.Await(t, &got, len(recs)))
	require.Len(t, realigns, 2)
	require.NoError(t, (<-realigns).Err)
	again := <-realigns
	require.Greater(t, again.From, uint64(acked), "acknowledged messages do not come again")
	require.Positive(t, acked)
	require.ErrorContains(t, again.Err, "missing")
}

// A stream that was deleted and created again counts from 1 and has another Source.
func TestRecreatedStreamHasAnotherSource(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs := []marketprism.Record{bustest.Update(1)}
	origin := func() marketprism.Origin {
		b.Publish(t, recs)
		var got sinktest.Recorder
		stop := bustest.Run(t, b.Consumer(t, natsbus.ConsumerConfig{}), &got)
		defer func() { _ = stop() }()
		return bustest.Await(t, &got, 1)[0].Origin
	}
	one := origin()
	b.Restart(t)
	source, err := natsbus.StreamSource(t.Context(), b.JS, natsbus.BooksStream(""))
	require.NoError(t, err)
	require.Equal(t, one.Source, source, "a restart does not change it")

	require.NoError(t, b.JS.DeleteStream(t.Context(), natsbus.BooksStream("")))
	require.NoError(t, natsbus.EnsureStreams(t.Context(), b.JS, natsbus.StreamsConfig{}))
	two := origin()
	require.Equal(t, one.Sequence, two.Sequence)
	require.NotEqual(t, one.Source, two.Source)
}

func TestRunWithoutStream(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t))
	c, err := natsbus.NewConsumer(js, natsbus.ConsumerConfig{Stream: "NONE", Durable: "d"})
	require.NoError(t, err)
	err = c.Run(t.Context(), &sinktest.Recorder{})
	var failed *natsbus.ConsumerError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, "NONE", failed.Stream)
	require.ErrorIs(t, err, jetstream.ErrStreamNotFound)
}

// A durable of another form, which the server cannot change, ends Run at once and stays as it is.
func TestDurableOfAnotherForm(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	b.Publish(t, bustest.Updates(3))
	start := time.Now()
	for name, other := range map[string]jetstream.ConsumerConfig{
		"push":         {DeliverSubject: "somewhere", AckPolicy: jetstream.AckExplicitPolicy},
		"plain-push":   {DeliverSubject: "somewhere", AckPolicy: jetstream.AckNonePolicy},
		"no-acks":      {AckPolicy: jetstream.AckNonePolicy},
		"all-acks":     {AckPolicy: jetstream.AckAllPolicy},
		"new-messages": {AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverNewPolicy},
		"from-a-time":  {AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &start},
		"in-memory":    {AckPolicy: jetstream.AckExplicitPolicy, MemoryStorage: true},
		"few-waiting":  {AckPolicy: jetstream.AckExplicitPolicy, MaxWaiting: 7},
		"as-recorded":  {AckPolicy: jetstream.AckExplicitPolicy, ReplayPolicy: jetstream.ReplayOriginalPolicy},
	} {
		t.Run(name, func(t *testing.T) {
			other.Durable = name
			var err error
			if other.DeliverSubject != "" {
				_, err = b.JS.CreatePushConsumer(t.Context(), "MD_DEPTH", other)
			} else {
				_, err = b.JS.CreateConsumer(t.Context(), "MD_DEPTH", other)
			}
			require.NoError(t, err)
			var got sinktest.Recorder
			err = b.Consumer(t, natsbus.ConsumerConfig{Durable: name, Hooks: &natsbus.Hooks{
				ServerFailed: func(i natsbus.ServerFailedInfo) { t.Errorf("it waits: %v", i.Err) },
			}}).Run(t.Context(), &got)
			var failed *natsbus.ConsumerError
			require.ErrorAs(t, err, &failed)
			require.ErrorIs(t, err, natsbus.ErrIncompatible)
			require.ErrorContains(t, err, "consumer "+name+" of stream MD_DEPTH")
			require.Empty(t, got.Records())
		})
	}
}

// A durable of another form on the queue of re-drives does not keep the Consumer from its stream.
func TestRedriveDurableOfAnotherForm(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	_, err := b.JS.CreateConsumer(t.Context(), natsbus.RedriveStream(""), jetstream.ConsumerConfig{
		Durable: "MD_DEPTH=test", FilterSubject: "redrive.MD_DEPTH.test.>", AckPolicy: jetstream.AckExplicitPolicy, MaxWaiting: 7,
	})
	require.NoError(t, err)
	recs := bustest.Updates(3)
	b.Publish(t, recs)
	failed := make(chan natsbus.ServerFailedInfo, 1000)
	var got sinktest.Recorder
	bustest.Run(t, b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true, Hooks: &natsbus.Hooks{
		ServerFailed: func(i natsbus.ServerFailedInfo) { failed <- i },
	}}), &got)
	require.ErrorIs(t, bustest.Receive(t, failed).Err, natsbus.ErrIncompatible)
	bustest.RequireEqual(t, recs, bustest.Await(t, &got, len(recs)))
}

func TestConsumerConfigIsChecked(t *testing.T) {
	good := natsbus.ConsumerConfig{Stream: "S", Durable: "d"}
	for _, change := range []func(*natsbus.ConsumerConfig){
		func(c *natsbus.ConsumerConfig) { c.Stream = "" },
		func(c *natsbus.ConsumerConfig) { c.Durable = "" },
		func(c *natsbus.ConsumerConfig) { c.Durable = "a.b" },
		func(c *natsbus.ConsumerConfig) { c.Batch = -1 },
		func(c *natsbus.ConsumerConfig) { c.BatchBytes = -1 },
		func(c *natsbus.ConsumerConfig) { c.Batch = 10; c.MaxAckPending = 9 },
		func(c *natsbus.ConsumerConfig) { c.MaxAckPending = -1 },
		func(c *natsbus.ConsumerConfig) { c.FlushEvery = -1 },
		func(c *natsbus.ConsumerConfig) { c.AckWait = -1 },
		func(c *natsbus.ConsumerConfig) { c.RetryMin = -1 },
		func(c *natsbus.ConsumerConfig) { c.MaxAttempts = -1 },
		func(c *natsbus.ConsumerConfig) { c.Workers = -1 },
	} {
		cfg := good
		change(&cfg)
		_, err := natsbus.NewConsumer(nil, cfg)
		require.Error(t, err, "%+v", cfg)
	}
}

// A Consumer stops at a snapshot with a wrong checksum.
func TestConsumerRefusesWrongChecksum(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	b.PublishWrong(t, bustest.NewVenue("BTCUSDT", 12).Snapshot())
	c := b.Consumer(t, natsbus.ConsumerConfig{})
	err := c.Run(t.Context(), sink.Func(func(context.Context, []marketprism.Record) error {
		t.Error("it was written")
		return nil
	}))
	bustest.RequireKind(t, err, "checksum")
}

// The message of a snapshot has its bounds.
func TestCodecKeepsBounds(t *testing.T) {
	v := bustest.NewVenue("BTCUSDT", 2)
	want := v.Snapshot()
	want.Snapshot.SetLimit(len(want.Snapshot.Bids))
	require.True(t, want.Snapshot.BidBound.Limited)
	body, err := natsbus.AppendRecord(nil, &want)
	require.NoError(t, err)
	var got marketprism.Record
	require.NoError(t, natsbus.DecodeRecord(body, &got))
	require.Equal(t, want.Snapshot.BidBound, got.Snapshot.BidBound)
	require.Equal(t, want.Snapshot.AskBound, got.Snapshot.AskBound)
}

func TestInCluster(t *testing.T) {
	bustest.RunInCluster(t, map[string]func(*testing.T){
		"two publishers":      TestTwoPublishersStoreEachRecordOnce,
		"restarts under load": TestServerRestartsUnderLoad,
		"leader changes":      leaderChangesUnderLoad,
		"every kind":          TestEveryKindArrivesExactlyAndInOrder,
		"killed consumer":     TestKilledConsumerIsResumed,
	})
}

// A Consumer counts every message at its delivery, and by its reply.
func TestConsumerCountsReplies(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	recs := bustest.Updates(20)
	b.Publish(t, recs)
	var (
		mu        sync.Mutex
		delivered []natsbus.DeliveryInfo
		handled   int
		refused   int
	)
	c := b.Consumer(t, natsbus.ConsumerConfig{DeadLetters: true, AckWait: 300 * time.Millisecond, Hooks: &natsbus.Hooks{
		Delivered: func(i natsbus.DeliveryInfo) {
			mu.Lock()
			defer mu.Unlock()
			delivered = append(delivered, i)
		},
		Handled: func(i natsbus.HandleInfo) {
			if i.Err != nil {
				refused++
			} else {
				handled += i.Records
			}
		},
	}})
	_, err := c.Lag(t.Context())
	require.ErrorIs(t, err, jetstream.ErrConsumerNotFound)
	var got sinktest.Recorder
	slow := bustest.NewPicky(&got, recs[3])
	stop := bustest.Run(t, c, sink.Func(func(ctx context.Context, recs []marketprism.Record) error {
		for c.Stats().Replies.InProgress == 0 && ctx.Err() == nil {
			_ = backoff.Sleep(ctx, bustest.Interval)
		}
		return slow.Write(ctx, recs)
	}))
	bustest.Settled(t, c, len(recs))
	lag, err := c.Lag(t.Context())
	require.NoError(t, err)
	require.Zero(t, lag.Pending)
	require.Zero(t, lag.AckPending)
	require.NoError(t, stop())

	stats := c.Stats()
	require.Equal(t, "MD_DEPTH", stats.Stream)
	require.Equal(t, "test", stats.Durable)
	require.EqualValues(t, 20, stats.Deliveries)
	require.Zero(t, stats.Redeliveries)
	require.EqualValues(t, 19, stats.Replies.Ack)
	require.EqualValues(t, 1, stats.Replies.Term)
	require.Positive(t, stats.Replies.InProgress)
	require.Equal(t, map[natsbus.DeadReason]uint64{natsbus.DeadRefused: 1}, stats.DeadReasons)
	require.Equal(t, 19, handled)
	require.Positive(t, refused)
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, delivered, 20)
	for i, info := range delivered {
		require.EqualValues(t, i+1, info.Sequence)
		require.EqualValues(t, 1, info.Deliveries)
		require.False(t, info.StoredAt.IsZero())
	}

	dlq, err := natsbus.ReadStreamStats(t.Context(), b.JS, "MD_DLQ")
	require.NoError(t, err)
	require.EqualValues(t, 1, dlq.Messages)
	require.EqualValues(t, 128<<20, dlq.MaxBytes)
	require.False(t, dlq.Oldest.IsZero())
	dead := b.DeadLetters()
	_, err = dead.Purge(t.Context(), deadletter.Filter{})
	require.NoError(t, err)
	require.Equal(t, deadletter.Counts{Purged: 1}, dead.Counts())
}

// A Consumer counts the messages that it returns to the server at the end of Run.
func TestConsumerCountsNaks(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	b.Publish(t, bustest.Updates(5))
	c := b.Consumer(t, natsbus.ConsumerConfig{DrainTimeout: -1, Batch: 5, FlushEvery: time.Minute})
	started := make(chan struct{}, 100)
	stop := bustest.Run(t, c, sink.Func(func(ctx context.Context, _ []marketprism.Record) error {
		started <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}))
	<-started
	require.Error(t, stop())
	require.EqualValues(t, 5, c.Stats().Replies.Nak)
	require.EqualValues(t, 5, c.Stats().Released)
}
