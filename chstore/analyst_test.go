package chstore_test

import (
	"context"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/orderbook"
)

// aggregates makes aggregate trades of two trades each, with ids of their own.
func aggregates(recs []marketprism.Record) []marketprism.Record {
	var all []marketprism.Record
	for i := 0; i+1 < len(recs); i += 2 {
		first, last := recs[i], recs[i+1]
		trade := *first.Trade
		trade.Aggregate, trade.FirstID, trade.LastID = true, first.Trade.ID, last.Trade.ID
		trade.ID = first.Trade.ID / 2
		trade.Quantity += last.Trade.Quantity
		first.Trade = &trade
		all = append(all, first)
	}
	return all
}

// again returns records as a second collector has them.
func again(recs []marketprism.Record) []marketprism.Record {
	recs = slices.Clone(recs)
	for i := range recs {
		recs[i].ReceivedAt = recs[i].ReceivedAt.Add(time.Millisecond)
	}
	return recs
}

// number returns the one number that a query answers.
func number[T any](t testing.TB, db *chtest.DB, query string) (n T) {
	t.Helper()
	require.NoError(t, db.Conn.QueryRow(t.Context(), query).Scan(&n), query)
	return n
}

// What a person reads first, the comments of all tables, views and columns, is there and in plain words. (Of a view
// with parameters the server lists no columns.)
func TestComments(t *testing.T) {
	_, db := openStore(t, chstore.Config{})
	found, err := db.Conn.Query(t.Context(), `
SELECT name, '', comment FROM system.tables WHERE database = {db:String} AND name NOT LIKE '.%' UNION ALL
SELECT table, name, comment FROM system.columns WHERE database = {db:String} AND table NOT LIKE '.%' AND table != 'bars_1m_refresh'`, named("db", db.Name))
	require.NoError(t, err)
	defer found.Close()
	private := regexp.MustCompile(`(?i)\b(told|tells?|holes?|nobody|in hand|anew|for ?ever|stands)\b`)
	n := 0
	for found.Next() {
		var table, column, comment string
		require.NoError(t, found.Scan(&table, &column, &comment))
		n++
		switch {
		case comment == "":
			t.Errorf("%s.%s has no comment", table, column)
		case private.MatchString(comment):
			t.Errorf("%s.%s: %q", table, column, comment)
		}
	}
	require.NoError(t, found.Err())
	require.Greater(t, n, 150)
}

// Decimal columns are exact where Float64 columns round, for any number that can be stored, and take no disk.
func TestDecimals(t *testing.T) {
	s, db := openStore(t, chstore.Config{})
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	most, least := orderbook.Level{Price: orderbook.MaxFixed, Quantity: orderbook.MaxFixed - 1}, orderbook.Level{Price: 1, Quantity: orderbook.MaxFixed}
	base := marketprism.Record{Instrument: spot("BTCUSDT"), EventTime: at, ReceivedAt: at}
	update, snapshot, trade, ticker := base, base, base, base
	update.Update = &orderbook.Update{FirstID: 1, LastID: 1, Bids: []orderbook.Level{least, {Price: 3}}, Asks: []orderbook.Level{most}}
	snapshot.Snapshot = &orderbook.Snapshot{
		LastID: 1, Bids: update.Update.Bids[:1], Asks: update.Update.Asks,
		BidBound: orderbook.Bound{Price: 1, Limited: true}, AskBound: orderbook.Bound{Price: orderbook.MaxFixed, Limited: true},
	}
	trade.Trade = &marketprism.Trade{ID: 1, Price: most.Price, Quantity: most.Quantity, TradeTime: at}
	ticker.Ticker = &marketprism.Ticker{UpdateID: 1, Bid: least, Ask: most}
	require.NoError(t, s.Write(t.Context(), []marketprism.Record{update, snapshot, trade, ticker}))
	for _, test := range []struct{ columns, from, want string }{
		{"bids_decimal, asks_decimal", "depth_events", "([(0.00000001,92233720368.54775807),(0.00000003,0)],[(92233720368.54775807,92233720368.54775806)])"},
		{"bids_decimal, asks_decimal", "book_snapshots", "([(0.00000001,92233720368.54775807)],[(92233720368.54775807,92233720368.54775806)])"},
		{"bid_bound_decimal, ask_bound_decimal, bid_bound", "book_snapshots", "(0.00000001,92233720368.54775807,1e-8)"},
		{"price_decimal, quantity_decimal", "trades", "(92233720368.54775807,92233720368.54775806)"},
		{"price_decimal, quantity_decimal", "trades_dedup", "(92233720368.54775807,92233720368.54775806)"},
		{"bid_price_decimal, bid_qty_decimal, ask_price_decimal, ask_qty_decimal", "tickers", "(0.00000001,92233720368.54775807,92233720368.54775807,92233720368.54775806)"},
		{"bid_price_decimal, bid_qty_decimal, ask_price_decimal, ask_qty_decimal", "tickers_dedup", "(0.00000001,92233720368.54775807,92233720368.54775807,92233720368.54775806)"},
		{"sum(quantity_decimal), sum(price_decimal * toDecimal128('0.00000001', 8))", "trades_dedup", "(92233720368.54775806,922.3372036854775807)"},
	} {
		require.Equal(t, test.want, number[string](t, db, "SELECT toString(("+test.columns+")) FROM "+test.from), "%s of %s", test.columns, test.from)
	}
	require.Zero(t, number[uint64](t, db, "SELECT count() FROM system.parts_columns WHERE active AND database = currentDatabase() AND column LIKE '%decimal%'"))
}

