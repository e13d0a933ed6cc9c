package orderbook_test

import (
	"testing"

	"github.com/marketprism/marketprism/orderbook"
)

func TestStateAndContinuityNames(t *testing.T) {
	for want, got := range map[string]string{
		"offline":    orderbook.Offline.String(),
		"buffering":  orderbook.Buffering.String(),
		"synced":     orderbook.Synced.String(),
		"contiguous": orderbook.Contiguous.String(),
		"linked":     orderbook.Linked.String(),
	} {
		if got != want {
			t.Errorf("%q is called %q", want, got)
		}
	}
	if s := orderbook.State(3).String() + orderbook.Continuity(2).String(); s != "unknownunknown" {
		t.Errorf("values beyond the constants are called %q", s)
	}
}

func TestContinuityFollows(t *testing.T) {
	spot := &orderbook.Update{FirstID: 11, LastID: 13}
	futures := &orderbook.Update{FirstID: 900, LastID: 950, PrevLastID: 10}
	if orderbook.Contiguous.Predecessor(spot) != 10 || orderbook.Linked.Predecessor(futures) != 10 {
		t.Error("Predecessor is not 10")
	}
	for _, test := range []struct {
		rule orderbook.Continuity
		id   int64
		u    *orderbook.Update
		want bool
	}{
		{orderbook.Contiguous, 9, spot, false},
		{orderbook.Contiguous, 10, spot, true},
		{orderbook.Contiguous, 12, spot, true}, // overlaps
		{orderbook.Contiguous, 13, spot, false},
		{orderbook.Linked, 9, futures, false},
		{orderbook.Linked, 10, futures, true},
		{orderbook.Linked, 949, futures, true},
		{orderbook.Linked, 950, futures, false},
	} {
		if got := test.rule.Follows(test.id, test.u); got != test.want {
			t.Errorf("%v after %d: %v", test.rule, test.id, got)
		}
	}
}
