package chstore_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink/sinktest"
)

func spot(symbol string) marketprism.Instrument {
	return marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: symbol}
}

// extremes returns records at the limits of the store, beyond those of sinktest: times to the
// nanosecond, the first and the last one, other zones, different times of a record and its payload,
// symbols that would break a query without parameters.
func extremes() []marketprism.Record {
	at := time.Date(2026, 11, 23, 12, 0, 0, 123_456_789, time.UTC)
	tokyo := time.FixedZone("Tokyo", 9*3600)
	first, last := time.Date(1971, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(0, math.MaxInt64)
	levels := []orderbook.Level{{Price: orderbook.MaxFixed, Quantity: orderbook.MaxFixed}, {Price: 1}}
	recs := []marketprism.Record{
		{EventTime: at, ReceivedAt: at.Add(1), Update: &orderbook.Update{FirstID: -5, LastID: -1, PrevLastID: -6, EventTime: at, TransactTime: at.Add(-1), Bids: levels}},
		{EventTime: at.In(tokyo), ReceivedAt: at.In(tokyo), Update: &orderbook.Update{FirstID: 1, LastID: 2, Asks: levels}},
		{ReceivedAt: at, Update: &orderbook.Update{FirstID: 3, LastID: 4, EventTime: at.Add(-7)}},
		{ReceivedAt: at, Update: &orderbook.Update{FirstID: math.MinInt64, LastID: math.MinInt64}},
		{EventTime: first, ReceivedAt: at, Update: &orderbook.Update{FirstID: 5, LastID: 5, EventTime: first, TransactTime: time.Unix(0, 1)}},
		{EventTime: last, ReceivedAt: last, Update: &orderbook.Update{FirstID: 6, LastID: 6, EventTime: last, TransactTime: last}},
		{ReceivedAt: at, Snapshot: &orderbook.Snapshot{LastID: -1}},
		{ReceivedAt: at, Snapshot: &orderbook.Snapshot{LastID: math.MinInt64, EventTime: at, TransactTime: last, Bids: levels, Asks: levels}},
		{EventTime: at, ReceivedAt: at, Trade: &marketprism.Trade{ID: math.MinInt64, Price: orderbook.MaxFixed, Quantity: orderbook.MaxFixed, TradeTime: at.Add(-1)}},
		{ReceivedAt: at, Trade: &marketprism.Trade{ID: 7, Aggregate: true, FirstID: math.MinInt64, LastID: math.MaxInt64, TradeTime: first}},
		{ReceivedAt: at, Ticker: &marketprism.Ticker{UpdateID: math.MinInt64, TransactTime: last, Bid: levels[0], Ask: levels[1]}},
		{ReceivedAt: at, Gap: &orderbook.Gap{After: math.MinInt64, Reason: orderbook.GapRemoved, Err: errors.New("\x00\xff'\\\n")}},
	}
	for i := range recs {
		recs[i].Instrument = spot("`'\"\\\n\t{x:String}币\x00\xff")
	}
	return recs
}

func TestRoundTrip(t *testing.T) {
	short.Skip(t)
	for _, step := range []chstore.Partition{0, chstore.Hour, chstore.Day, chstore.Week, chstore.Month} {
		t.Run(step.String(), func(t *testing.T) {
			s, db := openStore(t, chstore.Config{Partition: step})
			want := append(extremes(), sinktest.Extremes()...)
			require.NoError(t, s.Write(t.Context(), want))
			requireSame(t, want, readAll(t, s, want))
			require.EqualValues(t, len(want), rows(t, db))
		})
	}
}

func TestRoundTripOrigin(t *testing.T) {
	s, _ := openStore(t, chstore.Config{})
	want := withOrigins(sinktest.Records(1, 50), "MD@2026-11-01", math.MaxUint64-50)
	require.NoError(t, s.Write(t.Context(), want))
	got := readAll(t, s, want)
	requireSame(t, want, got)
	origins := make(map[string]marketprism.Origin)
	for _, r := range got {
		origins[r.Key()] = r.Origin
	}
	for _, r := range want {
		require.Equal(t, r.Origin, origins[r.Key()])
	}
}

// The columns of the classic trades table exist under their names, as numbers and texts.
func TestClassicTrades(t *testing.T) {
	s, db := openStore(t, chstore.Config{})
	at := time.Date(2026, 11, 23, 12, 0, 0, 123_000_000, time.UTC)
	require.NoError(t, s.Write(t.Context(), []marketprism.Record{{
		Instrument: spot("BTCUSDT"), EventTime: at.Add(time.Millisecond), ReceivedAt: at.Add(2 * time.Millisecond),
		Trade: &marketprism.Trade{
			ID: 42, Price: 6_543_210_000_000, Quantity: orderbook.One / 4, BuyerMaker: true, BestMatch: true, TradeTime: at,
		},
	}}))
	var (
		id                              int64
		exchange, symbol, tradeID, side string
		price, quantity                 float64
		tradeTime, receiveTime          time.Time
		bestMatch                       bool
	)
	require.NoError(t, db.Conn.QueryRow(t.Context(),
		"SELECT id, exchange, symbol, trade_id, price, quantity, side, trade_time, receive_time, is_best_match FROM trades WHERE market = 'spot'").
		Scan(&id, &exchange, &symbol, &tradeID, &price, &quantity, &side, &tradeTime, &receiveTime, &bestMatch))
	require.EqualValues(t, 42, id)
	require.Equal(t, []string{"binance", "BTCUSDT", "42", "sell"}, []string{exchange, symbol, tradeID, side})
	require.Equal(t, []float64{65432.1, 0.25}, []float64{price, quantity})
	require.True(t, tradeTime.Equal(at))
	require.True(t, receiveTime.Equal(at.Add(2*time.Millisecond)))
	require.True(t, bestMatch)
}

// People read levels as pairs of floats.
func TestLevelsInSQL(t *testing.T) {
	s, db := openStore(t, chstore.Config{})
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	require.NoError(t, s.Write(t.Context(), []marketprism.Record{{
		Instrument: spot("BTCUSDT"), EventTime: at, ReceivedAt: at,
		Update: &orderbook.Update{FirstID: 1, LastID: 2, EventTime: at, Bids: []orderbook.Level{{Price: orderbook.One * 2, Quantity: orderbook.One / 2}}},
	}}))
	var bids, asks, event string
	require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT toString(bids), toString(asks), toString(event_time) FROM depth_events").Scan(&bids, &asks, &event))
	require.Equal(t, "[(2,0.5)]", bids)
	require.Equal(t, "[]", asks)
	require.Equal(t, "2026-11-23 12:00:00.000000000", event)
}
