package sinktest

import (
	"math/rand/v2"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// Records returns n records of four instruments in three markets, as a collector would write them:
// snapshots, updates, now and then a gap and a new snapshot, trades, aggregates and tickers. They
// keep the contract of marketprism.Record, no book ever crosses, no two records have the same Key,
// and the same seed gives the same records.
//
// Times are whole microseconds, the finest that venues send, and they pass midnight UTC of
// 2026-03-01, where stores change partition. As at the venue, spot snapshots and tickers have no
// EventTime.
func Records(seed uint64, n int) []marketprism.Record {
	rng := rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)) // #nosec G404 -- made up, by a seed
	feeds := []*feed{
		newFeed(rng, marketprism.Spot, "BTCUSDT"),
		newFeed(rng, marketprism.Spot, "ETHUSDT"),
		newFeed(rng, marketprism.USDM, "BTCUSDT"),
		newFeed(rng, marketprism.COINM, "BTCUSD_PERP"),
	}
	recs := make([]marketprism.Record, n)
	for i := range recs {
		recs[i] = feeds[rng.IntN(len(feeds))].next()
	}
	return recs
}

// recordsOf returns Records of one spot symbol.
func recordsOf(seed uint64, symbol string, n int) []marketprism.Record {
	f := newFeed(rand.New(rand.NewPCG(seed, 1)), marketprism.Spot, symbol) // #nosec G404 -- made up, by a seed
	recs := make([]marketprism.Record, n)
	for i := range recs {
		recs[i] = f.next()
	}
	return recs
}

// A feed makes the records of one instrument.
type feed struct {
	rng        *rand.Rand
	instrument marketprism.Instrument
	now        time.Time // when the next record is received
	synced     bool
	updateID   int64 // the last one used
	tradeID    int64
	aggID      int64
	tickerID   int64
	mid        orderbook.Fixed // bids stay below it and asks above, up to the next snapshot
}

const tick = orderbook.One / 100

func newFeed(rng *rand.Rand, market marketprism.Market, symbol string) *feed {
	return &feed{
		rng:        rng,
		instrument: marketprism.Instrument{Exchange: marketprism.Binance, Market: market, Symbol: symbol},
		now:        time.Date(2026, 2, 28, 23, 59, 58, 0, time.UTC),
		updateID:   70_000_000_000 + rng.Int64N(1_000_000),
		tradeID:    4_000_000_000 + rng.Int64N(1_000_000),
		aggID:      3_000_000_000 + rng.Int64N(1_000_000),
	}
}

func (f *feed) next() marketprism.Record {
	f.now = f.now.Add(time.Duration(1+f.rng.IntN(30_000)) * time.Microsecond)
	sent := f.now.Add(-time.Duration(1+f.rng.IntN(20_000)) * time.Microsecond).Truncate(time.Millisecond)
	r := marketprism.Record{Instrument: f.instrument, EventTime: sent, ReceivedAt: f.now}
	switch p := f.rng.IntN(100); {
	case !f.synced:
		r.Snapshot = f.snapshot(sent)
		r.EventTime = r.Snapshot.EventTime
	case p < 2:
		r.Gap = f.gap()
	case p < 60:
		r.Update = f.update(sent)
	case p < 75:
		r.Trade = f.trade(sent)
	case p < 90:
		r.Trade = f.aggregate(sent)
	default:
		r.Ticker = f.ticker(sent)
		if f.spot() {
			r.EventTime = time.Time{}
		}
	}
	return r
}

func (f *feed) spot() bool { return f.instrument.Market == marketprism.Spot }

// transact returns a time of the matching engine, which only the futures markets send.
func (f *feed) transact(sent time.Time) time.Time {
	if f.spot() {
		return time.Time{}
	}
	return sent.Add(-time.Duration(f.rng.IntN(8)) * time.Millisecond)
}

func (f *feed) snapshot(sent time.Time) *orderbook.Snapshot {
	f.synced = true
	f.updateID += 1 + f.rng.Int64N(50)
	f.mid = orderbook.Fixed(2_000_000+f.rng.IntN(5_000_000)) * tick
	s := &orderbook.Snapshot{LastID: f.updateID, TransactTime: f.transact(sent)}
	if !f.spot() {
		s.EventTime = sent
	}
	for i := range orderbook.Fixed(10 + f.rng.IntN(40)) {
		s.Bids = append(s.Bids, orderbook.Level{Price: f.mid - (i+1)*tick, Quantity: f.quantity()})
		s.Asks = append(s.Asks, orderbook.Level{Price: f.mid + (i+1)*tick, Quantity: f.quantity()})
	}
	s.SetLimit(30) // about half of them are cut
	return s
}

func (f *feed) update(sent time.Time) *orderbook.Update {
	u := &orderbook.Update{FirstID: f.updateID + 1, EventTime: sent, TransactTime: f.transact(sent)}
	if !f.spot() {
		u.PrevLastID = f.updateID
	}
	f.updateID += 1 + f.rng.Int64N(60)
	u.LastID = f.updateID
	u.Bids, u.Asks = f.changes(-tick), f.changes(tick)
	return u
}

// changes returns up to 30 levels from the middle outwards, a third of them deletions. One in ten sides
// is empty.
func (f *feed) changes(step orderbook.Fixed) []orderbook.Level {
	if f.rng.IntN(10) == 0 {
		return nil
	}
	levels := make([]orderbook.Level, 0, 30)
	for i := orderbook.Fixed(1); len(levels) < cap(levels) && i < 100; i += 1 + orderbook.Fixed(f.rng.IntN(8)) {
		level := orderbook.Level{Price: f.mid + i*step, Quantity: f.quantity()}
		if f.rng.IntN(3) == 0 {
			level.Quantity = 0
		}
		levels = append(levels, level)
	}
	return levels
}

func (f *feed) quantity() orderbook.Fixed {
	return orderbook.Fixed(1 + f.rng.Int64N(int64(20*orderbook.One)))
}

func (f *feed) gap() *orderbook.Gap {
	f.synced = false
	gap := &orderbook.Gap{After: f.updateID, Reason: orderbook.GapDisconnect}
	if f.rng.IntN(2) == 0 {
		gap.Reason = orderbook.GapSequence
		gap.Err = &orderbook.SequenceError{Want: f.updateID + 1, Got: f.updateID + 40}
	}
	return gap
}

func (f *feed) price() orderbook.Fixed { return f.mid + orderbook.Fixed(f.rng.IntN(200)-100)*tick }

func (f *feed) trade(sent time.Time) *marketprism.Trade {
	f.tradeID++
	return &marketprism.Trade{
		ID: f.tradeID, Price: f.price(), Quantity: f.quantity(), BuyerMaker: f.rng.IntN(2) == 0,
		BestMatch: f.spot(), TradeTime: sent.Add(-time.Millisecond),
	}
}

func (f *feed) aggregate(sent time.Time) *marketprism.Trade {
	f.aggID++
	t := f.trade(sent)
	t.ID, t.Aggregate, t.FirstID = f.aggID, true, t.ID
	f.tradeID += f.rng.Int64N(4)
	t.LastID = f.tradeID
	return t
}

func (f *feed) ticker(sent time.Time) *marketprism.Ticker {
	f.tickerID = max(f.tickerID+1, f.updateID)
	return &marketprism.Ticker{
		UpdateID: f.tickerID, TransactTime: f.transact(sent),
		Bid: orderbook.Level{Price: f.mid - tick, Quantity: f.quantity()},
		Ask: orderbook.Level{Price: f.mid + tick, Quantity: f.quantity()},
	}
}
