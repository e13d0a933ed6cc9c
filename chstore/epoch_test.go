package chstore_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// life returns what a collector stores of an epoch that begins at a second: the ids are the same in each, the prices are
// not.
func life(price int64, at float64) []marketprism.Record {
	recs := []marketprism.Record{snapshotOf(100, at+0.3)}
	for n := range int64(3) {
		u, t := updateOf(101+n, 101+n, at+float64(n)), updateOf(0, 0, at+float64(n))
		t.Update, t.Trade = nil, &marketprism.Trade{ID: 1 + n, Price: orderbook.Fixed(price), Quantity: 1, TradeTime: t.EventTime}
		k := t
		k.Trade = nil
		k.Ticker = &marketprism.Ticker{UpdateID: 101 + n, Bid: levelOf(price, 1), Ask: levelOf(200, 1)}
		recs = append(recs, u, t, k)
	}
	for i := range recs {
		if s := recs[i].Snapshot; s != nil {
			s.Bids[0].Price = levelOf(price, 1).Price
		} else if u := recs[i].Update; u != nil {
			u.Bids[0].Price = levelOf(price, 1).Price
		}
	}
	return recs
}

// A market is wiped twice within a minute, and ids and content come again. Two collectors notice.
func TestWipes(t *testing.T) {
	short.Skip(t)
	wiped := func(at, received float64) marketprism.Record {
		return marketprism.Record{
			Instrument: spot("BOOK"), EventTime: secondsOf(at), ReceivedAt: secondsOf(received), Gap: &orderbook.Gap{After: 103, Reason: orderbook.GapRegressed},
		}
	}
	recs := slices.Concat(life(50, 0), []marketprism.Record{wiped(3, 3.02), wiped(3, 3.1)}, life(60, 3), []marketprism.Record{wiped(6.5, 6.52)}, life(60, 6.5))
	s := storeOf(t, recs...)
	require.Len(t, read(t, s, chstore.Query{Instrument: spot("BOOK")}), len(recs), "no record is taken for a copy")
	var got sinktest.Recorder
	require.NoError(t, s.Replay(t.Context(), chstore.ReplayQuery{Instruments: []marketprism.Instrument{spot("BOOK")}}, chstore.ReplayConfig{}, &got))
	var ids []int64
	for _, r := range got.Records() {
		switch {
		case r.Gap != nil:
			ids = append(ids, -1)
		case r.Snapshot != nil:
			ids = append(ids, r.Snapshot.LastID)
		case r.Update != nil:
			ids = append(ids, r.Update.LastID)
		}
	}
	require.Equal(t, []int64{100, 101, 102, 103, -1, -1, 100, 101, 102, 103, -1, 100, 101, 102, 103}, ids)
	for at, want := range map[float64]struct{ price, id int64 }{2: {50, 103}, 2.9: {50, 103}, 3.3: {60, 101}, 5: {60, 103}, 6.5: {60, 101}, 8.5: {60, 103}} {
		book, err := s.BookAt(t.Context(), spot("BOOK"), secondsOf(at))
		require.NoError(t, err, "at %v", at)
		best, _ := book.BestBid()
		require.Equal(t, want.id, book.LastID(), "at %v", at)
		require.Equal(t, levelOf(want.price, 1).Price, best.Price, "at %v", at)
	}
	r := check(t, s, chstore.CheckQuery{Silence: -1})
	require.True(t, r.OK(), "%s", r.String())
}

// Ids of what is no trade of the market are not missing where the trade after them names them, others are.
func TestCheckKnowsIDsOfNoTrade(t *testing.T) {
	short.Skip(t)
	trade := func(first, id int64) marketprism.Record {
		r := marketprism.Record{
			Instrument: marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.USDM, Symbol: "BTCUSDT"}, EventTime: secondsOf(float64(id)),
			ReceivedAt: secondsOf(float64(id)), Trade: &marketprism.Trade{ID: id, Price: 1, Quantity: 1, TradeTime: secondsOf(float64(id))},
		}
		if first != 0 {
			r.Trade.FirstID, r.Trade.LastID = first, id
		}
		return r
	}
	s := storeOf(t, trade(0, 1), trade(2, 4), trade(0, 5), trade(6, 7))
	r := check(t, s, chstore.CheckQuery{Silence: -1})
	require.True(t, r.OK(), "%s", r.String())
	require.NoError(t, s.Write(t.Context(), []marketprism.Record{trade(9, 10)})) // 8 is missing
	r = check(t, s, chstore.CheckQuery{Silence: -1})
	require.Contains(t, r.String(), "1 ids have no trade")
}

