package main

import (
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism/examples/marketprism/engines"
	"github.com/marketprism/marketprism/internal/natsserver/natstest"
	"github.com/marketprism/marketprism/natsbus"
)

// What others write on the bus does not control the terminal on which it is listed, and adds no lines to a table.
func TestTextsOfOthersAreQuoted(t *testing.T) {
	server := natstest.Start(t)
	bus, err := engines.OpenBus(t.Context(), server.URL(), nil)
	require.NoError(t, err)
	defer bus.Close()
	require.NoError(t, natsbus.EnsureStreams(t.Context(), bus.JS, natsbus.StreamsConfig{}))
	const hostile = "\x1b[2J\u009b31m\u202e\x07\x7f"
	header := nats.Header{"X-Other": {hostile}}
	for _, name := range []string{"Id", "Stream", "Source", "Subject", "Consumer", "Reason", "Stage", "Error"} {
		header["Md-Dlq-"+name] = []string{name + hostile}
	}
	_, err = bus.JS.PublishMsg(t.Context(), &nats.Msg{Subject: "dlq.MD_DEPTH.archive.md.x\u009b", Header: header, Data: []byte(hostile)})
	require.NoError(t, err)

	w := &world{T: t, secrets: []string{"MARKETPRISM_NATS=" + server.URL()}}
	for lines, args := range map[int][]string{2: {"dlq", "list"}, 14: {"dlq", "show", "1"}, 4: {"dlq", "stats"}} {
		code, text := w.command(args...)
		require.Equal(t, 0, code, text)
		require.Contains(t, text, "Reason", args)
		require.GreaterOrEqual(t, strings.Count(text, "\n"), lines, args)
		for _, r := range text {
			require.True(t, r == '\n' || strconv.IsPrint(r), "%q of %q: %q", r, args, text)
		}
	}
	code, text := w.command("dlq", "list", "--subject", "a\x1b[2J b")
	require.NotContains(t, text, "\x1b", code)
}
