package presence_test

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/micro"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
	"github.com/marketprism/marketprism/natsbus/presence"
)

// watchPeers runs a Watch until the test ends, and returns it when it listens.
func watchPeers(t *testing.T, b *bustest.Bus, cfg presence.WatchConfig) (w *presence.Watch, changes <-chan presence.Peer) {
	t.Helper()
	peers := make(chan presence.Peer, 100)
	cfg.Changed = func(p presence.Peer) { peers <- p }
	w, err := presence.NewWatch(b.JS.Conn(), cfg)
	require.NoError(t, err)
	before := b.JS.Conn().NumSubscriptions()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	require.Eventually(t, func() bool { return b.JS.Conn().NumSubscriptions() > before }, bustest.Patience, bustest.Interval)
	return w, peers
}

func TestWatchHearsHeartbeats(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	w, changes := watchPeers(t, b, presence.WatchConfig{})
	var lag atomic.Uint64
	lag.Store(3)
	sent := make(chan presence.Beat, 1000)
	h, err := presence.NewHeartbeat(b.JS.Conn(), presence.HeartbeatConfig{
		Service: "collector", Instance: "tokyo-1", Version: "1.2.3", Every: 200 * time.Millisecond,
		Report: func() presence.Report {
			return presence.Report{State: "running", Counters: map[string]uint64{"records": 7}, Lag: lag.Load()}
		},
		Hooks: &presence.Hooks{Sent: func(b presence.Beat) { sent <- b }},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()

	alive := bustest.Receive(t, changes)
	require.Equal(t, presence.Alive, alive.Liveness)
	first := bustest.Receive(t, sent)
	require.Equal(t, first.Started, alive.Started)
	require.Equal(t, "tokyo-1", alive.Instance)
	require.Equal(t, "running", alive.State)
	require.Equal(t, uint64(7), alive.Counters["records"])

	lag.Store(0)
	require.Eventually(t, func() bool {
		peers := w.Peers()
		return len(peers) == 1 && peers[0].Lag == 0
	}, bustest.Patience, bustest.Interval)

	cancel()
	require.NoError(t, <-done)
	for p := range changes { // it may be late first
		if p.Liveness == presence.Gone {
			require.Zero(t, p.Every)
			break
		}
	}
	require.Empty(t, w.Peers())
}

// A Watch that begins later knows at once which services are alive and when they sent their last beat, without those that
// have ended or been silent for long.
func TestWatchBeginsWithTheLastBeats(t *testing.T) {
	short.Skip(t)
	b := bustest.New(t, natsbus.StreamsConfig{})
	publish := func(instance string, every time.Duration) {
		beat, err := json.Marshal(presence.Beat{Service: "archiver", Instance: instance, Every: every})
		require.NoError(t, err)
		_, err = b.JS.Publish(t.Context(), "mdhb.archiver."+instance, beat)
		require.NoError(t, err)
	}
	for range 3 {
		publish("quiet", time.Hour)
	}
	publish("dead", time.Nanosecond)
	publish("ended", time.Hour)
	publish("ended", 0)
	publish("other", time.Hour)
	_, err := b.JS.Publish(t.Context(), "mdhb.archiver.broken", []byte("{"))
	require.NoError(t, err)

	refused := make(chan string, 10)
	_, changes := watchPeers(t, b, presence.WatchConfig{Refused: func(subject string, _ error) { refused <- subject }})
	heard := []string{bustest.Receive(t, changes).Instance, bustest.Receive(t, changes).Instance}
	require.ElementsMatch(t, []string{"quiet", "other"}, heard)
	require.Equal(t, "mdhb.archiver.broken", bustest.Receive(t, refused))
	publish("new", time.Hour)
	require.Equal(t, "new", bustest.Receive(t, changes).Instance)
	s, err := b.JS.Stream(t.Context(), "MD_HEARTBEAT")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		info, err := s.Info(t.Context())
		return err == nil && info.State.Consumers == 0
	}, bustest.Patience, bustest.Interval, "it deletes its consumer")
}

