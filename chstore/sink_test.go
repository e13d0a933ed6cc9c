package chstore_test

import (
	"slices"
	"testing"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/sink"
	"github.com/marketprism/marketprism/sink/sinktest"
)

// The conformance test wants the order of arrival, which Records does not promise: it reads by the
// time of the exchange, and snapshots of spot have none.
func TestSink(t *testing.T) {
	sinktest.TestSink(t, func(t *testing.T) (sink.Sink, func(*testing.T) []marketprism.Record) {
		s, db := openStore(t, chstore.Config{})
		return s, func(t *testing.T) []marketprism.Record {
			recs := readAllInstruments(t, s, db)
			slices.SortStableFunc(recs, func(a, b marketprism.Record) int { return a.ReceivedAt.Compare(b.ReceivedAt) })
			return recs
		}
	})
}
