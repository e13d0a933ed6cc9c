package natsbus_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/natsserver/natstest"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/deadletter"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// What a Publisher counts of each stream adds up, and Hooks.Acked hears of every confirmation.
func TestPublisherCountsByStream(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	var (
		mu   sync.Mutex
		acks []natsbus.AckInfo
	)
	p := b.Publisher(t, natsbus.PublisherConfig{Hooks: &natsbus.Hooks{Acked: func(i natsbus.AckInfo) {
		mu.Lock()
		defer mu.Unlock()
		acks = append(acks, i)
	}}})
	require.Equal(t, "MD_DEPTH", p.Stats().Books.Stream)
	require.Equal(t, "MD_TRADE", p.Stats().Trades.Stream)

	recs := bustest.Updates(10)
	trade := marketprism.Record{Instrument: recs[0].Instrument, Trade: &marketprism.Trade{ID: 1, Price: 1, Quantity: 1}}
	require.NoError(t, p.Write(t.Context(), append(recs, trade)))
	require.NoError(t, p.Write(t.Context(), recs[:4]))

	large := bustest.Updates(1)[0]
	large.Update.FirstID, large.Update.LastID = 1000, 1000
	large.Instrument.Symbol = strings.Repeat("A", 2<<20)
	require.ErrorIs(t, p.Write(t.Context(), []marketprism.Record{large}), natsbus.ErrTooLarge)

	stats := p.Stats()
	books := stats.Books
	require.EqualValues(t, 14, books.Sent)
	require.EqualValues(t, 14, books.Acked)
	require.EqualValues(t, 4, books.Duplicates)
	require.Equal(t, natsbus.PublishFailures{TooLarge: 1}, books.Failures)
	require.EqualValues(t, 1, books.Failures.Total())
	require.Greater(t, books.SentBytes, uint64(14*100))
	require.Less(t, books.SentBytes, uint64(1<<20), "what was not sent is not counted")
	require.Zero(t, books.Pending)
	require.Zero(t, books.PendingBytes)
	require.EqualValues(t, 1, stats.Trades.Acked)
	require.EqualValues(t, 15, stats.Acked)
	require.EqualValues(t, 15, stats.Sent)
	require.EqualValues(t, 1, stats.PublishCounts.Failures.Total())

	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(acks) == 15
	}, bustest.Patience, bustest.Interval, "the last is told of as its Write returns")
	mu.Lock()
	defer mu.Unlock()
	duplicates := 0
	for _, ack := range acks {
		require.Positive(t, ack.Took)
		require.NotZero(t, ack.Sequence)
		if ack.Duplicate {
			duplicates++
		}
	}
	require.Equal(t, 4, duplicates)
}

// A stream that is full, and one that is not there, are counted as what they are.
func TestPublisherCountsFailures(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{Books: natsbus.StreamConfig{MaxBytes: 4096}})
	require.NoError(t, b.JS.DeleteStream(t.Context(), "MD_TRADE"))
	p := b.Publisher(t, natsbus.PublisherConfig{MaxAttempts: 1})
	require.ErrorIs(t, p.Write(t.Context(), bustest.Updates(100)), natsbus.ErrStreamFull)
	trade := marketprism.Record{Instrument: bustest.Updates(1)[0].Instrument, Trade: &marketprism.Trade{ID: 1, Price: 1, Quantity: 1}}
	require.ErrorIs(t, p.Write(t.Context(), []marketprism.Record{trade}), natsbus.ErrNoStream)

	stats := p.Stats()
	require.Positive(t, stats.Books.Failures.StreamFull)
	require.Equal(t, natsbus.PublishFailures{StreamFull: stats.Books.Failures.StreamFull}, stats.Books.Failures)
	require.Equal(t, natsbus.PublishFailures{NoResponders: 1}, stats.Trades.Failures)
}

// Every message of a Consumer is counted when it comes and by how it was settled.
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

// What is handed back at the end of Run is counted as such.
func TestConsumerCountsNaks(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	b.Publish(t, bustest.Updates(5))
	c := b.Consumer(t, natsbus.ConsumerConfig{DrainTimeout: -1})
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

// A connection's hooks hear of errors that answer no call, and of its end.
func TestConnHooks(t *testing.T) {
	s := natstest.Start(t)
	closed, back := make(chan error, 1), make(chan string, 1)
	failed, broken := make(chan natsbus.AsyncErrorInfo, 10), make(chan error, 10)
	hooks := &natsbus.ConnHooks{
		Closed:       func(err error) { closed <- err },
		Failed:       func(i natsbus.AsyncErrorInfo) { failed <- i },
		Disconnected: func(err error) { broken <- err },
		Reconnected:  func(server string) { back <- server },
	}
	nc, err := natsbus.Connect(t.Context(), s.URL(), hooks.Options()...)
	require.NoError(t, err)
	sub, err := nc.SubscribeSync("slow")
	require.NoError(t, err)
	require.NoError(t, sub.SetPendingLimits(1, -1))
	for range 10 {
		require.NoError(t, nc.Publish("slow", nil))
	}
	require.NoError(t, nc.Flush())
	info := <-failed
	require.Equal(t, "slow_consumer", info.Kind)
	require.Equal(t, "slow", info.Subject)
	require.ErrorIs(t, info.Err, nats.ErrSlowConsumer)

	require.NoError(t, nc.ForceReconnect())
	require.NotEmpty(t, <-back)
	<-broken
	nc.Close()
	require.NoError(t, <-closed)
}
