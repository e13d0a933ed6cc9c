package chstore_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/chserver/chtest"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

// sound returns records of two instruments of a market with nothing wrong about them: updates at
// different cuts, snapshots within them, trades and tickers, a minute long.
func sound(m marketprism.Market) []marketprism.Record {
	var all []marketprism.Record
	for n, symbol := range []string{"BTCUSDT", "ETHUSDT"} {
		mk := newMarket(uint64(n), m)
		mk.instrument.Symbol = symbol
		for range 3 {
			all = append(all, mk.snapshotRecord(5*time.Millisecond))
			mk.run(100, 200*time.Millisecond)
		}
		all = append(all, mk.updates(mk.rng, mk.changes, 4, 0)...)
		all = append(all, mk.snapshotRecord(5*time.Millisecond))
		start := newMarket(uint64(n), m).now
		for i := range 60 {
			at := start.Add(time.Duration(i) * time.Second)
			base := marketprism.Record{Instrument: mk.instrument, EventTime: at, ReceivedAt: at.Add(time.Millisecond)}
			trade, aggregate, ticker := base, base, base
			trade.Trade = &marketprism.Trade{ID: int64(i + 1), Price: orderbook.One, Quantity: orderbook.One, TradeTime: at}
			aggregate.Trade = &marketprism.Trade{ID: int64(i + 1), Aggregate: true, FirstID: 1, LastID: 2, Price: orderbook.One, Quantity: orderbook.One, TradeTime: at}
			ticker.Ticker = &marketprism.Ticker{
				UpdateID: int64(i + 1),
				Bid:      orderbook.Level{Price: orderbook.One, Quantity: orderbook.One}, Ask: orderbook.Level{Price: 2 * orderbook.One, Quantity: orderbook.One},
			}
			all = append(all, trade, aggregate, ticker)
		}
	}
	return all
}

// find returns the indexes of records of BTCUSDT.
func find(recs []marketprism.Record, ok func(*marketprism.Record) bool) (found []int) {
	for i := range recs {
		if recs[i].Instrument.Symbol == "BTCUSDT" && ok(&recs[i]) {
			found = append(found, i)
		}
	}
	return found
}

func isUpdate(r *marketprism.Record) bool { return r.Update != nil }

