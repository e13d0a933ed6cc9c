package chstore_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink/sinktest"
)

func TestWriteAgain(t *testing.T) {
	s, db := openStore(t, chstore.Config{})
	recs := sinktest.Records(1, 300)
	require.NoError(t, s.Write(t.Context(), recs))
	require.NoError(t, s.Write(t.Context(), recs))
	require.EqualValues(t, len(recs), rows(t, db), "the token covers the same batch")
	require.NoError(t, s.Write(t.Context(), recs[100:200]))
	require.Greater(t, rows(t, db), uint64(len(recs)), "without an Origin another batch is another batch")
	requireSame(t, recs, readAll(t, s, recs))
}

func TestWriteAgainWithOrigin(t *testing.T) {
	s, db := openStore(t, chstore.Config{})
	recs := withOrigins(sinktest.Records(1, 300), "S", 1)
	for _, batch := range [][]marketprism.Record{recs[:200], recs, recs[100:], recs[50:60], recs[299:]} {
		require.NoError(t, s.Write(t.Context(), batch))
	}
	require.EqualValues(t, len(recs), rows(t, db))
	require.EqualValues(t, 300, s.Stats().Rows)
	require.EqualValues(t, 200+200+10+1, s.Stats().Skipped)

	// A new Store, as after a restart, knows what is there from the tables alone.
	again, err := chstore.New(connect(t, db), chstore.Config{Database: db.Name})
	require.NoError(t, err)
	require.NoError(t, again.Write(t.Context(), recs[10:]))
	require.EqualValues(t, len(recs), rows(t, db))
	requireSame(t, recs, readAll(t, again, recs))
}

// Sequences come in any order and batches have any borders: each record is stored once and none is
// taken for stored because a later one is.
func TestWriteOutOfOrder(t *testing.T) {
	s, db := openStore(t, chstore.Config{})
	recs := withOrigins(sinktest.Records(2, 400), "S", 1)
	rng := rand.New(rand.NewPCG(1, 2))
	shuffled := slices.Clone(recs)
	rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for len(shuffled) > 0 {
		n := min(1+rng.IntN(100), len(shuffled))
		require.NoError(t, s.Write(t.Context(), shuffled[:n]))
		shuffled = shuffled[n:]
	}
	// One message twice in a batch is one message.
	require.NoError(t, s.Write(t.Context(), slices.Concat(recs[:5], recs[:5])))
	require.EqualValues(t, len(recs), rows(t, db))
	requireSame(t, recs, readAll(t, s, recs))
}

// Sources do not shadow each other, and records without one are written beside them.
func TestWriteSources(t *testing.T) {
	s, db := openStore(t, chstore.Config{})
	recs := sinktest.Records(3, 90)
	mixed := slices.Clone(recs)
	for i := range mixed {
		switch i % 3 {
		case 0:
			mixed[i].Origin = marketprism.Origin{Source: "A", Sequence: uint64(i + 1)}
		case 1:
			mixed[i].Origin = marketprism.Origin{Source: "B", Sequence: uint64(i + 1)}
		}
	}
	require.NoError(t, s.Write(t.Context(), mixed))
	require.NoError(t, s.Write(t.Context(), mixed))
	require.EqualValues(t, len(recs), rows(t, db))
	requireSame(t, recs, readAll(t, s, recs))
}

// More partitions than one INSERT may have.
func TestWritePartitions(t *testing.T) {
	s, db := openStore(t, chstore.Config{Partition: chstore.Hour})
	recs := withOrigins(trades(101, time.Hour), "S", 1)
	require.NoError(t, s.Write(t.Context(), recs))
	require.EqualValues(t, len(recs), rows(t, db))
	require.EqualValues(t, 101, s.Stats().Inserts)
	requireSame(t, recs, readAll(t, s, recs))
}

