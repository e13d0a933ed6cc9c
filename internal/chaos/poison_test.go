package chaos

import (
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/natsbus"
)

// trades returns n trades of one instrument, from an id on.
func trades(from, n int) []marketprism.Record {
	recs := make([]marketprism.Record, n)
	for i := range recs {
		at := time.Date(2026, 3, 1, 0, 0, from+i, 0, time.UTC)
		recs[i] = marketprism.Record{
			Instrument: marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "BTCUSDT"},
			EventTime:  at, ReceivedAt: at, Trade: &marketprism.Trade{ID: int64(from + i), Price: 1, Quantity: 1, TradeTime: at},
		}
	}
	return recs
}

// TestPoisonHoldsTheStream: while a record can be neither stored nor made a dead letter, because there is no stream
// for those, no batch after its own is written, and nothing of it is acknowledged, not even by a restarted archiver.
// Once there is the stream, it is a dead letter, and each other record is stored once.
func TestPoisonHoldsTheStream(t *testing.T) {
	c := newCluster(t)
	conn, err := dial(t.Context(), c.db.DSN())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, c.js.DeleteStream(t.Context(), natsbus.DeadLettersStream("")))
	before, after, later := trades(1, 20), trades(101, 30), trades(201, 10)
	bad := refused(before[0].Instrument)
	bad.Trade.ID = 50
	publisher := c.publisher()
	require.NoError(t, publisher.Write(t.Context(), slices.Concat(before, []marketprism.Record{bad}, after)))

	hold := func() {
		held := c.count("held events")
		require.Eventually(t, func() bool { return c.count("held events") >= held+3 }, time.Minute, 5*time.Millisecond)
	}
	hold()
	rows, _ := c.rows(conn, "trades")
	require.NoError(t, publisher.Write(t.Context(), later))
	hold()
	still, _ := c.rows(conn, "trades")
	require.Equal(t, rows, still)
	for range 2 {
		c.killArchiver()
		hold()
	}
	require.NoError(t, natsbus.EnsureStreams(t.Context(), c.js, natsbus.StreamsConfig{}))
	c.drain()
	require.NoError(t, c.archiver.stop())
	c.requireDeadLetters(1)
	rows, sequences := c.rows(conn, "trades")
	require.Equal(t, len(before)+len(after)+len(later), rows)
	require.Equal(t, rows, sequences)
}

// TestForgottenDuplicates: records published again without the bus noticing are stored again, and readers show
// them once.
func TestForgottenDuplicates(t *testing.T) {
	c := newCluster(t)
	conn, err := dial(t.Context(), c.db.DSN())
	require.NoError(t, err)
	defer conn.Close()
	recs := trades(1, 100)
	require.NoError(t, c.publisher().Write(t.Context(), recs))
	for i := range recs { // without a message id, which the bus would compare
		body, err := natsbus.AppendRecord(nil, &recs[i])
		require.NoError(t, err)
		msg := nats.NewMsg(natsbus.Subject(natsbus.DefaultPrefix, recs[i].Instrument, recs[i].Kind()))
		msg.Data = body
		_, err = c.js.PublishMsg(t.Context(), msg)
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return c.count("inserted") == 2*len(recs) }, time.Minute, 5*time.Millisecond)
	require.NoError(t, c.archiver.stop())
	rows, sequences := c.rows(conn, "trades")
	require.Equal(t, 2*len(recs), rows)
	require.Equal(t, rows, sequences)
	store, err := chstore.New(conn, chstore.Config{})
	require.NoError(t, err)
	want := make([]*marketprism.Record, len(recs))
	for i := range recs {
		want[i] = &recs[i]
	}
	c.requireShown(store, recs[0].Instrument, want)
}
