package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/binance"
)

// TestWatch draws a simulated book twice, over real sockets.
func TestWatch(t *testing.T) {
	var out bytes.Buffer
	opt := options{symbol: "ETHUSDT", levels: 3, refresh: time.Millisecond, blocks: 2, sim: true}
	require.NoError(t, watch(t.Context(), opt, &out))

	blocks := strings.Split(strings.TrimSuffix(out.String(), "\n\n"), "\n\n")
	require.Len(t, blocks, 2)
	for _, block := range blocks {
		lines := strings.Split(block, "\n")
		require.Len(t, lines, 1+2*3, block)
		require.Contains(t, lines[0], "ETHUSDT  synced  update id ")
		for i, line := range lines[1:] {
			side := [...]string{"ask", "ask", "ask", "bid", "bid", "bid"}[i]
			require.True(t, strings.HasPrefix(line, side), block)
		}
	}
}

func TestWatchErrors(t *testing.T) {
	require.ErrorContains(t, watch(t.Context(), options{symbol: "X", refresh: time.Second}, nil), "-levels")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	opt := options{symbol: "ETHUSDT", levels: 3, refresh: time.Millisecond, sim: true}
	require.ErrorIs(t, watch(ctx, opt, &bytes.Buffer{}), context.Canceled)
}

// TestUnknownSymbol: the exchange would acknowledge such a stream and send nothing, so the driver rejects it.
func TestUnknownSymbol(t *testing.T) {
	cfg, stop, err := exchange(t.Context(), options{symbol: "ETHUSDT", sim: true})
	require.NoError(t, err)
	defer stop()
	client, err := binance.NewClient(cfg)
	require.NoError(t, err)
	books, err := binance.NewDepthSyncer(client, binance.DepthConfig{Symbols: []string{"NOSUCH"}})
	require.NoError(t, err)
	var unknown *binance.UnknownSymbolsError
	require.ErrorAs(t, books.Run(t.Context()), &unknown)
}