// Each check finds the fault that is planted for it, and nothing else; without a fault none finds any.
func TestCheck(t *testing.T) {
	short.Skip(t)
	type fault func(recs []marketprism.Record) []marketprism.Record
	without := func(recs []marketprism.Record, drop ...int) []marketprism.Record {
		var kept []marketprism.Record
		for i, r := range recs {
			if !slices.Contains(drop, i) {
				kept = append(kept, r)
			}
		}
		return kept
	}
	faults := map[string]struct {
		plant fault
		check chstore.CheckName
		table string
		count uint64
	}{
		"none": {plant: func(recs []marketprism.Record) []marketprism.Record { return recs }},
		"two updates are missing": {func(recs []marketprism.Record) []marketprism.Record {
			u := find(recs, isUpdate)
			return without(recs, u[5], u[40], u[41])
		}, chstore.CheckMissingUpdates, "depth_events", 2},
		"a trade is missing": {func(recs []marketprism.Record) []marketprism.Record {
			return without(recs, find(recs, func(r *marketprism.Record) bool { return r.Trade != nil && !r.Trade.Aggregate })[7])
		}, chstore.CheckMissingTrades, "trades", 1},
		"aggregates are missing": {func(recs []marketprism.Record) []marketprism.Record {
			a := find(recs, func(r *marketprism.Record) bool { return r.Trade != nil && r.Trade.Aggregate })
			return without(recs, a[7], a[8], a[30])
		}, chstore.CheckMissingTrades, "trades", 2},
		"updates are there twice": {func(recs []marketprism.Record) []marketprism.Record {
			u := find(recs, isUpdate)
			return append(recs, recs[u[3]], recs[u[3]], recs[u[9]])
		}, chstore.CheckDuplicates, "depth_events", 3},
		"a ticker is there twice": {func(recs []marketprism.Record) []marketprism.Record {
			return append(recs, recs[find(recs, func(r *marketprism.Record) bool { return r.Ticker != nil })[3]])
		}, chstore.CheckDuplicates, "tickers", 1},
		"tickers are crossed or empty": {func(recs []marketprism.Record) []marketprism.Record {
			k := find(recs, func(r *marketprism.Record) bool { return r.Ticker != nil })
			recs[k[3]].Ticker.Bid.Price = 2 * orderbook.One
			recs[k[4]].Ticker.Ask = orderbook.Level{}
			return recs
		}, chstore.CheckCrossed, "tickers", 2},
		"a span of trades is missing": {func(recs []marketprism.Record) []marketprism.Record {
			start := recs[0].ReceivedAt
			return without(recs, find(recs, func(r *marketprism.Record) bool {
				return r.Update == nil && r.Snapshot == nil && r.Time().Sub(start) > 20*time.Second && r.Time().Sub(start) < 50*time.Second
			})...)
		}, chstore.CheckMissingTrades, "trades", 2},
		"received before it was sent": {func(recs []marketprism.Record) []marketprism.Record {
			u := find(recs, isUpdate)
			recs[u[3]].ReceivedAt = recs[u[3]].EventTime.Add(-2 * time.Second)
			return recs
		}, chstore.CheckSkew, "depth_events", 1},
		"a snapshot has another level": {func(recs []marketprism.Record) []marketprism.Record {
			s := find(recs, func(r *marketprism.Record) bool { return r.Snapshot != nil })
			recs[s[1]].Snapshot.Bids[2].Quantity++
			return recs
		}, chstore.CheckSnapshots, "book_snapshots", 1},
	}
	for _, m := range []marketprism.Market{marketprism.Spot, marketprism.USDM} {
		for name, test := range faults {
			t.Run(fmt.Sprintf("%s/%s", m, name), func(t *testing.T) {
				s, _ := openStore(t, chstore.Config{})
				recs := test.plant(sound(m))
				require.NoError(t, s.Write(t.Context(), recs))
				var done []float64
				report, err := s.Check(t.Context(), chstore.CheckQuery{
					Silence: time.Hour, Progress: func(d float64) { done = append(done, d) },
				})
				require.NoError(t, err)
				require.Greater(t, len(done), 10)
				require.True(t, slices.IsSorted(done), "%v", done)
				require.Equal(t, 1.0, done[len(done)-1])
				require.EqualValues(t, len(recs), report.Rows)
				require.Equal(t, 2, report.Instruments)
				if test.check == "" {
					require.Empty(t, report.Findings)
					require.True(t, report.OK())
					require.Contains(t, report.String(), "OK")
					return
				}
				require.False(t, report.OK())
				for _, f := range report.Findings {
					require.Equal(t, "BTCUSDT", f.Instrument.Symbol, "%s", report.String())
					if f.Check != test.check {
						t.Fatalf("%s", report.String())
					}
					require.Equal(t, test.table, f.Table)
					require.False(t, f.First.IsZero())
					require.NotEmpty(t, f.Detail)
				}
				if test.check == chstore.CheckSnapshots {
					require.Positive(t, report.Findings[0].Count)
				} else {
					require.Equal(t, test.count, sum(report.Findings))
				}
			})
		}
	}
}

func sum(findings []chstore.Finding) (n uint64) {
	for _, f := range findings {
		n += f.Count
	}
	return n
}

