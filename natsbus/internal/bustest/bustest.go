// Package bustest is the harness of the tests of natsbus and the packages below it: servers, streams and sinks.
package bustest

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/natsserver"
	"github.com/marketprism/marketprism/internal/natsserver/natstest"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// A Bus is a server that a test has for itself, or a cluster, with the streams on it.
type Bus struct {
	*natsserver.Server                     // nil in a cluster
	Cluster            *natsserver.Cluster // nil otherwise
	JS                 jetstream.JetStream
}

// New runs a server, with the streams of cfg, until the test ends.
func New(t testing.TB, cfg natsbus.StreamsConfig) *Bus {
	t.Helper()
	if inCluster(t) {
		return newInCluster(t, cfg)
	}
	s := natstest.Start(t)
	b := &Bus{Server: s, JS: natstest.JetStream(t, s, natsbus.Options()...)}
	require.NoError(t, natsbus.EnsureStreams(t.Context(), b.JS, cfg))
	return b
}

// Restart stops the server and starts it again at the same address with the same streams, and waits for the connection.
func (b *Bus) Restart(t testing.TB) {
	t.Helper()
	if b.Cluster != nil {
		b.restartLeader(t)
		return
	}
	_ = b.Close()
	b.Server = natstest.StartConfig(t, b.Config())
	require.Eventually(t, b.JS.Conn().IsConnected, Patience, Interval)
}

// Publisher returns a Publisher that is closed when the test ends.
func (b *Bus) Publisher(t testing.TB, cfg natsbus.PublisherConfig) *natsbus.Publisher {
	t.Helper()
	p, err := natsbus.NewPublisher(b.JS, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// Publish publishes records, and returns when they are stored.
func (b *Bus) Publish(t testing.TB, recs []marketprism.Record) {
	t.Helper()
	require.NoError(t, b.Publisher(t, natsbus.PublisherConfig{}).Write(t.Context(), recs))
}

// PublishWrong publishes a snapshot with one wrong quantity and the checksum of the right one.
func (b *Bus) PublishWrong(t testing.TB, r marketprism.Record) {
	t.Helper()
	quantity := r.Snapshot.Bids[0].Quantity
	body, err := natsbus.AppendRecord(nil, &r)
	require.NoError(t, err)
	old := []byte(`"` + quantity.String() + `"]`)
	require.True(t, bytes.Contains(body, old))
	body = bytes.Replace(body, old, []byte(`"987"]`), 1)
	_, err = b.JS.PublishMsg(t.Context(), &nats.Msg{Subject: natsbus.Subject("", r.Instrument, r.Kind()), Data: body})
	require.NoError(t, err)
}

// Consumer returns a Consumer with short delays, by default of the durable test on the stream of books.
func (b *Bus) Consumer(t testing.TB, cfg natsbus.ConsumerConfig) *natsbus.Consumer {
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
	c, err := natsbus.NewConsumer(b.JS, cfg)
	require.NoError(t, err)
	return c
}

// Run runs c until the test stops it or ends. stop returns the result of Run.
func Run(t testing.TB, c *natsbus.Consumer, dst sink.Sink) (stop func() error) {
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
		case <-time.After(Patience):
			t.Error("Run does not end")
			return nil
		}
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}

// Patience bounds the wait for an event, and Interval is the time between two checks.
const (
	Patience = 60 * time.Second
	Interval = 5 * time.Millisecond
)

// Messages returns the number of messages in a stream.
func (b *Bus) Messages(t testing.TB, stream string) int {
	t.Helper()
	s, err := b.JS.Stream(t.Context(), stream)
	require.NoError(t, err)
	return int(s.CachedInfo().State.Msgs)
}

// Unacked returns the number of messages that a durable has not acknowledged.
func (b *Bus) Unacked(t testing.TB, stream, durable string) int {
	t.Helper()
	c, err := b.JS.Consumer(t.Context(), stream, durable)
	require.NoError(t, err)
	info := c.CachedInfo()
	return int(info.NumPending) + info.NumAckPending
}

// AllAcked fails the test unless a durable has acknowledged all messages. The servers of a cluster may need a moment to
// agree on that.
func (b *Bus) AllAcked(t testing.TB, stream, durable string) {
	t.Helper()
	if !inCluster(t) {
		require.Zero(t, b.Unacked(t, stream, durable))
		return
	}
	require.Eventually(t, func() bool { return b.Unacked(t, stream, durable) == 0 }, Patience, Interval)
}

// RequireEqual fails the test unless the records are equal, in order.
func RequireEqual(t testing.TB, want, got []marketprism.Record) {
	t.Helper()
	for i := range min(len(want), len(got)) {
		require.Empty(t, sinktest.Diff(&want[i], &got[i]), "record %d: %s written, %s read", i, want[i].Key(), got[i].Key())
	}
	require.Len(t, got, len(want))
}

// Await waits until got has n records and returns them.
func Await(t testing.TB, got *sinktest.Recorder, n int) []marketprism.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	recs, err := got.Wait(ctx, n)
	require.NoError(t, err)
	return recs
}

