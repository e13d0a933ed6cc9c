package chstore_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
	"github.com/marketprism/marketprism/sink/sinktest"
)

func TestRecordsOrderAndRange(t *testing.T) {
	short.Skip(t)
	s, _ := openStore(t, chstore.Config{})
	recs := sinktest.Records(1, 2_000)
	require.NoError(t, s.Write(t.Context(), recs))
	i := recs[0].Instrument
	var mine []marketprism.Record
	for _, r := range recs {
		if r.Instrument == i {
			mine = append(mine, r)
		}
	}
	slices.SortFunc(mine, func(a, b marketprism.Record) int { return a.Time().Compare(b.Time()) })
	from, to := mine[100].Time(), mine[300].Time()
	for name, q := range map[string]chstore.Query{
		"all":            {},
		"range":          {From: from, To: to},
		"from":           {From: from},
		"to":             {To: to},
		"far":            {From: time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2900, 1, 1, 0, 0, 0, 0, time.UTC)},
		"before 1970":    {To: time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC)},
		"turned around":  {From: to, To: from},
		"trades":         {Kinds: []marketprism.Kind{marketprism.KindTrade}},
		"aggregates":     {Kinds: []marketprism.Kind{marketprism.KindAggTrade}},
		"both":           {Kinds: []marketprism.Kind{marketprism.KindAggTrade, marketprism.KindTrade}},
		"book, in range": {Kinds: []marketprism.Kind{marketprism.KindUpdate, marketprism.KindSnapshot, marketprism.KindGap}, From: from, To: to},
	} {
		t.Run(name, func(t *testing.T) {
			q.Instrument = i
			var want []marketprism.Record
			for _, r := range mine {
				in := (q.From.IsZero() || !r.Time().Before(q.From)) && (q.To.IsZero() || r.Time().Before(q.To))
				if in && (q.Kinds == nil || slices.Contains(q.Kinds, r.Kind())) {
					want = append(want, r)
				}
			}
			got := read(t, s, q)
			requireSame(t, want, got)
			require.True(t, slices.IsSortedFunc(got, func(a, b marketprism.Record) int { return a.Time().Compare(b.Time()) }))
		})
	}
}

// Records of the same time are in the order in which a book is made of them.
func TestRecordsOfOneMoment(t *testing.T) {
	s, _ := openStore(t, chstore.Config{})
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	want := []marketprism.Record{
		{Update: &orderbook.Update{FirstID: 9, LastID: 10}},
		{Gap: &orderbook.Gap{After: 10, Reason: orderbook.GapStale}},
		{Snapshot: &orderbook.Snapshot{LastID: 10}},
		{Ticker: &marketprism.Ticker{UpdateID: 10}},
		{Update: &orderbook.Update{FirstID: 11, LastID: 11}},
		{Snapshot: &orderbook.Snapshot{LastID: 12}},
		{Ticker: &marketprism.Ticker{UpdateID: 13}},
		{Trade: &marketprism.Trade{ID: 1, TradeTime: at}},
		{Trade: &marketprism.Trade{ID: 2, TradeTime: at}},
		{Trade: &marketprism.Trade{ID: 1, Aggregate: true, TradeTime: at}},
	}
	for i := range want {
		want[i].Instrument, want[i].EventTime, want[i].ReceivedAt = spot("BTCUSDT"), at, at
	}
	reversed := slices.Clone(want)
	slices.Reverse(reversed)
	require.NoError(t, s.Write(t.Context(), reversed))
	var keys, wanted []string
	for _, r := range read(t, s, chstore.Query{Instrument: spot("BTCUSDT")}) {
		keys = append(keys, r.Key())
	}
	for _, r := range want {
		wanted = append(wanted, r.Key())
	}
	require.Equal(t, wanted, keys)
}

