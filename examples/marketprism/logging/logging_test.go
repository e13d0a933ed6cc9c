package logging_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/examples/marketprism/logging"
)

func parse(t *testing.T, out *bytes.Buffer) []map[string]any {
	t.Helper()
	var all []map[string]any
	for decoder := json.NewDecoder(out); decoder.More(); {
		var line map[string]any
		require.NoError(t, decoder.Decode(&line))
		all = append(all, line)
	}
	return all
}

func TestKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := slog.New(logging.NewHandler(&out, slog.LevelInfo)).With("component", "bus")
		l.Warn("x", slog.Duration("elapsed", 1500*time.Millisecond), slog.Any("err", errors.New("gone")), slog.Duration("wait", time.Second),
			slog.String("instrument", "binance:spot:BTCUSDT"), slog.Any("none", nil))
		l.Debug("not written")
		lines := parse(t, &out)
		require.Equal(t, []map[string]any{{
			"time": "2000-01-01T00:00:00Z", "level": "WARN", "msg": "x", "component": "bus",
			"duration_seconds": 1.5, "err": "gone", "wait": "1s",
			"exchange": "binance", "market": "spot", "symbol": "BTCUSDT",
		}}, lines)
	})
}

func TestRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		h := logging.NewRepeats(logging.NewHandler(&out, slog.LevelInfo))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- h.Run(ctx) }()

		bus, store := slog.New(h).With("component", "bus"), slog.New(h).With("component", "store")
		for i := range 5 {
			bus.Warn("lost", "n", i)
		}
		store.Warn("lost", "n", 10) // of another component
		bus.Error("lost", "n", 11)  // of another level
		time.Sleep(logging.Window + time.Second)
		synctest.Wait()
		time.Sleep(2 * logging.Window) // forgotten by now
		bus.Warn("lost", "n", 20)
		bus.Warn("lost", "n", 21)
		stop()
		require.NoError(t, <-ended)

		var got [][2]any
		for _, line := range parse(t, &out) {
			got = append(got, [2]any{line["n"], line["repeats"]})
		}
		require.Equal(t, [][2]any{{0., nil}, {10., nil}, {11., nil}, {4., 4.}, {20., nil}, {21., 1.}}, got)
	})
}

func TestNoKeyTwice(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(logging.NewHandler(&out, slog.LevelInfo)).With("stream", "A").With("stream", "B", "consumer", "c")
	log.Info("x", "stream", "C", "n", 1)
	log.WithGroup("g").Info("y", "stream", "D")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 2)
	require.Regexp(t, `"msg":"x","stream":"A","consumer":"c","n":1}$`, lines[0])
	require.Regexp(t, `"msg":"y","stream":"A","consumer":"c","g":{"stream":"D"}}$`, lines[1])
}

// A line for people has the level, who says it, and what differs from line to line.
func TestPlain(t *testing.T) {
	var out bytes.Buffer
	l := slog.New(logging.NewPlain(&out, slog.LevelWarn)).With("service", "run", "instance", "vm", "component", "store")
	l.Warn("insert failed", "table", "trades", "err", errors.New("gone\x1b[2J"), slog.String("instrument", "binance:spot:BTCUSDT"))
	l.WithGroup("g").Error("x")
	l.Info("not written")
	require.Equal(t, "warning: store: insert failed, table=trades, err=gone\\x1b[2J, exchange=binance, market=spot, symbol=BTCUSDT\nerror: store: x\n", out.String())
}
