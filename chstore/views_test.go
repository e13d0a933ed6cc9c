package chstore_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

// Bars go by trade time and id, whatever the order and the time of arrival, and count a trade once.
func TestBars(t *testing.T) {
	s, db := openStore(t, chstore.Config{TablePrefix: "p_"})
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	trade := func(id int64, at time.Duration, price, quantity orderbook.Fixed, sold bool) marketprism.Record {
		return marketprism.Record{
			Instrument: spot("BTCUSDT"), EventTime: start.Add(at + 2*time.Second), ReceivedAt: start.Add(at + 3*time.Second),
			Trade: &marketprism.Trade{ID: id, Price: price * orderbook.One, Quantity: quantity * orderbook.One, BuyerMaker: sold, TradeTime: start.Add(at)},
		}
	}
	huge := orderbook.MaxFixed / orderbook.One
	recs := []marketprism.Record{
		trade(1, 1*time.Second, 100, 2, false),
		trade(2, 30*time.Second, 120, 1, true),
		trade(4, 59*time.Second, 110, 1, false), // sent in the next minute
		trade(3, 59*time.Second, 90, 4, true),
		trade(5, 60*time.Second, 111, huge, false),
		trade(6, 61*time.Second, 112, huge, false),
	}
	require.NoError(t, s.Write(t.Context(), slices.Concat(recs, recs[:2])))
	require.NoError(t, s.Write(t.Context(), slices.Concat(recs[1:4], recs[:1])))
	var explained string
	require.NoError(t, db.Conn.QueryRow(t.Context(), `SELECT arrayStringConcat(groupArray(explain), '\n') FROM
		(EXPLAIN indexes = 1 SELECT * FROM p_bars_1m WHERE symbol = 'BTCUSDT' AND minute >= '2026-03-01 00:00:00')`).Scan(&explained))
	require.Contains(t, explained, "trade_time_range", "a condition on minutes does not read all trades")
	type bar struct {
		minute                                                       time.Time
		open, high, low, close, volume, quoteVolume, vwap, buyVolume float64
		trades                                                       uint64
	}
	rows, err := db.Conn.Query(t.Context(), `SELECT minute, open, high, low, close, volume, quote_volume, vwap, buy_volume, trades
		FROM p_bars_1m WHERE market = 'spot' AND symbol = 'BTCUSDT' AND minute >= {from:DateTime} ORDER BY minute`, clickhouse.Named("from", start.Format(time.DateTime)))
	require.NoError(t, err)
	defer rows.Close()
	var bars []bar
	for rows.Next() {
		var b bar
		require.NoError(t, rows.Scan(&b.minute, &b.open, &b.high, &b.low, &b.close, &b.volume, &b.quoteVolume, &b.vwap, &b.buyVolume, &b.trades))
		bars = append(bars, b)
	}
	require.NoError(t, rows.Err())
	require.Len(t, bars, 2)
	require.True(t, bars[0].minute.Equal(start))
	bars[0].minute = time.Time{}
	require.Equal(t, bar{time.Time{}, 100, 120, 90, 110, 8, 790, 98.75, 3, 4}, bars[0])
	require.InEpsilon(t, 2*float64(huge), bars[1].volume, 1e-12)
	require.Equal(t, []float64{111, 112, 111, 112}, []float64{bars[1].open, bars[1].high, bars[1].low, bars[1].close})
}

func TestSpreads(t *testing.T) {
	s, db := openStore(t, chstore.Config{})
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ticker := func(id int64, bid, ask, quantity orderbook.Fixed) marketprism.Record {
		return marketprism.Record{
			Instrument: spot("BTCUSDT"), ReceivedAt: start.Add(time.Duration(id) * time.Second),
			Ticker: &marketprism.Ticker{
				UpdateID: id,
				Bid:      orderbook.Level{Price: bid * orderbook.One, Quantity: quantity * orderbook.One},
				Ask:      orderbook.Level{Price: ask * orderbook.One, Quantity: 2 * quantity * orderbook.One},
			},
		}
	}
	recs := []marketprism.Record{ticker(1, 99, 101, 1), ticker(2, 98, 102, 3), ticker(3, 0, 0, 0)}
	require.NoError(t, s.Write(t.Context(), append(recs, recs[0])))
	var got [8]float64
	var n uint64
	require.NoError(t, db.Conn.QueryRow(t.Context(),
		"SELECT spread_min, spread_avg, spread_max, spread_avg_bps, bid_qty_avg, ask_qty_avg, mid_close, updates FROM spreads_1m").
		Scan(&got[0], &got[1], &got[2], &got[3], &got[4], &got[5], &got[6], &n))
	require.EqualValues(t, 2, n)
	require.Equal(t, [8]float64{2, 3, 4, 300, 2, 4, 100}, got)
}

