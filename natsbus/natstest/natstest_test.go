package natstest_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/natstest"
	"github.com/marketprism/marketprism/orderbook"
)

// A test of a program that publishes trades.
func Example() {
	var t *testing.T // of the test

	srv := natstest.Start(t)
	bus, err := natsbus.Open(t.Context(), srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	if err := bus.Write(t.Context(), []marketprism.Record{trade(1)}); err != nil {
		t.Fatal(err)
	}
}

func trade(id int64) marketprism.Record {
	now := time.Now()
	return marketprism.Record{
		Instrument: marketprism.Instrument{Exchange: "binance", Market: marketprism.Spot, Symbol: "BTCUSDT"},
		EventTime:  now, ReceivedAt: now,
		Trade: &marketprism.Trade{ID: id, Price: 100_000 * orderbook.One, Quantity: orderbook.One, TradeTime: now},
	}
}

// What was published before an outage is there after it, at the same address.
func TestOutage(t *testing.T) {
	srv := natstest.Start(t)
	js := srv.JetStream(t)
	require.NoError(t, natsbus.EnsureStreams(t.Context(), js, natsbus.StreamsConfig{}))
	publisher, err := natsbus.NewPublisher(js, natsbus.PublisherConfig{})
	require.NoError(t, err)
	require.NoError(t, publisher.Write(t.Context(), []marketprism.Record{trade(1)}))

	address := srv.URL()
	require.NoError(t, srv.Close())
	require.NoError(t, srv.Close())
	_, err = nats.Connect(address)
	require.Error(t, err)

	srv.Restart(t)
	require.Equal(t, address, srv.URL())
	require.EqualValues(t, 1, messages(t, srv.JetStream(t)))
	require.NoError(t, publisher.Write(t.Context(), []marketprism.Record{trade(2)}), "the client of before")
	srv.Restart(t) // one that runs
	require.EqualValues(t, 2, messages(t, srv.JetStream(t)))
}

func messages(t *testing.T, js jetstream.JetStream) uint64 {
	t.Helper()
	stream, err := js.Stream(context.WithoutCancel(t.Context()), natsbus.TradesStream(natsbus.DefaultPrefix))
	require.NoError(t, err)
	return stream.CachedInfo().State.Msgs
}
