package orderbook_test

import (
	"errors"
	"testing"

	"github.com/marketprism/marketprism/orderbook"
)

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
