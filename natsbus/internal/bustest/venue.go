package bustest

import (
	"math/rand/v2"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A Venue has the true book of one instrument and invents changes of it, of one update id each.
type Venue struct {
	Instrument marketprism.Instrument
	rng        *rand.Rand
	Book       orderbook.Book
}

func NewVenue(symbol string, seed uint64) *Venue {
	v := &Venue{
		Instrument: marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: symbol},
		rng:        rand.New(rand.NewPCG(seed, 7)),
	}
	v.Book.Reset(&orderbook.Snapshot{LastID: 1000})
	v.Updates(50)
	return v
}

func (v *Venue) ID() int64 { return v.Book.LastID() }

// Futures makes the venue count as futures markets do: all symbols share the ids, and each update has the id of the one
// before.
func (v *Venue) Futures() *Venue {
	v.Instrument.Market = marketprism.USDM
	return v
}

// Updates applies n changes of one update id each to the book, and returns them.
func (v *Venue) Updates(n int) []marketprism.Record {
	recs := make([]marketprism.Record, n)
	for i := range recs {
		id := v.ID() + 1
		level := orderbook.Level{Quantity: orderbook.Fixed(v.rng.IntN(5)) * orderbook.One}
		u := &orderbook.Update{FirstID: id, LastID: id, EventTime: time.UnixMilli(id).UTC()}
		if v.rng.IntN(2) == 0 {
			level.Price = orderbook.Fixed(100+v.rng.IntN(50)) * orderbook.One
			u.Bids = []orderbook.Level{level}
		} else {
			level.Price = orderbook.Fixed(200+v.rng.IntN(50)) * orderbook.One
			u.Asks = []orderbook.Level{level}
		}
		if v.Instrument.Market == marketprism.USDM {
			u.PrevLastID = v.ID()
			u.FirstID, u.LastID = id+4, id+7
		}
		v.Book.Apply(u)
		recs[i] = v.Record(marketprism.Record{Update: u, EventTime: u.EventTime})
	}
	return recs
}

func (v *Venue) Snapshot() marketprism.Record {
	snap := v.Book.Snapshot()
	return v.Record(marketprism.Record{Snapshot: &snap})
}

func (v *Venue) Gap(after int64, reason orderbook.GapReason) marketprism.Record {
	return v.Record(marketprism.Record{Gap: &orderbook.Gap{After: after, Reason: reason}})
}

func (v *Venue) Record(r marketprism.Record) marketprism.Record {
	r.Instrument = v.Instrument
	r.ReceivedAt = time.Now().UTC()
	return r
}
