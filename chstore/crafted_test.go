package chstore_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/orderbook"
)

// dayOf is when the tests of crafted books begin; their times are seconds from then on.
var dayOf = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)

func secondsOf(seconds float64) time.Time {
	return dayOf.Add(time.Duration(seconds * float64(time.Second)))
}

func levelOf(price, quantity int64) orderbook.Level {
	return orderbook.Level{Price: orderbook.Fixed(price) * orderbook.One, Quantity: orderbook.Fixed(quantity) * orderbook.One}
}

// snapshotOf is a snapshot that came at some second. The quantity of its best bid is its id.
func snapshotOf(id int64, at float64) marketprism.Record {
	return marketprism.Record{Instrument: spot("BOOK"), ReceivedAt: secondsOf(at), Snapshot: &orderbook.Snapshot{
		LastID: id, Bids: []orderbook.Level{levelOf(99, id)}, Asks: []orderbook.Level{levelOf(101, 1)},
	}}
}

// updateOf is an update that was sent, and came, at some second.
func updateOf(first, last int64, at float64) marketprism.Record {
	sent := secondsOf(at)
	return marketprism.Record{Instrument: spot("BOOK"), EventTime: sent, ReceivedAt: sent, Update: &orderbook.Update{
		FirstID: first, LastID: last, EventTime: sent, Bids: []orderbook.Level{levelOf(99, last)},
	}}
}

func storeOf(t *testing.T, recs ...marketprism.Record) *chstore.Store {
	t.Helper()
	s, _ := openStore(t, chstore.Config{})
	require.NoError(t, s.Write(t.Context(), recs))
	return s
}

// check returns the report on all that is stored between two times.
func check(t *testing.T, s *chstore.Store, q chstore.CheckQuery) chstore.Report {
	t.Helper()
	r, err := s.Check(t.Context(), q)
	require.NoError(t, err)
	return r
}
