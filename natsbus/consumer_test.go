package natsbus_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
	"github.com/marketprism/marketprism/sink/sinktest"
)

func TestEveryKindArrivesExactlyAndInOrder(t *testing.T) {
	b := newBus(t, natsbus.StreamsConfig{})
	recs := append(sinktest.Records(1, 3000), sinktest.Extremes()...)
	b.publish(t, recs)
	books, trades := split(recs)
	for stream, want := range map[string][]marketprism.Record{natsbus.BooksStream(""): books, natsbus.TradesStream(""): trades} {
		c := b.consumer(t, natsbus.ConsumerConfig{Stream: stream, Batch: 700})
		var got sinktest.Recorder
		stop := run(t, c, &got)
		await(t, &got, len(want))
		require.ErrorContains(t, stop(), "context canceled")
		requireEqual(t, want, got.Records())

		source, err := natsbus.StreamSource(t.Context(), b.js, stream)
		require.NoError(t, err)
		for i, r := range got.Records() {
			require.Equal(t, marketprism.Origin{Source: source, Sequence: uint64(i + 1)}, r.Origin)
		}
		require.Zero(t, b.unacked(t, stream, "test"))
		stats := c.Stats()
		require.EqualValues(t, len(want), stats.Records)
		require.EqualValues(t, len(want), stats.Sequence)
		require.EqualValues(t, 1, stats.Realigned)
		require.Zero(t, stats.Redelivered+stats.SinkFailures+stats.FetchFailures+stats.Behind)
	}
}