// Books are looked at after every update, not only where a snapshot shows them.
func TestCheckCrossed(t *testing.T) {
	short.Skip(t)
	s, _ := openStore(t, chstore.Config{})
	at := time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)
	level := func(price, quantity int64) orderbook.Level {
		return orderbook.Level{Price: orderbook.Fixed(price), Quantity: orderbook.Fixed(quantity)}
	}
	snapshot := func(symbol string, bids, asks []orderbook.Level) marketprism.Record {
		return marketprism.Record{Instrument: spot(symbol), ReceivedAt: at, Snapshot: &orderbook.Snapshot{LastID: 10, Bids: bids, Asks: asks}}
	}
	update := func(id int64, bids, asks []orderbook.Level) marketprism.Record {
		then := at.Add(time.Duration(id) * time.Second)
		return marketprism.Record{Instrument: spot("UPDATES"), EventTime: then, ReceivedAt: then,
			Update: &orderbook.Update{FirstID: id, LastID: id, EventTime: then, Bids: bids, Asks: asks}}
	}
	bid, ask := []orderbook.Level{level(100, 1)}, []orderbook.Level{level(101, 1)}
	require.NoError(t, s.Write(t.Context(), []marketprism.Record{
		snapshot("CROSSED", ask, bid), snapshot("EMPTY", bid, nil), snapshot("SOUND", bid, ask), snapshot("UPDATES", bid, ask),
		update(11, []orderbook.Level{level(101, 5)}, nil),                              // crossed
		update(12, nil, []orderbook.Level{level(101, 0)}),                              // no ask
		update(13, nil, []orderbook.Level{level(102, 1)}),                              // well again
		update(14, []orderbook.Level{level(103, 1)}, []orderbook.Level{level(102, 1)}), // crossed
	}))
	report, err := s.Check(t.Context(), chstore.CheckQuery{Silence: -1})
	require.NoError(t, err)
	require.Equal(t, []chstore.Finding{
		{Check: chstore.CheckCrossed, Table: "book_snapshots", Instrument: spot("CROSSED"), Count: 1, First: at, Detail: "1 crossed, 0 with an empty side"},
		{Check: chstore.CheckCrossed, Table: "book_snapshots", Instrument: spot("EMPTY"), Count: 1, First: at, Detail: "0 crossed, 1 with an empty side"},
		{Check: chstore.CheckCrossed, Table: "depth_events", Instrument: spot("UPDATES"), Count: 3, First: at.Add(11 * time.Second), Detail: "2 crossed, 1 with an empty side"},
	}, report.Findings)
}

// An instrument is silent only while another one of its market is not.
func TestCheckSilence(t *testing.T) {
	short.Skip(t)
	s, _ := openStore(t, chstore.Config{})
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	id := int64(0)
	at := func(symbol string, seconds ...int) (recs []marketprism.Record) {
		for _, n := range seconds {
			id++
			r := marketprism.Record{Instrument: spot(symbol), EventTime: start.Add(time.Duration(n) * time.Second)}
			r.Trade = &marketprism.Trade{ID: id, Price: 1, Quantity: 1, TradeTime: r.EventTime}
			recs = append(recs, r)
		}
		return recs
	}
	recs := slices.Concat(
		at("A", 0, 10, 200, 210, 400, 410, 1000), // silent from 10 to 200, where B is not; from 410 on all are
		at("B", 0, 10, 50, 100, 200, 210, 400, 410, 1000),
		at("C", 0, 10, 50, 100, 200), // ends while the others go on
	)
	require.NoError(t, s.Write(t.Context(), recs))
	report, err := s.Check(t.Context(), chstore.CheckQuery{})
	require.NoError(t, err)
	require.Len(t, report.Findings, 2, "%s", report.String())
	for i, want := range []chstore.Finding{
		{Check: chstore.CheckSilence, Instrument: spot("A"), Count: 1, First: start.Add(10 * time.Second), Detail: "up to 190 s"},
		{Check: chstore.CheckSilence, Instrument: spot("C"), Count: 1, First: start.Add(200 * time.Second), Detail: "up to 800 s"},
	} {
		require.Equal(t, want, report.Findings[i])
	}
	report, err = s.Check(t.Context(), chstore.CheckQuery{Silence: 200 * time.Second, To: start.Add(time.Minute)})
	require.NoError(t, err)
	require.True(t, report.OK(), "%s", report.String())
	report, err = s.Check(t.Context(), chstore.CheckQuery{Silence: -1, Instruments: []marketprism.Instrument{spot("A"), spot("none'")}})
	require.NoError(t, err)
	require.Equal(t, []chstore.Finding{{Check: chstore.CheckMissingInstrument, Instrument: spot("none'"), Count: 1, Detail: "nothing is stored"}}, report.Findings)
	_, err = s.Check(t.Context(), chstore.CheckQuery{Silence: time.Millisecond})
	require.ErrorIs(t, err, chstore.ErrQuery)
}

