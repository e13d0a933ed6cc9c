package natsbus_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/natsserver/natstest"
	"github.com/marketprism/marketprism/natsbus"
)

const clusterTest = "TestInCluster"

// TestInCluster runs tests that run against one server against a cluster of three, with three
// replicas of everything. What restarts the server in them restarts the one that leads the stream.
func TestInCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: a cluster takes seconds to choose its leaders")
	}
	for name, test := range map[string]func(*testing.T){
		"two publishers":            TestTwoPublishersStoreEachRecordOnce,
		"restarts under load":       TestServerRestartsUnderLoad,
		"every kind":                TestEveryKindArrivesExactlyAndInOrder,
		"killed consumer":           TestKilledConsumerIsResumed,
		"dead letters":              TestDeadLetterRoundTrip,
		"re-drive through restarts": TestRedriveSurvivesTheConsumerAndTheServer,
		"depth feed":                depthFeedOutlivesTheLeader,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait for elections most of the time
			test(t)
		})
	}
}

// A feed has the same book behind every restart of the leader, whether or not it is connected to it.
func depthFeedOutlivesTheLeader(t *testing.T) {
	b := newBus(t, natsbus.StreamsConfig{})
	v := newVenue("BTCUSDT", 20)
	b.publish(t, append([]marketprism.Record{v.snapshot()}, v.updates(5)...))
	f := b.follow(t, natsbus.DepthFeedConfig{}, v)
	for range 2 {
		f.reach(v)
		b.restart(t)
		b.publish(t, v.updates(10))
	}
	f.reach(v)
	require.Empty(t, f.reasons())
}

// inCluster tells whether a test is one of TestInCluster.
func inCluster(t testing.TB) bool { return strings.HasPrefix(t.Name(), clusterTest+"/") }

func newClusterBus(t testing.TB, cfg natsbus.StreamsConfig) *bus {
	t.Helper()
	c := natstest.StartCluster(t)
	b := &bus{cluster: c, js: natstest.Connect(t, c.URL(), natsbus.Options()...)}
	cfg.Replicas = 3
	var err error
	require.Eventually(t, func() bool { // a leader that has not heard of a peer lately takes it to be away, or is about to change
		err = natsbus.EnsureStreams(t.Context(), b.js, cfg)
		return !errors.Is(err, natsbus.ErrReplicas) && !errors.Is(err, context.DeadlineExceeded)
	}, patience, interval)
	require.NoError(t, err)
	return b
}

// restartLeader stops the server that leads the books and starts it again, and waits until it has
// caught up, so that the next one may be stopped.
func (b *bus) restartLeader(t testing.TB) {
	t.Helper()
	var leader int
	require.Eventually(t, func() bool {
		leader = b.cluster.Leader(natsbus.BooksStream(""))
		return leader >= 0
	}, patience, interval)
	b.cluster.Stop(leader)
	require.NoError(t, b.cluster.Resume(leader))
	require.NoError(t, b.cluster.Await())
	require.Eventually(t, b.js.Conn().IsConnected, patience, interval)
}