// Single trades and aggregates are never added up, and copies count once: in trades_dedup, agg_trades_dedup and in bars,
// whatever was stored first.
func TestTradesOfOneKind(t *testing.T) {
	s, db := openStore(t, chstore.Config{})
	single := trades(400, time.Second)
	var volume orderbook.Fixed
	for i := range single {
		single[i].Trade.TradeTime = single[i].EventTime
		volume += single[i].Trade.Quantity
	}
	sums := func(want map[string]float64) {
		t.Helper()
		for query, sum := range want {
			require.InDelta(t, sum, number[float64](t, db, "SELECT toFloat64(sum("+query), 1e-6, query)
		}
	}
	all := volume.Float64()
	require.NoError(t, s.Write(t.Context(), aggregates(single)))
	sums(map[string]float64{"volume)) FROM bars_1m": all, "quantity)) FROM trades_dedup": 0, "quantity)) FROM agg_trades_dedup": all, "aggregate) / count()) FROM bars_1m": 1})
	require.NoError(t, s.Write(t.Context(), single))
	require.NoError(t, s.Write(t.Context(), slices.Concat(again(single), again(aggregates(single)))))
	sums(map[string]float64{
		"volume)) FROM bars_1m": all, "aggregate)) FROM bars_1m": 0, "trades)) FROM bars_1m": 400,
		"quantity)) FROM trades_dedup": all, "quantity_decimal)) FROM trades_dedup": all, "1)) FROM trades_dedup": 400,
		"quantity)) FROM agg_trades_dedup": all, "1)) FROM agg_trades_dedup": 200, "1)) FROM trades": 1200,
	})
	// The ids of a market that was wiped come again with other contents.
	wiped := trades(3, time.Second)
	for i := range wiped {
		wiped[i].EventTime = wiped[i].EventTime.Add(time.Hour)
		wiped[i].Trade.TradeTime = wiped[i].EventTime
	}
	require.NoError(t, s.Write(t.Context(), wiped))
	sums(map[string]float64{"1)) FROM trades_dedup": 403})
}

// The views of the touch agree with orderbook.Book, count copies once, and leave out what is not known.
func TestTopOfBook(t *testing.T) {
	s, db := openStore(t, chstore.Config{})
	rng := rand.New(rand.NewPCG(1, 1))
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var recs []marketprism.Record
	want := make(map[int64][4]float64)
	for i := range int64(200) {
		tick := &marketprism.Ticker{
			UpdateID: i,
			Bid:      orderbook.Level{Price: orderbook.Fixed(6_000_000_000_000 - rng.Int64N(1e6)), Quantity: orderbook.Fixed(1 + rng.Int64N(1e9))},
			Ask:      orderbook.Level{Price: orderbook.Fixed(6_000_000_000_001 + rng.Int64N(1e6)), Quantity: orderbook.Fixed(1 + rng.Int64N(1e9))},
		}
		switch i {
		case 1:
			tick.Bid = orderbook.Level{}
		case 2:
			tick.Bid, tick.Ask = orderbook.Level{}, orderbook.Level{}
		case 3:
			tick.Ask.Quantity = orderbook.MaxFixed
		}
		recs = append(recs, marketprism.Record{Instrument: spot("BTCUSDT"), ReceivedAt: at.Add(time.Duration(i) * time.Second), Ticker: tick})
		var book orderbook.Book
		book.Reset(&orderbook.Snapshot{Bids: []orderbook.Level{tick.Bid}, Asks: []orderbook.Level{tick.Ask}})
		or := func(x float64, ok bool) float64 {
			if !ok {
				return math.NaN()
			}
			return x
		}
		spread, ok := book.Spread()
		want[i] = [4]float64{or(book.Mid()), or(spread.Float64(), ok), or(book.Microprice()), or(book.Imbalance(1))}
	}
	require.NoError(t, s.Write(t.Context(), recs))
	require.NoError(t, s.Write(t.Context(), again(recs)))
	found, err := db.Conn.Query(t.Context(), "SELECT update_id, mid, spread, microprice, imbalance FROM top_of_book WHERE day = '2026-03-01'")
	require.NoError(t, err)
	defer found.Close()
	n := 0
	for found.Next() {
		var id int64
		var got [4]float64
		require.NoError(t, found.Scan(&id, &got[0], &got[1], &got[2], &got[3]))
		n++
		for i, w := range want[id] {
			if math.IsNaN(w) {
				require.True(t, math.IsNaN(got[i]), "%d: %d", id, i)
			} else {
				require.Equal(t, w, got[i], "%d: %d", id, i)
			}
		}
	}
	require.NoError(t, found.Err())
	require.Equal(t, len(recs), n)
	require.EqualValues(t, len(recs), number[uint64](t, db, "SELECT count() FROM tickers_dedup WHERE day = '2026-03-01'"))
	explained := number[string](t, db, `SELECT arrayStringConcat(groupArray(explain), '\n') FROM
		(EXPLAIN indexes = 1 SELECT * FROM top_of_book WHERE symbol = 'BTCUSDT' AND day = '2026-03-02')`)
	require.Contains(t, explained, "Parts: 0/", "a condition on day does not read other days")
}

// A view must not take settings that a reader may not change.
func TestViewsForReaders(t *testing.T) {
	_, db := openStore(t, chstore.Config{})
	for _, view := range []string{"bars_1m", "spreads_1m", "depths_1m", "trades_dedup", "agg_trades_dedup", "tickers_dedup", "top_of_book"} {
		ctx, cancel := context.WithCancel(t.Context())
		require.NoError(t, db.Conn.Exec(ctx, "SELECT * FROM "+view+" SETTINGS readonly = 1"), view)
		cancel()
	}
}