// A service that stops sending is late, and then gone.
func TestWatchNoticesSilence(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	refused := make(chan error, 10)
	w, changes := watchPeers(t, b, presence.WatchConfig{Service: "store", Refused: func(_ string, err error) { refused <- err }})
	publish := func(subject, body string) {
		require.NoError(t, b.JS.Conn().Publish(subject, []byte(body)))
	}
	publish("mdhb.collector.a", `{"service":"collector","instance":"a","every":1000000}`) // another service
	publish("mdhb.store.a", `{"service":"store","instance":"a","every":1000000}`)
	for _, want := range []presence.Liveness{presence.Alive, presence.Late, presence.Gone} {
		if p := bustest.Receive(t, changes); p.Liveness != want { // if the test is delayed, it is gone at once
			require.Equal(t, presence.Gone, p.Liveness)
			break
		}
	}
	require.Empty(t, w.Peers())

	publish("mdhb.store.b", `{"service":"store","instance":"a","every":1000000}`)
	require.ErrorContains(t, bustest.Receive(t, refused), "store.a")
	publish("mdhb.store.b", `no beat`)
	var syntax *json.SyntaxError
	require.ErrorAs(t, bustest.Receive(t, refused), &syntax)
}

// The micro service can be discovered, and answers with its status.
func TestHeartbeatIsAService(t *testing.T) {
	b := bustest.New(t, natsbus.StreamsConfig{})
	nc := b.JS.Conn()
	sent := make(chan presence.Beat, 1000)
	h, err := presence.NewHeartbeat(nc, presence.HeartbeatConfig{
		Service: "collector", Instance: "a", Version: "1.2.3",
		Hooks: &presence.Hooks{Sent: func(b presence.Beat) { sent <- b }},
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	bustest.Receive(t, sent)

	answer, err := nc.Request("$SRV.INFO.collector", nil, bustest.Patience)
	require.NoError(t, err)
	var info micro.Info
	require.NoError(t, json.Unmarshal(answer.Data, &info))
	require.Equal(t, "1.2.3", info.Version)
	require.Equal(t, "a", info.Metadata["instance"])
	require.Equal(t, "MarketPrism: collector", info.Description)
	require.Len(t, info.Endpoints, 1)
	require.Equal(t, "status", info.Endpoints[0].Name)
	require.Equal(t, "mdstatus.collector.a", info.Endpoints[0].Subject)
	require.NotEmpty(t, info.Endpoints[0].Metadata["description"])

	answer, err = nc.Request(info.Endpoints[0].Subject, nil, bustest.Patience)
	require.NoError(t, err)
	var beat presence.Beat
	require.NoError(t, json.Unmarshal(answer.Data, &beat))
	require.Equal(t, "collector", beat.Service)
	cancel()
	require.NoError(t, <-done)
}

func TestHeartbeatAndWatchConfigsAreChecked(t *testing.T) {
	for want, cfg := range map[string]presence.HeartbeatConfig{
		"Service":  {Instance: "a", Version: "1.2.3"},
		"Instance": {Service: "a", Instance: "a.b", Version: "1.2.3"},
		"Version":  {Service: "a", Instance: "a", Version: "one"},
		"Every":    {Service: "a", Instance: "a", Version: "1.2.3", Every: -1},
		"prefix":   {Service: "a", Instance: "a", Version: "1.2.3", Prefix: ">"},
	} {
		_, err := presence.NewHeartbeat(nil, cfg)
		require.ErrorContains(t, err, want)
	}
	for want, cfg := range map[string]presence.WatchConfig{
		"Service": {Service: "*"}, "MaxPeers": {MaxPeers: -1}, "prefix": {Prefix: ">"},
	} {
		_, err := presence.NewWatch(nil, cfg)
		require.ErrorContains(t, err, want)
	}
}
