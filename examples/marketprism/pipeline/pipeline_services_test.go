package pipeline

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/examples/marketprism/health"
	"github.com/marketprism/marketprism/internal/natsserver/natstest"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
)

// An archiver with messages in flight that neither stores nor fails is stuck; one that stores, fails, waits for a
// server or has nothing to do is not.
func TestProgress(t *testing.T) {
	step := 30 * time.Second
	for name, test := range map[string]struct {
		stats func(turn uint64) natsbus.ConsumerStats
		want  bool
	}{
		"in flight without end": {func(uint64) natsbus.ConsumerStats { return natsbus.ConsumerStats{Batches: 7, InFlight: 1} }, false},
		"stores":                {func(n uint64) natsbus.ConsumerStats { return natsbus.ConsumerStats{Batches: n, InFlight: 1} }, true},
		"refused":               {func(n uint64) natsbus.ConsumerStats { return natsbus.ConsumerStats{Refusals: n, InFlight: 1} }, true},
		"the store fails":       {func(n uint64) natsbus.ConsumerStats { return natsbus.ConsumerStats{SinkFailures: n, InFlight: 1} }, true},
		"no dead letters": {func(n uint64) natsbus.ConsumerStats {
			return natsbus.ConsumerStats{DeadLetterFailures: n, InFlight: 1}
		}, true},
		"the bus fails": {func(n uint64) natsbus.ConsumerStats { return natsbus.ConsumerStats{ServerFailures: n, InFlight: 1} }, true},
		"the store is away": {func(uint64) natsbus.ConsumerStats {
			return natsbus.ConsumerStats{InFlight: 1, Circuit: natsbus.CircuitOpen}
		}, true},
		"nothing in flight":  {func(uint64) natsbus.ConsumerStats { return natsbus.ConsumerStats{Behind: 9} }, true},
		"idle before, stuck": {func(n uint64) natsbus.ConsumerStats { return natsbus.ConsumerStats{InFlight: int(min(n, 1))} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			var w progress
			now := time.Unix(1, 0)
			idle := natsbus.ConsumerStats{}
			require.True(t, w.observe(now, idle, test.stats(0)))
			for turn := range uint64(stuck/step) - 1 {
				now = now.Add(step)
				require.True(t, w.observe(now, idle, test.stats(turn+1)), "not yet")
			}
			now = now.Add(2 * step)
			require.Equal(t, test.want, w.observe(now, idle, test.stats(99)))
		})
	}
}

// A running main loop keeps the process alive, with and without an archiver.
func TestBeat(t *testing.T) {
	for _, a := range []*archiver{nil, {}} {
		p := newRun(t, testConfig(t))
		p.archiver = a
		synctest.Test(t, func(t *testing.T) {
			p.watch.health = health.New(stalled)
			time.Sleep(stalled + time.Second)
			require.Error(t, p.watch.health.Alive())
			p.beat()
			require.NoError(t, p.watch.health.Alive())
		})
	}
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
		require.NoError(t, sink.RunStages(t.Context(),
			sink.Stage{Run: func(context.Context) error { return nil }}, // the source is done
			sink.Stage{
				Run:   func(ctx context.Context) error { return c.Run(ctx, sink.Tee()) },
				Flush: func(ctx context.Context) error { return waitStored(ctx, js, stream, c) },
			}))
	}
}