// An instrument that never had an update has an empty book, and the first order makes one side of it.
func TestCheckOfANewbornMarket(t *testing.T) {
	short.Skip(t)
	begins, empty := snapshotOf(-1, 0), snapshotOf(100, 10)
	begins.Snapshot.Bids, begins.Snapshot.Asks = nil, nil
	empty.Snapshot.Bids, empty.Snapshot.Asks, empty.Instrument = nil, nil, spot("EMPTY")
	first, second := updateOf(101, 101, 1), updateOf(102, 102, 2)
	second.Update.Bids, second.Update.Asks = nil, []orderbook.Level{levelOf(101, 1)}
	s := storeOf(t, begins, first, second, empty)
	r := check(t, s, chstore.CheckQuery{Silence: -1})
	require.Len(t, r.Findings, 1, "%s", r.String())
	require.Equal(t, spot("EMPTY"), r.Findings[0].Instrument)
}

// Ids went back while no collector was connected. Books that begins between gives the books of BookAt.
func TestBooksAcrossAnUnnoticedWipe(t *testing.T) {
	short.Skip(t)
	s := storeOf(t, snapshotOf(1000, 0), updateOf(1001, 1001, 1), updateOf(1002, 1002, 2), updateOf(1003, 1003, 3),
		snapshotOf(100, 60.5), updateOf(101, 101, 60), updateOf(102, 102, 61), updateOf(103, 103, 62), snapshotOf(103, 90), updateOf(104, 104, 91))
	compared := 0
	for _, st := range states(t, s, chstore.BookQuery{Instrument: spot("BOOK"), From: secondsOf(30), To: secondsOf(120), Every: 20 * time.Second}) {
		if st.Missing != nil { // up to the first snapshot after
			continue
		}
		b, err := s.BookAt(t.Context(), spot("BOOK"), st.At)
		require.NoError(t, err)
		compared++
		require.Equal(t, b.LastID(), st.Book.LastID(), "%v", st.At)
	}
	require.GreaterOrEqual(t, compared, 4)
}

// The last record before ids went back, which no collector noticed, is a snapshot: it comes before those of the market
// after.
func TestReplayAcrossAnUnnoticedWipe(t *testing.T) {
	short.Skip(t)
	s := storeOf(t, snapshotOf(1000, 0), updateOf(1001, 1001, 1), updateOf(1002, 1002, 2), snapshotOf(1002, 3),
		snapshotOf(100, 60.5), updateOf(101, 101, 60), updateOf(102, 102, 61), updateOf(103, 103, 62))
	var got sinktest.Recorder
	require.NoError(t, s.Replay(t.Context(), chstore.ReplayQuery{Instruments: []marketprism.Instrument{spot("BOOK")}}, chstore.ReplayConfig{}, &got))
	last := int64(0)
	for _, r := range got.Records() {
		if r.Snapshot != nil {
			last = r.Snapshot.LastID
		}
	}
	require.EqualValues(t, 100, last, "%s", describe(got.Records()))
	all := states(t, s, chstore.BookQuery{Instrument: spot("BOOK")})
	require.EqualValues(t, 103, all[len(all)-1].Book.LastID())
}

