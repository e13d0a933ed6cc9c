package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/internal/short"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(asServer); dir != "" {
		exit(serve(dir))
	}
	if work := os.Getenv(asBot); work != "" {
		exit(bot(context.Background(), work))
	}
	os.Exit(m.Run())
}

// TestRun measures a small run, so that the program keeps working.
func TestRun(t *testing.T) {
	short.Skip(t)
	var out strings.Builder
	require.NoError(t, run(t.Context(), options{records: 2 * batch, symbols: 50, rounds: 1}, &out))
	for _, line := range []string{"| publish, natsbus |", "| consume, nats.go with the same decoding |", "| encode a record |", "0 allocations"} {
		require.Contains(t, out.String(), line)
	}
}

func TestRunBooks(t *testing.T) {
	short.Skip(t)
	var out strings.Builder
	require.NoError(t, runBooks(t.Context(), books{Symbols: 40, Rate: 10, Levels: 100, Warm: 500 * time.Millisecond, Bots: 2}, &out))
	require.Contains(t, out.String(), "\n| 1 |")
	require.Contains(t, out.String(), "\n| 2 |")
}
