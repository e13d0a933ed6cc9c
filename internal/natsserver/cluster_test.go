package natsserver_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/internal/natsserver"
	"github.com/marketprism/marketprism/internal/natsserver/natstest"
	"github.com/marketprism/marketprism/internal/short"
)

// A stream with three replicas goes on without its leader, which catches up when it is back.
func TestClusterGoesOnWithoutALeader(t *testing.T) {
	short.Skip(t)
	c := natstest.StartCluster(t)
	js := natstest.Connect(t, c.URL())
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: 3})
	require.NoError(t, err)
	for i := range 2 {
		leader := c.Leader("S")
		require.NotEqual(t, -1, leader)
		c.Suspend(leader)
		require.Eventually(t, func() bool { // what is sent while another leader is chosen is not answered
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := js.Publish(ctx, "s", nil, jetstream.WithMsgID(strconv.Itoa(i)))
			return err == nil
		}, time.Minute, 10*time.Millisecond)
		require.NoError(t, c.Resume(leader))
		require.NoError(t, c.Await())
	}
	stream, err := js.Stream(t.Context(), "S")
	require.NoError(t, err)
	require.EqualValues(t, 2, stream.CachedInfo().State.Msgs)
	require.Len(t, stream.CachedInfo().Cluster.Replicas, 2)
}

func TestClusterOfTwoIsRefused(t *testing.T) {
	_, err := natsserver.StartCluster(t.TempDir(), 2)
	require.ErrorContains(t, err, "want 3 or more")
}
