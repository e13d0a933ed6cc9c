package main

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/binance/binancetest"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/natstest"
)

// From an exchange to the bus: every record is there, the Gaps that end the books last.
func TestCollect(t *testing.T) {
	srv, err := binancetest.New(binancetest.Config{Symbols: binancetest.Symbols("BTCUSDT", "ETHUSDT"), Tick: 10 * time.Millisecond})
	require.NoError(t, err)
	defer srv.Close()
	client, err := binance.NewClient(binance.Config{Endpoints: srv.Endpoints()})
	require.NoError(t, err)
	bus := natstest.Start(t)
	js := bus.JetStream(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- collect(ctx, client, bus.URL(), srv.Listed()...) }()

	snapshots := []string{}
	for _, symbol := range srv.Listed() {
		inst := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: symbol}
		snapshots = append(snapshots, natsbus.Subject("", inst, marketprism.KindSnapshot))
	}
	stored := func(subject string) bool {
		stream, err := js.Stream(t.Context(), natsbus.BooksStream(""))
		if err != nil {
			return false
		}
		_, err = stream.GetLastMsgForSubject(t.Context(), subject)
		return err == nil
	}
	require.Eventually(t, func() bool { return stored(snapshots[0]) && stored(snapshots[1]) }, 20*time.Second, 10*time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
	requireGaps(t, js, len(srv.Listed()))
}

// requireGaps requires that the last n messages of the books are Gaps.
func requireGaps(t *testing.T, js jetstream.JetStream, n int) {
	t.Helper()
	stream, err := js.Stream(t.Context(), natsbus.BooksStream(""))
	require.NoError(t, err)
	info, err := stream.Info(t.Context())
	require.NoError(t, err)
	for i := range uint64(n) {
		m, err := stream.GetMsg(t.Context(), info.State.LastSeq-i)
		require.NoError(t, err)
		var rec marketprism.Record
		require.NoError(t, natsbus.DecodeRecord(m.Data, &rec))
		require.Equal(t, marketprism.KindGap, rec.Kind(), m.Subject)
	}
}
