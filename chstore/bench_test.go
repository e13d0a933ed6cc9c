package chstore_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/orderbook"
)

// benchTrades makes n trades of ten symbols; next advances them, so that they can be written again.
func benchTrades(n int) (recs []marketprism.Record, next func()) {
	rng := rand.New(rand.NewPCG(1, 1))
	symbols := []string{"BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "BNBUSDT", "ADAUSDT", "DOGEUSDT", "TRXUSDT", "LINKUSDT", "AVAXUSDT"}
	at := time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)
	recs = make([]marketprism.Record, n)
	for i := range recs {
		at = at.Add(time.Duration(rng.IntN(2_000)) * time.Microsecond)
		recs[i] = marketprism.Record{
			Instrument: spot(symbols[rng.IntN(len(symbols))]), EventTime: at.Truncate(time.Millisecond), ReceivedAt: at.Add(3 * time.Millisecond),
			Trade: &marketprism.Trade{
				ID: int64(i), Price: orderbook.Fixed(6_000_000+rng.IntN(10_000)) * orderbook.One / 100,
				Quantity: orderbook.Fixed(1+rng.IntN(100_000)) * orderbook.One / 100_000, TradeTime: at.Truncate(time.Millisecond),
			},
			Origin: marketprism.Origin{Source: "MD@2026-11-01T00:00:00Z", Sequence: uint64(i + 1)},
		}
	}
	return recs, func() {
		for i := range recs {
			recs[i].Trade.ID += int64(n)
			recs[i].Origin.Sequence += uint64(n)
		}
	}
}

// benchDepth makes n updates of one symbol, a tenth of a second and 8 to 40 levels each.
func benchDepth(n int) (recs []marketprism.Record, next func()) {
	rng := rand.New(rand.NewPCG(2, 2))
	at := time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)
	recs = make([]marketprism.Record, n)
	for i := range recs {
		at = at.Add(100 * time.Millisecond)
		u := &orderbook.Update{FirstID: int64(10*i + 1), LastID: int64(10*i + 10), EventTime: at}
		for range 4 + rng.IntN(17) {
			u.Bids = append(u.Bids, benchLevel(rng, -1))
			u.Asks = append(u.Asks, benchLevel(rng, 1))
		}
		recs[i] = marketprism.Record{
			Instrument: spot("BTCUSDT"), EventTime: at, ReceivedAt: at.Add(3_217 * time.Microsecond), Update: u,
			Origin: marketprism.Origin{Source: "MD@2026-11-01T00:00:00Z", Sequence: uint64(i + 1)},
		}
	}
	return recs, func() {
		for i := range recs {
			recs[i].Update.FirstID += int64(10 * n)
			recs[i].Update.LastID += int64(10 * n)
			recs[i].Origin.Sequence += uint64(n)
		}
	}
}

// benchLevel returns a level near the middle, every second time a deletion.
func benchLevel(rng *rand.Rand, side int) orderbook.Level {
	l := orderbook.Level{Price: orderbook.Fixed(6_000_000+side*(1+int(rng.ExpFloat64()*200))) * orderbook.One / 100}
	if rng.IntN(2) == 0 {
		l.Quantity = orderbook.Fixed(1+rng.IntN(1_000_000)) * orderbook.One / 100_000
	}
	return l
}

func benchmarkWrite(b *testing.B, recs []marketprism.Record, next func()) {
	s, _ := openStore(b, chstore.Config{})
	require.NoError(b, s.Write(b.Context(), recs))
	b.ReportAllocs()
	for b.Loop() {
		next()
		if err := s.Write(b.Context(), recs); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*len(recs))/b.Elapsed().Seconds(), "rows/s")
}

func BenchmarkWriteTrades(b *testing.B) {
	recs, next := benchTrades(100_000)
	benchmarkWrite(b, recs, next)
}

func BenchmarkWriteDepth(b *testing.B) {
	recs, next := benchDepth(10_000)
	benchmarkWrite(b, recs, next)
}

// benchmarkHour stores an hour of updates with a snapshot every five minutes.
func benchmarkHour(b *testing.B) *chstore.Store {
	s, _ := openStore(b, chstore.Config{})
	recs, _ := benchDepth(36_000)
	var snapshots []marketprism.Record
	rng := rand.New(rand.NewPCG(3, 3))
	for i := 0; i < len(recs); i += 3_000 {
		snapshot := &orderbook.Snapshot{LastID: recs[i].Update.LastID}
		for n := range 1_000 {
			quantity := orderbook.Fixed(1+rng.IntN(1_000_000)) * orderbook.One / 100_000
			snapshot.Bids = append(snapshot.Bids, orderbook.Level{Price: orderbook.Fixed(5_999_999-n) * orderbook.One / 100, Quantity: quantity})
			snapshot.Asks = append(snapshot.Asks, orderbook.Level{Price: orderbook.Fixed(6_000_001+n) * orderbook.One / 100, Quantity: quantity})
		}
		snapshots = append(snapshots, marketprism.Record{Instrument: recs[i].Instrument, ReceivedAt: recs[i].EventTime, Snapshot: snapshot})
	}
	require.NoError(b, s.Write(b.Context(), recs))
	require.NoError(b, s.Write(b.Context(), snapshots))
	return s
}

func BenchmarkBookAt(b *testing.B) {
	s := benchmarkHour(b)
	rng := rand.New(rand.NewPCG(4, 4))
	start := time.Date(2026, 11, 2, 0, 0, 1, 0, time.UTC)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.BookAt(b.Context(), spot("BTCUSDT"), start.Add(time.Duration(rng.Int64N(int64(59*time.Minute))))); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRecords(b *testing.B) {
	s := benchmarkHour(b)
	count := 0
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range s.Records(b.Context(), chstore.Query{Instrument: spot("BTCUSDT"), Kinds: []marketprism.Kind{marketprism.KindUpdate}}) {
			if err != nil {
				b.Fatal(err)
			}
			count++
		}
	}
	b.ReportMetric(float64(count)/b.Elapsed().Seconds(), "records/s")
}