// The tables themselves are looked at: rows that outlive their TTL, parts, partitions set aside, and a
// schema that is not what Config wants.
func TestCheckTables(t *testing.T) {
	short.Skip(t)
	db := chtest.Open(t)
	cfg := chstore.Config{Database: db.Name, TablePrefix: "x_", Partition: chstore.Day, TTL: chstore.TTL{Trades: 5 * 24 * time.Hour}}
	s, err := chstore.New(connect(t, db), cfg)
	require.NoError(t, err)
	require.NoError(t, s.Migrate(t.Context()))
	check := func(q chstore.CheckQuery, want ...chstore.Finding) {
		t.Helper()
		report, err := s.Check(t.Context(), q)
		require.NoError(t, err)
		for i := range report.Findings {
			if report.Findings[i].Check == chstore.CheckSchema {
				report.Findings[i].Detail = ""
			}
			report.Findings[i].First = time.Time{}
		}
		require.Equal(t, want, report.Findings, "%s", report.String())
	}
	now := time.Now().UTC()
	fresh := tradesAt(now, 1, 5)
	require.NoError(t, s.Write(t.Context(), fresh))
	check(chstore.CheckQuery{})

	require.NoError(t, db.Conn.Exec(t.Context(), "SYSTEM STOP MERGES x_trades"))
	for i := range 3 {
		require.NoError(t, s.Write(t.Context(), tradesAt(now.AddDate(0, 0, -10), 6+i, 1)))
	}
	day := now.AddDate(0, 0, -10).Format("20060102")
	overdue := chstore.Finding{Check: chstore.CheckOverdue, Table: "trades", Count: 3, Detail: "rows that have expired"}
	check(chstore.CheckQuery{}, overdue)
	check(chstore.CheckQuery{Overdue: 6 * 24 * time.Hour})
	check(chstore.CheckQuery{Overdue: -1, Parts: 2},
		chstore.Finding{Check: chstore.CheckParts, Table: "trades", Partition: day, Count: 3, Detail: "parts"})

	require.NoError(t, db.Conn.Exec(t.Context(), "ALTER TABLE x_trades DETACH PARTITION ID '"+day+"'"))
	detached := chstore.Finding{Check: chstore.CheckDetached, Table: "trades", Partition: day, Count: 3, Detail: "by hand"}
	check(chstore.CheckQuery{}, detached)

	require.NoError(t, db.Conn.Exec(t.Context(), "ALTER TABLE x_trades REMOVE TTL"))
	check(chstore.CheckQuery{}, detached, chstore.Finding{Check: chstore.CheckSchema, Count: 1})
}

// Rows that Write refuses, planted by hand as an older version or another program would leave them, are found each by its own
// check; so is an instrument without a snapshot.
func TestCheckFindsWhatCannotBe(t *testing.T) {
	short.Skip(t)
	replace := func(table, change string) []string { // the last row of the instrument, so that no id is missing but at the end
		last := " WHERE symbol = 'BTCUSDT' AND (ts, received_at) = (SELECT max((ts, received_at)) FROM " + table + " WHERE symbol = 'BTCUSDT')"
		return []string{
			"CREATE TABLE planted_" + table + " AS " + table + " ENGINE = Memory",
			"INSERT INTO planted_" + table + " SELECT * REPLACE (" + change + ") FROM (SELECT * FROM " + table + last + ")",
			"ALTER TABLE " + table + " DELETE" + last + " SETTINGS mutations_sync = 2",
			"INSERT INTO " + table + " SELECT * FROM planted_" + table,
		}
	}
	const zero, future, year2200 = "toDateTime64(0, 9, 'UTC')", "now64(9, 'UTC') + toIntervalMinute(5)", "toDateTime64('2200-01-01 00:00:00', 9, 'UTC')"
	type fault struct {
		check         chstore.CheckName
		table, detail string
		plant         []string
	}
	const negative, reversed = "%d with a price or quantity below zero, 0 with a first id above the last", "0 with a price or quantity below zero, %d with a first id above the last"
	for name, faults := range map[string][]fault{ // those of one name are planted together, each in another table
		"times": {
			{chstore.CheckTimes, "book_snapshots", "1 before 1971, 0 in the future", // milliseconds taken for nanoseconds
				replace("book_snapshots", "fromUnixTimestamp64Nano(1772409600000, 'UTC') AS received_at")},
			{chstore.CheckTimes, "depth_events", "0 before 1971, 1 in the future",
				replace("depth_events", year2200+" AS ts, "+year2200+" AS received_at")},
			{chstore.CheckTimes, "gaps", "1 before 1971, 0 in the future",
				[]string{"INSERT INTO gaps (exchange, market, symbol, ts, reason) VALUES ('binance', 'spot', 'BTCUSDT', 1, 'stale')"}},
			{chstore.CheckTimes, "tickers", "0 before 1971, 1 in the future",
				replace("tickers", future+" AS ts, "+future+" AS received_at")},
			{chstore.CheckTimes, "trades", "2 before 1971, 0 in the future", // a single and an aggregate one
				replace("trades", zero+" AS ts")},
		},
		"values": {
			{chstore.CheckValues, "book_snapshots", fmt.Sprintf(negative, 1), replace("book_snapshots", "true AS ask_limited, toInt64(-1) AS ask_bound_e8")},
			{chstore.CheckValues, "tickers", fmt.Sprintf(negative, 1), replace("tickers", "toInt64(-5) AS ask_qty_e8")},
			{chstore.CheckValues, "trades", fmt.Sprintf(negative, 2), replace("trades", "-quantity_e8 AS quantity_e8")},
		},
		"ids and snapshots": {
			{chstore.CheckNoSnapshot, "depth_events", "updates without a snapshot to apply them to",
				[]string{"ALTER TABLE book_snapshots DELETE WHERE symbol = 'BTCUSDT' SETTINGS mutations_sync = 2"}},
			{chstore.CheckValues, "trades", fmt.Sprintf(reversed, 2), replace("trades", "last_id + 1 AS first_id")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, db := openStore(t, chstore.Config{})
			recs := sound(marketprism.Spot)
			require.NoError(t, s.Write(t.Context(), recs))
			clean := check(t, s, chstore.CheckQuery{Silence: time.Hour})
			require.True(t, clean.OK(), "%s", clean.String())
			for _, f := range faults {
				for _, statement := range f.plant {
					require.NoError(t, db.Conn.Exec(t.Context(), statement))
				}
			}
			for _, q := range []chstore.CheckQuery{
				{Silence: time.Hour}, {Silence: time.Hour, From: recs[0].Time(), To: recs[0].Time().Add(time.Hour)},
			} {
				report := check(t, s, q)
				require.Len(t, report.Findings, len(faults), "%s", report.String())
				for i, f := range faults {
					got := report.Findings[i]
					require.Equal(t, f.check, got.Check)
					require.Equal(t, f.table, got.Table)
					require.Equal(t, "BTCUSDT", got.Instrument.Symbol)
					require.Equal(t, f.detail, got.Detail)
					require.Positive(t, got.Count)
				}
			}
		})
	}
}

