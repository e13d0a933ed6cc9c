package pipeline

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/natsserver/natstest"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
)

// A stage that could not deliver everything says so, also if its last error is the end of a context.
func TestStageErrorsAreReturned(t *testing.T) {
	undelivered := &sink.UndeliveredError{Records: 3, Err: context.Canceled}
	stages := startAll(t.Context(), func(error) {},
		func(ctx context.Context) error { <-ctx.Done(); return undelivered },
		func(ctx context.Context) error { <-ctx.Done(); return nil })
	require.ErrorIs(t, stages.end(), undelivered)
}

// A consumer that finds everything stored by the run before has nothing to wait for.
func TestWaitStoredOfAnEarlierRun(t *testing.T) {
	js := natstest.JetStream(t, natstest.Start(t))
	require.NoError(t, natsbus.EnsureStreams(t.Context(), js, natsbus.StreamsConfig{}))
	publisher, err := natsbus.NewPublisher(js, natsbus.PublisherConfig{})
	require.NoError(t, err)
	defer publisher.Close()
	inst := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "BTCUSDT"}
	for id := range int64(3) {
		update := &orderbook.Update{FirstID: id + 1, LastID: id + 1}
		require.NoError(t, publisher.Write(t.Context(), []marketprism.Record{{Instrument: inst, ReceivedAt: time.Now(), Update: update}}))
	}
	stream := natsbus.BooksStream("")
	for range 2 {
		c, err := natsbus.NewConsumer(js, natsbus.ConsumerConfig{Stream: stream, Durable: "archive"})
		require.NoError(t, err)
		stages := startAll(t.Context(), func(error) {}, func(ctx context.Context) error {
			return c.Run(ctx, sink.Func(func(context.Context, []marketprism.Record) error { return nil }))
		})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		require.NoError(t, waitStored(ctx, js, stream, c))
		cancel()
		require.NoError(t, stages.end())
	}
}
