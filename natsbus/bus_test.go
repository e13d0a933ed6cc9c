package natsbus_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/natsserver"
	"github.com/marketprism/marketprism/internal/natsserver/natstest"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// A bus is a server of the test's own, or a cluster of them, with the streams on it.
type bus struct {
	*natsserver.Server                     // nil in a cluster
	cluster            *natsserver.Cluster // nil otherwise
	js                 jetstream.JetStream
}

func newBus(t testing.TB, cfg natsbus.StreamsConfig) *bus {
	t.Helper()
	if inCluster(t) {
		return newClusterBus(t, cfg)
	}
	s := natstest.Start(t)
	b := &bus{Server: s, js: natstest.JetStream(t, s, natsbus.Options()...)}
	require.NoError(t, natsbus.EnsureStreams(t.Context(), b.js, cfg))
	return b
}

// restart stops the server and starts it again at the same address on the same streams, and waits
// for the connection.
func (b *bus) restart(t testing.TB) {
	t.Helper()
	if b.cluster != nil {
		b.restartLeader(t)
		return
	}
	b.Shutdown()
	b.Server = natstest.StartConfig(t, b.Config())
	require.Eventually(t, b.js.Conn().IsConnected, patience, interval)
}

func (b *bus) publisher(t testing.TB, cfg natsbus.PublisherConfig) *natsbus.Publisher {
	t.Helper()
	p, err := natsbus.NewPublisher(b.js, cfg)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

func (b *bus) publish(t testing.TB, recs []marketprism.Record) {
	t.Helper()
	require.NoError(t, b.publisher(t, natsbus.PublisherConfig{}).Write(t.Context(), recs))
}

func (b *bus) consumer(t testing.TB, cfg natsbus.ConsumerConfig) *natsbus.Consumer {
	t.Helper()
	if cfg.Stream == "" {
		cfg.Stream = natsbus.BooksStream("")
	}
	if cfg.Durable == "" {
		cfg.Durable = "test"
	}
	if cfg.FlushEvery == 0 {
		cfg.FlushEvery = 20 * time.Millisecond
	}
	if cfg.RetryMin == 0 {
		cfg.RetryMin, cfg.RetryMax = time.Millisecond, 20*time.Millisecond
	}
	c, err := natsbus.NewConsumer(b.js, cfg)
	require.NoError(t, err)
	return c
}

// run runs c until the test stops it, and returns what Run returned.
func run(t testing.TB, c *natsbus.Consumer, dst sink.Sink) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, dst) }()
	stopped := false
	stop = func() error {
		cancel()
		if stopped {
			return nil
		}
		stopped = true
		select {
		case err := <-done:
			return err
		case <-time.After(patience):
			t.Error("Run does not end")
			return nil
		}
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}

// patience bounds waiting for what must happen.
const (
	patience = 60 * time.Second
	interval = 5 * time.Millisecond
)

// messages returns the number of messages in a stream.
func (b *bus) messages(t testing.TB, stream string) int {
	t.Helper()
	s, err := b.js.Stream(t.Context(), stream)
	require.NoError(t, err)
	return int(s.CachedInfo().State.Msgs)
}

// unacked returns how many messages a durable has not acknowledged.
func (b *bus) unacked(t testing.TB, stream, durable string) int {
	t.Helper()
	c, err := b.js.Consumer(t.Context(), stream, durable)
	require.NoError(t, err)
	info := c.CachedInfo()
	return int(info.NumPending) + info.NumAckPending
}

// allAcked fails unless a durable has acknowledged all messages. Servers that hold it together agree on that one after
// the other, so it may take them a moment.
func (b *bus) allAcked(t testing.TB, stream, durable string) {
	t.Helper()
	if !inCluster(t) {
		require.Zero(t, b.unacked(t, stream, durable))
		return
	}
	require.Eventually(t, func() bool { return b.unacked(t, stream, durable) == 0 }, patience, interval)
}

// split parts records as the streams do.
func split(recs []marketprism.Record) (books, trades []marketprism.Record) {
	for _, r := range recs {
		if r.Trade != nil {
			trades = append(trades, r)
		} else {
			books = append(books, r)
		}
	}
	return books, trades
}

func requireEqual(t testing.TB, want, got []marketprism.Record) {
	t.Helper()
	for i := range min(len(want), len(got)) {
		require.Empty(t, sinktest.Diff(&want[i], &got[i]), "record %d: %s written, %s read", i, want[i].Key(), got[i].Key())
	}
	require.Len(t, got, len(want))
}

// await waits until got has n records and returns them.
func await(t testing.TB, got *sinktest.Recorder, n int) []marketprism.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	recs, err := got.Wait(ctx, n)
	require.NoError(t, err)
	return recs
}

// letters returns the dead letters that match.
func (b *bus) letters(t testing.TB, filter natsbus.DeadLetterFilter) []*natsbus.DeadLetter {
	t.Helper()
	var letters []*natsbus.DeadLetter
	for letter, err := range natsbus.NewDeadLetters(b.js, natsbus.DeadLettersStream("")).List(t.Context(), filter) {
		require.NoError(t, err)
		letters = append(letters, letter)
	}
	return letters
}
