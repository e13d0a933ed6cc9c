package natsbus_test

import (
	"context"
	"net/url"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/internal/natsserver"
	"github.com/marketprism/marketprism/internal/natsserver/natstest"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/internal/bustest"
)

func TestConnectNamesTheAddress(t *testing.T) {
	s := natstest.StartConfig(t, natsserver.Config{StoreDir: t.TempDir()})
	nc, err := natsbus.Connect(t.Context(), s.URL())
	require.NoError(t, err)
	nc.Close()
	require.NoError(t, s.Close())

	address, err := url.Parse(s.URL())
	require.NoError(t, err)
	address.User = url.UserPassword("me", "secret")
	_, err = natsbus.Connect(t.Context(), address.String())
	var failed *natsbus.ConnectError
	require.ErrorAs(t, err, &failed)
	address.User = nil
	require.Equal(t, address.String(), failed.URL)
	require.ErrorContains(t, err, address.String())
	require.ErrorContains(t, err, "server running")
	require.NotContains(t, err.Error(), "secret")

	for _, address := range []string{"nats://me:secret@host:port", "nats://me:secret/x@h:1", "nats://secret%zz@h:1", "nats://127.0.0.1:1,nats://me:sec,secret@h:x"} {
		_, err = natsbus.Connect(t.Context(), address)
		require.ErrorAs(t, err, &failed, address)
		require.NotContains(t, err.Error(), "secret", address)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = natsbus.Connect(ctx, "nats://192.0.2.1:4222") // an address that no server has
	require.ErrorIs(t, err, context.Canceled)
}

// The hooks of a connection are called with asynchronous errors, and at its end.
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

// Open makes the streams, and Close closes its own connection; Close of a Publisher on the caller's connection leaves it open.
func TestOpen(t *testing.T) {
	server := natstest.Start(t)
	for range 2 { // the streams are there the second time
		bus, err := natsbus.Open(t.Context(), server.URL())
		require.NoError(t, err)
		require.NoError(t, bus.Write(t.Context(), bustest.Updates(3)))
		other, err := natsbus.NewPublisher(bus.JS, natsbus.PublisherConfig{})
		require.NoError(t, err)
		require.NoError(t, other.Close())
		require.True(t, bus.JS.Conn().IsConnected())
		require.NoError(t, bus.Close())
		require.True(t, bus.JS.Conn().IsClosed())
		require.ErrorIs(t, bus.Write(t.Context(), bustest.Updates(3)), natsbus.ErrClosed)
	}
	require.NoError(t, server.Close())
	_, err := natsbus.Open(t.Context(), server.URL())
	var failed *natsbus.ConnectError
	require.ErrorAs(t, err, &failed)
}
