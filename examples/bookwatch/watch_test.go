package main

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/binance"
	"github.com/marketprism/marketprism/internal/short"
)

// TestWatch draws a simulated book twice, over real sockets.
func TestWatch(t *testing.T) {
	var out bytes.Buffer
	opt := options{symbols: []string{"ETHUSDT"}, levels: 3, refresh: time.Millisecond, blocks: 2, sim: true}
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
	require.ErrorContains(t, watch(t.Context(), options{symbols: []string{"X"}, refresh: time.Second}, nil), "-levels")

	for _, symbols := range [][]string{{""}, {"X", "X"}, {"X", ""}} {
		require.ErrorContains(t, watch(t.Context(), options{symbols: symbols, levels: 1, refresh: time.Second}, nil), "want different symbols")
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	opt := options{symbols: []string{"ETHUSDT"}, levels: 3, refresh: time.Millisecond, sim: true}
	require.ErrorIs(t, watch(ctx, opt, &bytes.Buffer{}), context.Canceled)
}

// TestUnknownSymbol: the exchange would acknowledge such a stream and send nothing, so the driver rejects it.
func TestUnknownSymbol(t *testing.T) {
	cfg, stop, err := exchange(t.Context(), options{symbols: []string{"ETHUSDT"}, sim: true})
	require.NoError(t, err)
	defer stop()
	client, err := binance.NewClient(cfg)
	require.NoError(t, err)
	books, err := binance.NewDepthSyncer(client, binance.DepthConfig{Symbols: []string{"NOSUCH"}})
	require.NoError(t, err)
	var unknown *binance.UnknownSymbolsError
	require.ErrorAs(t, books.Run(t.Context()), &unknown)
}

// A writer that ends the watch with its first text.
type endingWriter struct {
	bytes.Buffer
	end func()
}

func (w *endingWriter) Write(p []byte) (int, error) {
	w.end()
	return w.Buffer.Write(p)
}

// Without an exchange it says what it waits for, and why.
func TestWaiting(t *testing.T) {
	short.Skip(t)
	ctx, cancel := context.WithCancel(t.Context())
	waiting := &endingWriter{end: cancel}
	opt := options{symbols: []string{"ETHUSDT"}, levels: 3, refresh: time.Millisecond, endpoints: nowhere(t), waiting: waiting}
	require.ErrorIs(t, watch(ctx, opt, &bytes.Buffer{}), context.Canceled)
	require.Regexp(t, `^ETHUSDT waits for the list of symbols: .*connection refused, attempt \d+`, waiting.String())
}

// nowhere returns the address of no exchange.
func nowhere(t *testing.T) binance.Endpoints {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return binance.Endpoints{REST: "http://" + listener.Addr().String(), Stream: "ws://" + listener.Addr().String()}
}
