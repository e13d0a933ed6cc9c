package main

import (
	"math/rand/v2"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/eventgen"
	"github.com/marketprism/marketprism/orderbook"
)

// A feed makes up records, each the next of one source.
type feed struct {
	make func(rec *marketprism.Record)
	seq  uint64
}

// next appends n records to buf, which may be that of the last call.
func (f *feed) next(buf []marketprism.Record, n int) []marketprism.Record {
	for range n {
		f.seq++
		rec := marketprism.Record{Origin: marketprism.Origin{Source: "MD@2026-02-01T00:00:00Z", Sequence: f.seq}}
		f.make(&rec)
		buf = append(buf, rec)
	}
	return buf
}

func instrument(symbol string) marketprism.Instrument {
	return marketprism.Instrument{Exchange: "binance", Market: marketprism.Spot, Symbol: symbol}
}

// delay is what a record took from the exchange to the collector.
const delay = 3_217 * time.Microsecond

func newDepthFeed() *feed { return depthFeedOf(eventgen.NewStream(eventgen.Config{})) }

func depthFeedOf(s *eventgen.Stream) *feed {
	return &feed{make: func(rec *marketprism.Record) {
		u := s.Next()
		rec.Instrument, rec.Update = instrument(s.Symbol), &u
		rec.EventTime, rec.ReceivedAt = u.EventTime, u.EventTime.Add(delay)
	}}
}

// newTradeFeed makes up about a thousand trades a second of ten symbols.
func newTradeFeed() *feed {
	rng := rand.New(rand.NewPCG(1, 1))
	symbols := []string{"BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "BNBUSDT", "ADAUSDT", "DOGEUSDT", "TRXUSDT", "LINKUSDT", "AVAXUSDT"}
	ids := make([]int64, len(symbols))
	at := time.UnixMilli(1_770_000_000_000).UTC()
	return &feed{make: func(rec *marketprism.Record) {
		at = at.Add(time.Duration(rng.IntN(2_000)) * time.Microsecond)
		i := rng.IntN(len(symbols))
		ids[i]++
		traded := at.Truncate(time.Millisecond)
		rec.Instrument, rec.EventTime, rec.ReceivedAt = instrument(symbols[i]), traded, traded.Add(delay)
		rec.Trade = &marketprism.Trade{
			ID: ids[i], Price: orderbook.Fixed(6_000_000+rng.IntN(10_000)) * orderbook.One / 100,
			Quantity:   orderbook.Fixed(1+rng.IntN(100_000)) * orderbook.One / 100_000,
			BuyerMaker: rng.IntN(2) == 0, BestMatch: true, TradeTime: traded,
		}
	}}
}