// Updates that break the book, too, are found beside what that leads to.
func TestCheckFindsUpdatesThatCannotBe(t *testing.T) {
	short.Skip(t)
	s, db := openStore(t, chstore.Config{})
	recs := []marketprism.Record{snapshotOf(100, 0), updateOf(101, 101, 1), updateOf(102, 102, 2), updateOf(103, 103, 3), updateOf(104, 104, 4)}
	require.NoError(t, s.Write(t.Context(), recs))
	for id, change := range map[string]string{"102": "bid_qty_e8 = [-1]", "103": "ask_price_e8 = [-1], ask_qty_e8 = [1]", "104": "first_id = 105"} {
		require.NoError(t, db.Conn.Exec(t.Context(), "ALTER TABLE depth_events UPDATE "+change+" WHERE last_id = "+id+" SETTINGS mutations_sync = 2"))
	}
	report := check(t, s, chstore.CheckQuery{Silence: -1})
	require.Contains(t, report.Findings, chstore.Finding{
		Check: chstore.CheckValues, Table: "depth_events", Instrument: spot("BOOK"), Count: 3, First: secondsOf(2),
		Detail: "2 with a price or quantity below zero, 1 with a first id above the last",
	}, "%s", report.String())
}

func TestReport(t *testing.T) {
	report := chstore.Report{
		Instruments: 2, Rows: 10, Checks: 3,
		Findings: []chstore.Finding{
			{Check: chstore.CheckSkew, Table: "trades", Instrument: spot("BTCUSDT"), Count: 3, First: time.Unix(0, 5).UTC(), Detail: "by up to 2 s"},
			{Check: chstore.CheckParts, Table: "trades", Partition: "202611", Count: 700, Detail: "parts"},
		},
	}
	require.Equal(t, `2 instruments, 10 rows, 3 checks: 2 findings
CHECK  WHERE                        COUNT  FIRST                           DETAIL
skew   binance:spot:BTCUSDT trades  3      1970-01-01T00:00:00.000000005Z  by up to 2 s
parts  trades 202611                700                                    parts
`, report.String())
	text, err := json.Marshal(report)
	require.NoError(t, err)
	var back chstore.Report
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, report, back)
	require.NotContains(t, string(text), `"from"`)
}