// The stored bars equal those of the view after each refresh, also with duplicates, late trades and merges in
// between, and they outlive the trades.
func TestStoredBars(t *testing.T) {
	short.Skip(t)
	s, db := openStore(t, chstore.Config{TablePrefix: "p_"})
	refresh := func() {
		t.Helper()
		require.NoError(t, db.Conn.Exec(t.Context(), "SYSTEM REFRESH VIEW p_bars_1m_refresh"))
		require.NoError(t, db.Conn.Exec(t.Context(), "SYSTEM WAIT VIEW p_bars_1m_refresh"))
	}
	bars := func(from string) (text string) {
		t.Helper()
		kind := "aggregate"
		if strings.Contains(from, "stored") {
			kind = "of_aggregates"
		}
		require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT toString(arraySort(groupArray((exchange, market, symbol, "+kind+
			", minute, open, high, low, close, volume, quote_volume, buy_volume, trades)))) FROM "+from).Scan(&text))
		return text
	}
	recs := trades(600, time.Second)
	for i := range recs {
		recs[i].Trade.TradeTime = recs[i].EventTime
		recs[i].Trade.Price += orderbook.Fixed(i*i%977) * orderbook.One
	}
	step := func(what string, batch []marketprism.Record) {
		t.Helper()
		require.NoError(t, s.Write(t.Context(), batch))
		refresh()
		require.Equal(t, bars("p_bars_1m"), bars("p_bars_1m_stored FINAL"), what)
	}
	step("aggregates alone", aggregates(recs[:300]))
	require.Contains(t, bars("p_bars_1m"), "true")
	step("first", recs[:300])
	require.NotContains(t, bars("p_bars_1m_stored FINAL"), "true", "single trades replace aggregates, which stay no bars beside them")
	step("twice, and more", recs[200:500])
	step("late", recs[500:])
	require.NoError(t, db.Conn.Exec(t.Context(), "OPTIMIZE TABLE p_trades FINAL"))
	step("after a merge", recs[:1])
	want := bars("p_bars_1m")
	require.Contains(t, want, "60")
	require.NoError(t, db.Conn.Exec(t.Context(), "ALTER TABLE p_trades DELETE WHERE id % 2 = 0 SETTINGS mutations_sync = 1"))
	refresh()
	require.NotEqual(t, want, bars("p_bars_1m"))
	require.Equal(t, want, bars("p_bars_1m_stored FINAL"), "bars stay when trades expire")
}

func TestDepths(t *testing.T) {
	s, db := openStore(t, chstore.Config{})
	level := func(price, quantity orderbook.Fixed) orderbook.Level {
		return orderbook.Level{Price: price * orderbook.One, Quantity: quantity * orderbook.One}
	}
	snapshot := marketprism.Record{Instrument: spot("BTCUSDT"), ReceivedAt: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Snapshot: &orderbook.Snapshot{
		LastID: 7,
		Bids:   []orderbook.Level{level(9999, 1), level(9991, 2), level(9950, 4), level(9000, 8)},
		Asks:   []orderbook.Level{level(10001, 3), level(10011, 5), level(10100, 7)},
	}}
	require.NoError(t, s.Write(t.Context(), []marketprism.Record{snapshot}))
	require.NoError(t, s.Write(t.Context(), []marketprism.Record{snapshot, snapshot}))
	var got [6]float64
	var n uint64
	require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT bid_qty_10bps, ask_qty_10bps, bid_qty_100bps, ask_qty_100bps, bid_levels, ask_levels, snapshots FROM depths_1m").
		Scan(&got[0], &got[1], &got[2], &got[3], &got[4], &got[5], &n))
	require.EqualValues(t, 1, n)
	require.Equal(t, [6]float64{3, 3, 7, 15, 4, 3}, got)
}

// Copies of a trade whose time one connection sent in microseconds and another in milliseconds are one trade.
func TestTradesOfTwoPrecisions(t *testing.T) {
	s, db := openStore(t, chstore.Config{})
	recs := trades(3, time.Second)
	for i := range recs {
		recs[i].Trade.TradeTime = recs[i].EventTime.Truncate(time.Millisecond).Add(time.Duration(i+1) * 123 * time.Microsecond)
	}
	counts := map[string]int{"trades_dedup": len(recs), "agg_trades_dedup": len(aggregates(recs))}
	recs = append(recs, aggregates(recs)...)
	rough := slices.Clone(recs)
	for i := range rough {
		rough[i] = rough[i].Clone()
		rough[i].Trade.TradeTime = rough[i].Trade.TradeTime.Truncate(time.Millisecond)
	}
	require.NoError(t, s.Write(t.Context(), slices.Concat(recs, rough)))
	for view, want := range counts {
		var n uint64
		var first, exact time.Time
		require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT count(), min(trade_time), min(exact_trade_time) FROM "+view).Scan(&n, &first, &exact))
		require.EqualValues(t, want, n, view)
		require.True(t, first.Equal(rough[0].Trade.TradeTime), "%v", first)
		require.True(t, exact.Equal(recs[0].Trade.TradeTime), "%v", exact)
		var explained string
		require.NoError(t, db.Conn.QueryRow(t.Context(), `SELECT arrayStringConcat(groupArray(explain), '\n') FROM
			(EXPLAIN indexes = 1 SELECT * FROM `+view+` WHERE symbol = 'BTCUSDT' AND trade_time >= '2026-03-01 00:00:00')`).Scan(&explained))
		require.Contains(t, explained, "trade_time_range", "a condition on trade_time does not read all trades")
	}
}

// Aggregates were collected all minute, single trades for half of it: the bar has the whole volume, although the single trades
// are more rows. Or the other way round.
func TestBarsOfTheKindThatIsWhole(t *testing.T) {
	short.Skip(t)
	s, db := openStore(t, chstore.Config{})
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	record := func(symbol string, at time.Duration, trade marketprism.Trade) marketprism.Record {
		trade.Price, trade.TradeTime = orderbook.One, start.Add(at)
		return marketprism.Record{Instrument: spot(symbol), EventTime: start.Add(at), ReceivedAt: start.Add(at), Trade: &trade}
	}
	var recs []marketprism.Record
	for n := range int64(20) { // aggregates of three trades each
		at := time.Duration(n) * 3 * time.Second
		of := record("HALFSINGLE", at, marketprism.Trade{ID: n + 1, Aggregate: true, FirstID: 3*n + 1, LastID: 3*n + 3, Quantity: 3 * orderbook.One})
		recs = append(recs, of)
		if n >= 10 {
			of.Instrument = spot("HALFAGG")
			recs = append(recs, of)
		}
		for i := range int64(3) {
			one := record("HALFAGG", at, marketprism.Trade{ID: 3*n + i + 1, Quantity: orderbook.One})
			recs = append(recs, one)
			if n >= 10 {
				one.Instrument = spot("HALFSINGLE")
				recs = append(recs, one)
			}
		}
	}
	require.NoError(t, s.Write(t.Context(), recs))
	require.NoError(t, db.Conn.Exec(t.Context(), "SYSTEM REFRESH VIEW bars_1m_refresh"))
	require.NoError(t, db.Conn.Exec(t.Context(), "SYSTEM WAIT VIEW bars_1m_refresh"))
	for symbol, aggregate := range map[string]bool{"HALFSINGLE": true, "HALFAGG": false} {
		for _, from := range []string{"aggregate, volume, trades FROM bars_1m", "of_aggregates, volume, trades FROM bars_1m_stored FINAL"} {
			var of bool
			var volume float64
			var n uint64
			require.NoError(t, db.Conn.QueryRow(t.Context(), "SELECT "+from+" WHERE symbol = '"+symbol+"'").Scan(&of, &volume, &n))
			require.Equal(t, aggregate, of, symbol)
			require.Equal(t, 60.0, volume, symbol)
			require.EqualValues(t, 60, n, symbol)
		}
	}
}
