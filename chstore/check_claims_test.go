package chstore_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/chstore"
	"github.com/marketprism/marketprism/internal/short"
	"github.com/marketprism/marketprism/orderbook"
)

// Check reports a snapshot of an id that the updates after it do not reach, and a gap that says that ids went back where
// the updates go on from it; it does not report those of a market that was wiped, or of a collector that is late.
func TestCheckContradictedIDs(t *testing.T) {
	short.Skip(t)
	regressed := func(after int64, at float64) marketprism.Record {
		return marketprism.Record{Instrument: spot("BOOK"), ReceivedAt: secondsOf(at), Gap: &orderbook.Gap{After: after, Reason: orderbook.GapRegressed}}
	}
	for name, c := range map[string]struct {
		recs    []marketprism.Record
		details []string
	}{
		"a snapshot far ahead": {[]marketprism.Record{
			snapshotOf(100, 0), updateOf(101, 101, 1), snapshotOf(1<<60, 2), updateOf(102, 102, 3), updateOf(103, 103, 13),
		}, []string{"a snapshot has id 1152921504606846976"}},
		"a gap and a snapshot": {[]marketprism.Record{
			snapshotOf(100, 0), updateOf(101, 101, 1), regressed(101, 2), snapshotOf(1<<60, 2.5), updateOf(102, 102, 3), updateOf(103, 103, 14),
		}, []string{"a gap says that ids went back after 101"}},
		"a wiped market": {[]marketprism.Record{
			snapshotOf(1000, 0), updateOf(1001, 1001, 1), regressed(1001, 3), snapshotOf(10, 4), updateOf(11, 11, 5), updateOf(12, 12, 26),
		}, nil},
		"a late update": {[]marketprism.Record{
			snapshotOf(100, 0), snapshotOf(102, 1), updateOf(101, 101, 2), updateOf(102, 102, 3), updateOf(103, 103, 30),
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := check(t, storeOf(t, c.recs...), chstore.CheckQuery{})
			var details []string
			for _, f := range r.Findings {
				if f.Check == chstore.CheckSnapshots {
					details = append(details, f.Detail)
				}
			}
			require.Len(t, details, len(c.details), r.String())
			for i, want := range c.details {
				require.Contains(t, details[i], want)
			}
		})
	}
}