// A batch larger than a block becomes several INSERTs, in order.
func TestWriteBlocks(t *testing.T) {
	var infos []chstore.InsertInfo
	s, db := openStore(t, chstore.Config{BlockBytes: 1024, Hooks: &chstore.Hooks{
		Inserted: func(i chstore.InsertInfo) {
			require.Positive(t, i.Took)
			i.Took = 0
			infos = append(infos, i)
		},
	}})
	recs := withOrigins(trades(20, time.Second), "S", 1)
	require.NoError(t, s.Write(t.Context(), recs))
	require.EqualValues(t, len(recs), rows(t, db))
	info := chstore.InsertInfo{Table: "trades", Partition: 202601, Source: "S"}
	first, second, third := info, info, info
	first.First, first.Last, first.Rows, first.Bytes = 1, 8, 8, 1024
	second.First, second.Last, second.Rows, second.Bytes = 9, 16, 8, 1024
	third.First, third.Last, third.Rows, third.Bytes = 17, 20, 4, 512
	for _, i := range []*chstore.InsertInfo{&first, &second, &third} {
		i.Oldest, i.Newest = recs[i.First-1].EventTime, recs[i.Last-1].EventTime
	}
	require.Equal(t, []chstore.InsertInfo{first, second, third}, infos)
	requireSame(t, recs, readAll(t, s, recs))
}

func trades(n int, step time.Duration) []marketprism.Record {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	recs := make([]marketprism.Record, n)
	for i := range recs {
		recs[i] = marketprism.Record{
			Instrument: spot("BTCUSDT"), EventTime: at, ReceivedAt: at,
			Trade: &marketprism.Trade{ID: int64(i), Price: 1, Quantity: 1, TradeTime: at},
		}
		at = at.Add(step)
	}
	return recs
}

func TestWriteBadRecords(t *testing.T) {
	s, db := openStore(t, chstore.Config{})
	good := sinktest.Records(4, 3)
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		rec  marketprism.Record
		want error
	}{
		"no payload":    {marketprism.Record{EventTime: at}, marketprism.ErrKind},
		"two payloads":  {marketprism.Record{EventTime: at, Gap: &orderbook.Gap{Reason: 1}, Trade: &marketprism.Trade{}}, marketprism.ErrKind},
		"too early":     {marketprism.Record{EventTime: time.Unix(-1, 0), Trade: &marketprism.Trade{}}, chstore.ErrTime},
		"too late":      {marketprism.Record{EventTime: at, ReceivedAt: time.Date(2263, 1, 1, 0, 0, 0, 0, time.UTC), Trade: &marketprism.Trade{}}, chstore.ErrTime},
		"trade time":    {marketprism.Record{EventTime: at, Trade: &marketprism.Trade{TradeTime: time.Unix(-1, 0)}}, chstore.ErrTime},
		"update time":   {marketprism.Record{EventTime: at, Update: &orderbook.Update{EventTime: time.Unix(-1, 0)}}, chstore.ErrTime},
		"snapshot time": {marketprism.Record{EventTime: at, Snapshot: &orderbook.Snapshot{TransactTime: time.Unix(-1, 0)}}, chstore.ErrTime},
		"ticker time":   {marketprism.Record{EventTime: at, Ticker: &marketprism.Ticker{TransactTime: time.Unix(-1, 0)}}, chstore.ErrTime},
		"gap reason":    {marketprism.Record{EventTime: at, Gap: &orderbook.Gap{}}, orderbook.ErrGapReason},
		"no sequence":   {marketprism.Record{EventTime: at, Trade: &marketprism.Trade{}, Origin: marketprism.Origin{Source: "S"}}, chstore.ErrOrigin},
	} {
		t.Run(name, func(t *testing.T) {
			test.rec.Instrument = spot("BTCUSDT")
			err := s.Write(t.Context(), append(slices.Clone(good), test.rec))
			var bad *chstore.RecordError
			require.ErrorAs(t, err, &bad)
			require.ErrorIs(t, err, test.want)
			require.Equal(t, 3, bad.Index)
			require.Equal(t, test.rec.Key(), bad.Key)
			require.False(t, chstore.Retryable(err))
			require.Zero(t, rows(t, db))
		})
	}
}

