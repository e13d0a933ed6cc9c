package bustest

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/natsbus"
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
		rng:        rand.New(rand.NewPCG(seed, 7)), // #nosec G404 -- simulated, by a seed
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
		u := &orderbook.Update{FirstID: id, LastID: id, EventTime: time.UnixMilli(1_780_000_000_000 + id).UTC()}
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

// An Unsound is a message that is no record of its subject.
type Unsound struct {
	What string // is wrong
	Kind marketprism.Kind
	Body string
}

// Unsound returns messages for the venue's subjects, each of which is right but for one thing.
func (v *Venue) Unsound() []Unsound {
	const (
		at    = `,"event_time":"1780000000000000000"`
		ids   = `,"first_id":1,"last_id":2,"prev_last_id":0`
		sides = `,"bids":[["1","2"]],"asks":[]`
		trade = `,"id":1,"price":"1","quantity":"2"`
		side  = `,"buyer_maker":true`
	)
	head := func(symbol string, kind marketprism.Kind) string {
		return fmt.Sprintf(`{"v":1,"exchange":%q,"market":%q,"symbol":%q,"kind":%q`, v.Instrument.Exchange, v.Instrument.Market, symbol, kind)
	}
	body := func(what string, kind marketprism.Kind, keys string) Unsound {
		return Unsound{What: what, Kind: kind, Body: head(v.Instrument.Symbol, kind) + keys + "}"}
	}
	other := head("OTHER"+v.Instrument.Symbol, marketprism.KindUpdate) + at + ids + sides + "}"
	ticker := head(v.Instrument.Symbol, marketprism.KindTicker) + at + `,"update_id":1,"bid":["1","1"],"ask":["2","1"]}`
	return []Unsound{
		{"another instrument", marketprism.KindUpdate, other},
		{"another kind", marketprism.KindUpdate, ticker},
		body("a quantity below zero", marketprism.KindUpdate, at+ids+`,"bids":[["1","-2"]],"asks":[]`),
		body("a price below zero", marketprism.KindUpdate, at+ids+`,"bids":[],"asks":[["-1","2"]]`),
		body("ids that go back", marketprism.KindUpdate, at+`,"first_id":2,"last_id":1,"prev_last_id":0`+sides),
		body("no time", marketprism.KindUpdate, ids+sides),
		body("a time in seconds", marketprism.KindUpdate, `,"event_time":"1780000000"`+ids+sides),
		body("no reason", marketprism.KindGap, at+`,"after":1`),
		body("a bound below zero", marketprism.KindSnapshot, at+`,"last_id":1,"bid_bound":"-1"`+sides),
		body("a trade without side", marketprism.KindTrade, at+trade+`,"trade_time":"1780000000000000000"`),
		body("a trade without time", marketprism.KindTrade, at+trade+side),
		body("a trade's time in seconds", marketprism.KindTrade, at+trade+side+`,"trade_time":"1780000000"`),
		body("an aggregate without trades", marketprism.KindAggTrade, at+trade+side+`,"trade_time":"1780000000000000000"`),
		body("an aggregate whose ids go back", marketprism.KindAggTrade, at+trade+side+`,"trade_time":"1780000000000000000","first_id":2,"last_id":1`),
	}
}

// PublishUnsound publishes such a message on its subject.
func (v *Venue) PublishUnsound(t testing.TB, b *Bus, m Unsound) {
	t.Helper()
	_, err := b.JS.Publish(t.Context(), natsbus.Subject("", v.Instrument, m.Kind), []byte(m.Body))
	require.NoError(t, err)
}

func (v *Venue) Record(r marketprism.Record) marketprism.Record {
	r.Instrument = v.Instrument
	r.ReceivedAt = time.Now().UTC()
	return r
}
