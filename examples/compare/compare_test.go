package compare_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/examples/compare"
	"github.com/marketprism/marketprism/orderbook"
)

// Stored records are compared with the book that they make: tickers before and after the update with their id, and snapshots.
func TestRecords(t *testing.T) {
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	level := func(price, quantity int) []orderbook.Level {
		return []orderbook.Level{{Price: orderbook.Fixed(price * 1e8), Quantity: orderbook.Fixed(quantity * 1e8)}}
	}
	snapshot := func(id int64, quantity int) marketprism.Record {
		return marketprism.Record{Snapshot: &orderbook.Snapshot{LastID: id, Bids: level(9, quantity), Asks: level(11, 1)}}
	}
	update := func(id int64, quantity int) marketprism.Record {
		return marketprism.Record{Update: &orderbook.Update{FirstID: id, LastID: id, Bids: level(9, quantity)}}
	}
	ticker := func(id int64, quantity int) marketprism.Record {
		return marketprism.Record{Ticker: &marketprism.Ticker{UpdateID: id, Bid: level(9, quantity)[0], Ask: level(11, 1)[0]}}
	}
	gap := marketprism.Record{Gap: &orderbook.Gap{Reason: orderbook.GapDisconnect, After: 3}}
	for name, test := range map[string]struct {
		records []marketprism.Record
		want    string
	}{
		"nothing":            {nil, "no books"},
		"tickers alone":      {[]marketprism.Record{ticker(2, 2)}, "no books"},
		"updates alone":      {[]marketprism.Record{update(2, 2)}, "no books"},
		"nothing compared":   {[]marketprism.Record{snapshot(1, 1), update(2, 2), ticker(7, 2)}, "0 of 1 books equal, 1 with nothing to compare; 0 gaps; 1 tickers, 0 compared, 0 equal"},
		"tickers":            {[]marketprism.Record{snapshot(1, 1), ticker(2, 2), update(2, 2), update(3, 3), ticker(3, 3)}, "1 of 1 books equal; 0 gaps; 2 tickers, 2 compared, 2 equal"},
		"a wrong ticker":     {[]marketprism.Record{snapshot(1, 1), update(2, 2), ticker(2, 7)}, "0 of 1 books equal; 0 gaps; 1 tickers, 1 compared, 0 equal"},
		"snapshots":          {[]marketprism.Record{snapshot(1, 1), update(2, 2), snapshot(2, 2)}, "1 of 1 books equal; 0 gaps; 1 of 1 snapshots equal; 0 tickers, 0 compared, 0 equal"},
		"a wrong snapshot":   {[]marketprism.Record{snapshot(1, 1), update(2, 2), snapshot(2, 7)}, "0 of 1 books equal; 0 gaps; 0 of 1 snapshots equal; 0 tickers, 0 compared, 0 equal"},
		"a gap":              {[]marketprism.Record{snapshot(1, 1), update(2, 2), ticker(2, 2), update(3, 1), gap, snapshot(9, 1)}, "0 of 1 books equal; 1 gaps; 1 tickers, 1 compared, 1 equal"},
		"a gap at the end":   {[]marketprism.Record{snapshot(1, 1), update(2, 2), ticker(2, 2), update(3, 1), gap}, "1 of 1 books equal; 0 gaps, 1 at the end; 1 tickers, 1 compared, 1 equal"},
		"a gap refuted":      {[]marketprism.Record{snapshot(1, 1), update(2, 2), ticker(2, 2), update(3, 1), gap, snapshot(3, 1)}, "1 of 1 books equal; 0 gaps; 1 of 1 snapshots equal; 1 tickers, 1 compared, 1 equal"},
		"trades are no part": {[]marketprism.Record{{Trade: &marketprism.Trade{ID: 1}}}, "no books"},
	} {
		var books compare.Records
		for i, rec := range test.records {
			rec.Instrument = marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: "A"}
			rec.ReceivedAt = at.Add(time.Duration(i) * time.Second)
			require.NoError(t, books.Add(&rec))
		}
		total := books.Total()
		require.Equal(t, test.want, total.String(), name)
		require.Equal(t, total.Books > 0 && total.BooksEqual+total.BooksUncompared == 1, total.OK(), name)
	}
}