// No update is missing between others, but between the snapshot and the first of them.
func TestCheckFindsUpdatesMissingAfterASnapshot(t *testing.T) {
	s := storeOf(t, snapshotOf(100, 0), updateOf(105, 105, 5), updateOf(106, 106, 6))
	r := check(t, s, chstore.CheckQuery{Silence: -1})
	require.Len(t, r.Findings, 1)
	require.Equal(t, chstore.CheckMissingUpdates, r.Findings[0].Check)
	require.Equal(t, "after the snapshot at id 100", r.Findings[0].Detail)
}

// A long range may be checked piece by piece: what lies on a border is found once.
func TestCheckFindsMissingRecordsOnABorder(t *testing.T) {
	short.Skip(t)
	trade := func(id int64, at float64) marketprism.Record {
		return marketprism.Record{Instrument: spot("BOOK"), EventTime: secondsOf(at), ReceivedAt: secondsOf(at), Trade: &marketprism.Trade{ID: id, Price: 1, Quantity: 1, TradeTime: secondsOf(at)}}
	}
	s := storeOf(t, snapshotOf(100, 0), updateOf(101, 101, 1), updateOf(102, 102, 2), trade(1, 2), updateOf(110, 110, 12), trade(5, 12), updateOf(111, 111, 13))
	whole := check(t, s, chstore.CheckQuery{Silence: -1})
	require.Len(t, whole.Findings, 2)
	first, second := check(t, s, chstore.CheckQuery{To: secondsOf(10), Silence: -1}), check(t, s, chstore.CheckQuery{From: secondsOf(10), Silence: -1})
	require.Empty(t, first.Findings)
	require.Equal(t, whole.Findings, second.Findings)
	third := check(t, s, chstore.CheckQuery{From: secondsOf(12.5), Silence: -1})
	require.Empty(t, third.Findings)
}

// That others of the market move counts, whichever instruments are looked at.
func TestCheckFindsSilenceOfOne(t *testing.T) {
	short.Skip(t)
	trade := func(symbol string, id int64, at float64) marketprism.Record {
		return marketprism.Record{Instrument: spot(symbol), EventTime: secondsOf(at), ReceivedAt: secondsOf(at), Trade: &marketprism.Trade{ID: id, Price: 1, Quantity: 1, TradeTime: secondsOf(at)}}
	}
	s := storeOf(t, trade("A", 1, 0), trade("A", 2, 600), trade("B", 1, 0), trade("B", 2, 100), trade("B", 3, 200), trade("B", 4, 300), trade("B", 5, 600))
	for _, instruments := range [][]marketprism.Instrument{nil, {spot("A")}} {
		r := check(t, s, chstore.CheckQuery{Instruments: instruments})
		require.Contains(t, r.String(), "silence")
		for _, f := range r.Findings {
			require.False(t, len(instruments) > 0 && f.Instrument != spot("A"), "%+v", f)
		}
	}
}

// A side that is known down to a limit, of which all known levels are taken, may have others.
func TestCheckKnowsALimitedSide(t *testing.T) {
	short.Skip(t)
	snapshot := snapshotOf(100, 0)
	snapshot.Snapshot.BidBound = orderbook.Bound{Price: levelOf(99, 1).Price, Limited: true}
	update := updateOf(101, 101, 1)
	update.Update.Bids = []orderbook.Level{levelOf(99, 0)}
	r := check(t, storeOf(t, snapshot, update), chstore.CheckQuery{})
	require.True(t, r.OK(), "%s", r.String())
}

// Futures trade ids without a trade may be none of the market.
func TestCheckDoesNotClaimThatFuturesTradesAreMissing(t *testing.T) {
	short.Skip(t)
	trade := func(id int64, aggregate bool) marketprism.Record {
		i := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.USDM, Symbol: "BTCUSDT"}
		return marketprism.Record{Instrument: i, EventTime: secondsOf(1), ReceivedAt: secondsOf(1), Trade: &marketprism.Trade{ID: id, Aggregate: aggregate, Price: 1, Quantity: 1, TradeTime: secondsOf(1)}}
	}
	r := check(t, storeOf(t, trade(1, false), trade(4, false), trade(1, true), trade(3, true)), chstore.CheckQuery{Silence: -1})
	require.Len(t, r.Findings, 2)
	require.Contains(t, r.String(), "2 ids have no trade: it is missing, or none of the market")
	require.Contains(t, r.String(), "1 aggregates are missing")
}