// Receive returns the next value of a channel, and fails the test after Patience.
func Receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(Patience):
		t.Fatal("nothing was sent")
		panic("unreachable")
	}
}

// RunInCluster runs tests that usually run against one server against a cluster of three, with three replicas of
// each stream. The test that calls it is named TestInCluster: New knows by that name that a cluster is wanted. A
// Restart in such a test restarts the server that leads the stream.
func RunInCluster(t *testing.T, tests map[string]func(*testing.T)) {
	if testing.Short() {
		t.Skip("-short: a cluster takes seconds to choose its leaders")
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they spend most of their time waiting for elections
			test(t)
		})
	}
}

func inCluster(t testing.TB) bool { return strings.HasPrefix(t.Name(), "TestInCluster/") }

func newInCluster(t testing.TB, cfg natsbus.StreamsConfig) *Bus {
	t.Helper()
	c := natstest.StartCluster(t)
	b := &Bus{Cluster: c, JS: natstest.Connect(t, c.URL(), natsbus.Options()...)}
	cfg.Replicas = 3
	var err error
	require.Eventually(t, func() bool { // the leader may count a silent peer as absent, or change
		err = natsbus.EnsureStreams(t.Context(), b.JS, cfg)
		return !errors.Is(err, natsbus.ErrReplicas) && !errors.Is(err, context.DeadlineExceeded)
	}, Patience, Interval)
	require.NoError(t, err)
	return b
}

// restartLeader restarts the server that leads the stream of books, and waits until it has caught up, so that the next
// one may be stopped.
func (b *Bus) restartLeader(t testing.TB) {
	t.Helper()
	var leader int
	require.Eventually(t, func() bool {
		leader = b.Cluster.Leader(natsbus.BooksStream(""))
		return leader >= 0
	}, Patience, Interval)
	b.Cluster.Suspend(leader)
	require.NoError(t, b.Cluster.Resume(leader))
	require.NoError(t, b.Cluster.Await())
	require.Eventually(t, b.JS.Conn().IsConnected, Patience, Interval)
}

// StepDown makes the leaders of a stream, and of durables on it, step down in a cluster, and returns when they have.
// Others are chosen meanwhile.
func (b *Bus) StepDown(t testing.TB, stream string, durables ...string) {
	t.Helper()
	requests := []string{"STREAM.LEADER.STEPDOWN." + stream}
	for _, durable := range durables {
		requests = append(requests, "CONSUMER.LEADER.STEPDOWN."+stream+"."+durable)
	}
	for _, request := range requests {
		require.Eventually(t, func() bool { // there may be no leader at present
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			answer, err := b.JS.Conn().RequestWithContext(ctx, jetstream.DefaultAPIPrefix+request, nil)
			return err == nil && strings.Contains(string(answer.Data), `"success":true`)
		}, Patience, Interval)
	}
}

// BTC is the instrument of Update.
var BTC = marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "BTCUSDT"}

// Update returns a small record of BTC.
func Update(id int64) marketprism.Record {
	at := time.UnixMilli(1_780_000_000_000 + id).UTC()
	return marketprism.Record{Instrument: BTC, EventTime: at, Update: &orderbook.Update{FirstID: id, LastID: id, EventTime: at}}
}

// Trade returns a small record of BTC.
func Trade(id int64) marketprism.Record {
	r := Update(id)
	r.Update, r.Trade = nil, &marketprism.Trade{ID: id, Price: 1, Quantity: 1, TradeTime: r.EventTime}
	return r
}

// Updates returns the Updates 1 to n.
func Updates(n int) []marketprism.Record {
	recs := make([]marketprism.Record, n)
	for i := range recs {
		recs[i] = Update(int64(i + 1))
	}
	return recs
}

// Config returns the configuration of a stream.
func Config(t testing.TB, js jetstream.JetStream, stream string) jetstream.StreamConfig {
	t.Helper()
	s, err := js.Stream(t.Context(), stream)
	require.NoError(t, err)
	return s.CachedInfo().Config
}