// impatient returns random times that grow with every call, so that a machine of any speed is cut
// short at every stage of a Write, and gets through in the end.
func impatient() func(*rand.Rand) time.Duration {
	limit := 4 * time.Millisecond
	return func(rng *rand.Rand) time.Duration {
		limit *= 2
		return time.Duration(rng.Int64N(int64(limit)))
	}
}

// Writes that are cut short at any moment, and repeated with other borders, lose and double nothing.
func TestWriteCutShort(t *testing.T) {
	s, db := openStore(t, chstore.Config{RetryMin: time.Millisecond})
	recs := withOrigins(sinktest.Records(5, 3_000), "S", 1)
	rng := rand.New(rand.NewPCG(3, 4))
	cut := 0
	patience := impatient()
	for from := 0; from < len(recs); {
		batch := recs[from:min(from+200+rng.IntN(300), len(recs))]
		ctx, cancel := context.WithTimeout(t.Context(), patience(rng))
		err := s.Write(ctx, batch)
		cancel()
		if err != nil {
			require.ErrorIs(t, err, context.DeadlineExceeded)
			cut++
			continue
		}
		patience = impatient()
		from += len(batch)
	}
	t.Logf("%d Writes were cut short, %+v", cut, s.Stats())
	require.EqualValues(t, len(recs), rows(t, db))
	requireSame(t, recs, readAll(t, s, recs))
}

// Without an Origin duplicates are possible, but a reader sees none, and nothing is lost.
func TestWriteCutShortWithoutOrigin(t *testing.T) {
	s, _ := openStore(t, chstore.Config{RetryMin: time.Millisecond})
	recs := sinktest.Records(6, 1_500)
	rng := rand.New(rand.NewPCG(5, 6))
	patience := impatient()
	for from := 0; from < len(recs); {
		batch := recs[from:min(from+200+rng.IntN(300), len(recs))]
		ctx, cancel := context.WithTimeout(t.Context(), patience(rng))
		if s.Write(ctx, batch) == nil {
			from += len(batch)
			patience = impatient()
		}
		cancel()
	}
	requireSame(t, recs, readAll(t, s, recs))
}

func TestWriteConcurrently(t *testing.T) {
	s, db := openStore(t, chstore.Config{})
	recs := withOrigins(sinktest.Records(7, 2_000), "S", 1)
	var group errgroup.Group
	for _, start := range []int{0, 200, 400, 600} { // the same records by several writers
		group.Go(func() error {
			for batch := range slices.Chunk(recs[start:], 400) {
				if err := s.Write(t.Context(), batch); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	require.EqualValues(t, len(recs), rows(t, db))
	requireSame(t, recs, readAll(t, s, recs))
}

func TestWatermark(t *testing.T) {
	s, _ := openStore(t, chstore.Config{TablePrefix: "x_"})
	marks, err := s.Watermark(t.Context(), "S")
	require.NoError(t, err)
	require.Empty(t, marks)
	at := time.Date(2026, 1, 31, 23, 0, 0, 0, time.UTC)
	var recs []marketprism.Record
	for i := range 3 {
		at := at.Add(time.Duration(i) * time.Hour)
		recs = append(recs,
			marketprism.Record{Instrument: spot("A"), EventTime: at, Trade: &marketprism.Trade{ID: int64(i)}},
			marketprism.Record{Instrument: spot("A"), EventTime: at, Update: &orderbook.Update{FirstID: int64(i), LastID: int64(i)}})
	}
	require.NoError(t, s.Write(t.Context(), withOrigins(recs, "S", 11)))
	require.NoError(t, s.Write(t.Context(), withOrigins(recs, "other", 100)))
	marks, err = s.Watermark(t.Context(), "S")
	require.NoError(t, err)
	require.Equal(t, []chstore.Watermark{
		{Table: "depth_events", Partition: 20260131, Sequence: 12, Rows: 1},
		{Table: "depth_events", Partition: 20260201, Sequence: 16, Rows: 2},
		{Table: "trades", Partition: 202601, Sequence: 11, Rows: 1},
		{Table: "trades", Partition: 202602, Sequence: 15, Rows: 2},
	}, marks)
}
