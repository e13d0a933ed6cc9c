package orderbook_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

func levels(pairs ...int64) []orderbook.Level {
	var out []orderbook.Level
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, orderbook.Level{
			Price:    orderbook.Fixed(pairs[i]) * orderbook.One,
			Quantity: orderbook.Fixed(pairs[i+1]) * orderbook.One,
		})
	}
	return out
}

func TestUpdateCloneIsIndependent(t *testing.T) {
	u := &orderbook.Update{
		FirstID: 7, LastID: 9, PrevLastID: 5, EventTime: time.Unix(3, 4), TransactTime: time.Unix(3, 1),
		Bids: levels(10, 1, 9, 2), Asks: levels(11, 3),
	}
	c := u.Clone()
	if !reflect.DeepEqual(c, u) {
		t.Fatalf("Clone = %+v, want %+v", c, u)
	}
	want := u.Clone()
	u.Bids[0], u.Asks[0], u.LastID = orderbook.Level{}, orderbook.Level{}, 0
	if !reflect.DeepEqual(c, want) {
		t.Errorf("changing the original changed the clone: %+v", c)
	}
	c.Bids = append(c.Bids, levels(8, 8)...)
	if c.Asks[0] != want.Asks[0] {
		t.Errorf("appending to the clone's bids changed its asks: %+v", c.Asks)
	}
}

func TestSnapshotCloneIsIndependent(t *testing.T) {
	s := &orderbook.Snapshot{
		LastID: 9, EventTime: time.Unix(3, 4), TransactTime: time.Unix(3, 1),
		Bids: levels(10, 1, 9, 2), Asks: levels(11, 3),
	}
	c := s.Clone()
	if !reflect.DeepEqual(c, s) {
		t.Fatalf("Clone = %+v, want %+v", c, s)
	}
	want := s.Clone()
	s.Bids[0], s.Asks[0], s.LastID = orderbook.Level{}, orderbook.Level{}, 0
	if !reflect.DeepEqual(c, want) {
		t.Errorf("changing the original changed the clone: %+v", c)
	}
	c.Bids = append(c.Bids, levels(8, 8)...)
	if c.Asks[0] != want.Asks[0] {
		t.Errorf("appending to the clone's bids changed its asks: %+v", c.Asks)
	}
}

// The numbers and names are stored, so this table is a promise to archives.
func TestGapReasons(t *testing.T) {
	names := []string{
		1: "sequence", 2: "disconnect", 3: "overflow", 4: "regressed", 5: "removed", 6: "stale", 7: "invalid",
	}
	for number, name := range names {
		reason := orderbook.GapReason(number)
		if number == 0 {
			name = "unknown"
		}
		if reason.String() != name {
			t.Errorf("reason %d is called %q, want %q", number, reason, name)
		}
		parsed, err := orderbook.ParseGapReason(name)
		switch {
		case number == 0 && !errors.Is(err, orderbook.ErrGapReason):
			t.Errorf("ParseGapReason(%q) = %v, %v", name, parsed, err)
		case number != 0 && (err != nil || parsed != reason):
			t.Errorf("ParseGapReason(%q) = %v, %v; want %d", name, parsed, err, number)
		}
	}
	if beyond := orderbook.GapReason(len(names)); beyond.String() != "unknown" {
		t.Errorf("there is a reason %d, %q, that this test does not know", beyond, beyond)
	}
	if orderbook.GapReason(255).String() != "unknown" {
		t.Error("reason 255 has a name")
	}
	if _, err := orderbook.ParseGapReason(""); !errors.Is(err, orderbook.ErrGapReason) {
		t.Errorf("ParseGapReason of nothing: %v", err)
	}
}

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

func TestErrorTexts(t *testing.T) {
	for want, err := range map[string]error{
		"orderbook: update id 5 wanted, 9 came":               &orderbook.SequenceError{Want: 5, Got: 9},
		`orderbook: number "1e5": not a plain decimal number`: &orderbook.NumberError{Input: "1e5", Err: orderbook.ErrSyntax},
		"read from a bus": orderbook.Cause("read from a bus"),
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err.Error(), want)
		}
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