// No collector recorded that ids went back: none was connected, or trades alone are collected. The ids and the times
// show it, also where the market goes on at once, is wiped twice, or begins again just below its last id.
func TestCheckKnowsWipesThatNoneRecorded(t *testing.T) {
	short.Skip(t)
	const rows = 40
	s, _ := openStore(t, chstore.Config{})
	var whole, paused, broken []marketprism.Instrument
	for n, second := range []struct {
		from              int64
		after, step       float64 // seconds
		withoutTheUpdates bool
	}{{101, 3600, 0.25, false}, {101, 3600, 0.25, true}, {101, 0.5, 0.25, false}, {1000 - rows, 0.25, 0.25, false}, {101, 1, 4, false}} {
		for _, m := range []marketprism.Market{marketprism.Spot, marketprism.USDM} {
			var recs []marketprism.Record
			at := 0.0
			for life := range int64(3) {
				first := int64(1000)
				if life > 0 {
					first = second.from - life
					at += second.after
				}
				begin := snapshotOf(first-1, at-0.125)
				if m != marketprism.Spot {
					begin.EventTime, begin.Snapshot.EventTime = begin.ReceivedAt, begin.ReceivedAt
				}
				recs = append(recs, begin)
				for id := first; id < first+rows; id++ {
					u := updateOf(id, id, at)
					if m != marketprism.Spot {
						u.Update.PrevLastID = id - 1
					}
					k := u
					k.Update, k.Trade = nil, &marketprism.Trade{ID: id, Price: 1, Quantity: 1, TradeTime: u.EventTime}
					recs = append(recs, u, k)
					at += second.step
				}
			}
			if second.withoutTheUpdates {
				recs = slices.DeleteFunc(recs, func(r marketprism.Record) bool { return r.Trade == nil })
			}
			name := func(symbol string) marketprism.Instrument {
				i := marketprism.Instrument{Exchange: marketprism.Binance, Market: m, Symbol: fmt.Sprintf("%s%d", symbol, n)}
				for n := range recs {
					recs[n].Instrument = i
				}
				return i
			}
			whole = append(whole, name("WHOLE"))
			if second.after > 5 {
				paused = append(paused, whole[len(whole)-1])
			}
			require.NoError(t, s.Write(t.Context(), recs))
			broken = append(broken, name("BROKEN"))
			lost := recs[len(recs)-rows/2].Time()
			require.NoError(t, s.Write(t.Context(), slices.DeleteFunc(recs, func(r marketprism.Record) bool { return r.Time().Equal(lost) })))
		}
	}
	for _, q := range []chstore.CheckQuery{
		{Instruments: whole, SkipBooks: true}, {Instruments: whole, SkipBooks: true, From: secondsOf(8)}, {Instruments: paused},
	} {
		q.Silence = -1
		r := check(t, s, q)
		require.True(t, r.OK(), "%s", r.String())
	}
	r := check(t, s, chstore.CheckQuery{Instruments: broken, Silence: -1, SkipBooks: true})
	require.Len(t, r.Findings, 2*len(broken)-2, "%s", r.String())
	for _, f := range r.Findings {
		require.EqualValues(t, 1, f.Count, "%s", r.String())
		require.True(t, f.Check == chstore.CheckMissingUpdates || strings.HasPrefix(f.Detail, "1 "), "%s", r.String())
	}
}

// A trade that was fetched has the time of the matching engine alone; the stream may have sent it much later. Both are one
// trade. A trade that was made much later is of another epoch, with all that it says the same.
func TestCopiesOfATradeByTheTimeOfTheMatchingEngine(t *testing.T) {
	short.Skip(t)
	trade := func(id int64, made, sent float64) marketprism.Record {
		return marketprism.Record{
			Instrument: spot("BOOK"), EventTime: secondsOf(sent), ReceivedAt: secondsOf(sent),
			Trade: &marketprism.Trade{ID: id, Price: 1, Quantity: 1, TradeTime: secondsOf(made)},
		}
	}
	s := storeOf(t, trade(3, 3, 3), trade(4, 4, 4), trade(5, 5, 25), trade(4, 4, 20), trade(5, 5, 5), trade(4, 60, 60))
	var made []time.Time
	for _, r := range read(t, s, chstore.Query{Instrument: spot("BOOK")}) {
		made = append(made, r.Trade.TradeTime)
	}
	require.Equal(t, []time.Time{secondsOf(3), secondsOf(4), secondsOf(5), secondsOf(60)}, made)
}

// The exchange's clock puts the first snapshot after a wipe that no collector saw before its updates. The missing range
// ends there also for a moment between the two.
func TestMissingRangeEndsWithASnapshotBeforeTheMoment(t *testing.T) {
	short.Skip(t)
	i := marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.USDM, Symbol: "BOOK"}
	update := func(id int64, at float64) marketprism.Record {
		r := updateOf(id, id, at)
		r.Update.PrevLastID = id - 1
		return r
	}
	snapshot := func(id int64, at, received float64) marketprism.Record {
		r := snapshotOf(id, received)
		r.EventTime, r.Snapshot.EventTime = secondsOf(at), secondsOf(at)
		return r
	}
	gap := marketprism.Record{ReceivedAt: secondsOf(2.5), Gap: &orderbook.Gap{After: 102, Reason: orderbook.GapDisconnect}}
	recs := []marketprism.Record{
		snapshot(100, 0, 0.5), update(101, 1), update(102, 2), gap,
		snapshot(50, 10, 10.4), update(51, 10.3), update(52, 10.4), snapshot(53, 10.8, 11), update(53, 10.8), update(54, 11),
	}
	for n := range recs {
		recs[n].Instrument = i
	}
	s, h := storeOf(t, recs...), &history{instrument: i, recs: recs}
	all := states(t, s, chstore.BookQuery{Instrument: i})
	for _, at := range []float64{2.5, 5, 10, 10.1, 10.3, 10.5, 11} {
		h.compare(t, s, all, time.Time{}, secondsOf(at))
	}
}