func TestRecordsStopEarly(t *testing.T) {
	short.Skip(t)
	s, _ := openStore(t, chstore.Config{})
	recs := sinktest.Records(2, 4_000)
	require.NoError(t, s.Write(t.Context(), recs))
	q := chstore.Query{Instrument: recs[0].Instrument}
	for range 20 { // more than there are connections
		for rec, err := range s.Records(t.Context(), q) {
			require.NoError(t, err)
			require.Equal(t, q.Instrument, rec.Instrument)
			break
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	count := 0
	for _, err := range s.Records(ctx, q) {
		require.ErrorIs(t, err, context.Canceled)
		count++
	}
	require.Equal(t, 1, count)

	for _, err := range s.Records(t.Context(), chstore.Query{Kinds: []marketprism.Kind{77}}) {
		require.ErrorIs(t, err, marketprism.ErrKind)
	}
}

// The same events come again, hours later and more than a reader remembers, beside new
// ones. Reads return the first of each, and those that came late for the first time.
func TestRecordsDuplicatesFarApart(t *testing.T) {
	short.Skip(t)
	s, _ := openStore(t, chstore.Config{})
	const n = 80_000
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ticker := func(id int64, at time.Time) marketprism.Record {
		return marketprism.Record{Instrument: spot("BTCUSDT"), ReceivedAt: at, Ticker: &marketprism.Ticker{UpdateID: id}}
	}
	var first, second []marketprism.Record
	for i := range int64(n) {
		if i%1000 != 7 {
			first = append(first, ticker(i, at.Add(time.Duration(i)*time.Microsecond)))
		}
		second = append(second, ticker(i, at.Add(time.Hour+time.Duration(i)*time.Microsecond)))
	}
	require.NoError(t, s.Write(t.Context(), first))
	require.NoError(t, s.Write(t.Context(), second))
	shown := make(map[int64]bool)
	for rec, err := range s.Records(t.Context(), chstore.Query{Instrument: spot("BTCUSDT")}) {
		require.NoError(t, err)
		id := rec.Ticker.UpdateID
		if shown[id] {
			t.Fatalf("ticker %d is shown twice", id)
		}
		shown[id] = true
		if late := rec.ReceivedAt.Sub(at) >= time.Hour; late != (id%1000 == 7) {
			t.Fatalf("ticker %d is shown from %s", id, rec.ReceivedAt)
		}
	}
	require.Len(t, shown, n)
}

// A quiet book that is lost twice ends and begins twice at one update id. Reads return both, and Check does
// not report them as duplicates.
func TestRecordsOfAQuietBookLostTwice(t *testing.T) {
	short.Skip(t)
	s, _ := openStore(t, chstore.Config{})
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	i := spot("QUIET")
	snap := orderbook.Snapshot{
		LastID: 150, Bids: []orderbook.Level{{Price: orderbook.One, Quantity: 1}}, Asks: []orderbook.Level{{Price: 2 * orderbook.One, Quantity: 1}},
	}
	var recs []marketprism.Record
	add := func(r marketprism.Record) {
		at = at.Add(time.Second)
		r.Instrument, r.ReceivedAt = i, at
		recs = append(recs, r)
	}
	for range 2 {
		add(marketprism.Record{Snapshot: &snap})
		add(marketprism.Record{Gap: &orderbook.Gap{After: 150, Reason: orderbook.GapDisconnect}})
	}
	add(marketprism.Record{Snapshot: &snap})
	add(marketprism.Record{EventTime: at.Add(time.Second), Update: &orderbook.Update{
		FirstID: 151, LastID: 152, EventTime: at.Add(time.Second), Bids: []orderbook.Level{{Price: orderbook.One, Quantity: 2}},
	}})
	recs = withOrigins(recs, "S", 1)
	require.NoError(t, s.Write(t.Context(), recs))
	got := readAll(t, s, recs)
	require.Len(t, got, len(recs))
	for i := range recs {
		require.Empty(t, sinktest.Diff(&recs[i], &got[i]))
	}
	report, err := s.Check(t.Context(), chstore.CheckQuery{Silence: -1})
	require.NoError(t, err)
	require.True(t, report.OK(), "%s", report.String())
}

// The span of an instrument is that of its own books, and nothing where it has none.
func TestSpan(t *testing.T) {
	short.Skip(t)
	s, _ := openStore(t, chstore.Config{})
	recs := sinktest.Records(1, 500)
	require.NoError(t, s.Write(t.Context(), recs))
	i := recs[0].Instrument
	var first, last time.Time
	for _, r := range recs {
		if r.Instrument != i || r.Snapshot == nil && r.Update == nil {
			continue
		}
		if r.Snapshot != nil && (first.IsZero() || r.Time().Before(first)) {
			first = r.Time()
		}
		if r.Time().After(last) {
			last = r.Time()
		}
	}
	gotFirst, gotLast, err := s.Span(t.Context(), i)
	require.NoError(t, err)
	require.Equal(t, []time.Time{first.UTC(), last.UTC()}, []time.Time{gotFirst, gotLast})

	_, err = s.BookAt(t.Context(), i, first.Add(-1))
	require.ErrorIs(t, err, chstore.ErrNoSnapshot)

	i.Symbol = "NOSUCH"
	gotFirst, gotLast, err = s.Span(t.Context(), i)
	require.NoError(t, err)
	require.Zero(t, gotFirst)
	require.Zero(t, gotLast)
}
