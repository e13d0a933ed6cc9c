package main

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/examples/marketprism/command"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/natsbus/deadletter"
	"github.com/marketprism/marketprism/orderbook"
)

// A message that is not a record becomes a dead letter, which the commands list, show, redrive and delete.
func TestDeadLetterCommands(t *testing.T) {
	short.Skip(t)
	w := newWorld(t)
	archiver := w.start("archive")
	_, err := w.bus.JS.Publish(t.Context(), natsbus.Subject("", instrument(symbol), marketprism.KindUpdate), []byte("no record"))
	require.NoError(t, err)
	letters := deadletter.New(w.bus.JS, natsbus.DeadLettersStream(""))
	redriven := func() (times []int) {
		for l, err := range letters.List(t.Context(), deadletter.Filter{}) {
			require.NoError(t, err)
			times = append(times, l.Redrives)
		}
		return times
	}
	w.eventually(func() bool { return len(redriven()) == 1 }, "%s", archiver.output)

	w.eventually(func() bool { return strings.Contains(archiver.output.String(), "dlq 1") }, "the status tells of it: %s", archiver.output)

	expect := func(wantCode int, wantText string, args ...string) {
		t.Helper()
		code, text := w.command(args...)
		require.Equal(t, wantCode, code, "%q: %s", args, text)
		require.Contains(t, text, wantText, "%q", args)
	}
	expect(0, "md.binance.spot.depth.BTCUSDT", "dlq", "list")
	expect(0, "md.binance.spot.depth.BTCUSDT", "dlq", "list", "--reason", "decode", "--from", "-1h", "--subject", "md.binance.>")
	expect(0, `"no record"`, "dlq", "show", "1")
	expect(1, "dlq list shows", "dlq", "show", "99")
	expect(0, "1 letter,", "dlq", "stats")
	expect(0, "1 letter would be put back", "dlq", "redrive", "--dry-run")
	require.Equal(t, []int{0}, redriven())
	expect(0, "0 letters put back", "dlq", "redrive", "--reason", "refused")
	expect(0, "1 letter put back", "dlq", "redrive")
	w.eventually(func() bool { again := redriven(); return len(again) == 1 && again[0] == 1 }, "it failed again: %s", archiver.output)
	expect(2, "give --yes", "dlq", "purge")
	require.Len(t, redriven(), 1)
	expect(0, "1 letter deleted", "dlq", "purge", "--yes")
	require.Empty(t, redriven())

	expect(0, "archiver", "status")
	require.Equal(t, 0, archiver.end(syscall.SIGTERM), archiver.output)
	expect(0, "OK", "check")

	// A finding of check sets the exit code: here a missing update.
	at := time.Now().UTC()
	var incomplete []marketprism.Record
	for _, id := range []int64{10, 12} {
		incomplete = append(incomplete, marketprism.Record{
			Instrument: instrument("HOLEUSDT"), EventTime: at, ReceivedAt: at, Update: &orderbook.Update{FirstID: id, LastID: id, EventTime: at},
		})
	}
	require.NoError(t, w.store.Write(t.Context(), incomplete))
	expect(command.ExitFound, "after ids 10", "check")
	expect(command.ExitFound, `"check": "update_holes"`, "check", "--json")
}
