package orderbook_test

import (
	"errors"
	"regexp"
	"testing"

	"github.com/shopspring/decimal"

	"github.com/marketprism/marketprism/orderbook"
)

// FuzzParseFixed holds ParseFixed against shopspring/decimal: on every plain decimal number both
// give the same value, or ParseFixed says rightly why it has none.
func FuzzParseFixed(f *testing.F) {
	for _, seed := range []string{
		"0", "-0", "0.0", "1.5", "-1.50", "92233720368.54775807", "92233720368.54775808", "-92233720368.54775808",
		"-92233720368.54775809", "184467440737.09551616", "0.000000001", "0.0000000010", "1e5", "+1", ".5", "5.", "", "-", "1..2",
		"922337203690.123456789", "92233720369.123456789", "00000000000000000000001", "1.000000000000000000000",
	} {
		f.Add(seed)
	}
	plain := regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 500 {
			return
		}
		got, err := orderbook.ParseFixed(text)
		if bytes, bytesErr := orderbook.ParseFixed([]byte(text)); bytes != got || (bytesErr == nil) != (err == nil) {
			t.Fatalf("of bytes %v, %v; of the string %v, %v", bytes, bytesErr, got, err)
		}
		if !plain.MatchString(text) {
			if !errors.Is(err, orderbook.ErrSyntax) {
				t.Fatalf("ParseFixed = %v, %v; want ErrSyntax", got, err)
			}
			return
		}
		want, parseErr := decimal.NewFromString(text)
		if parseErr != nil {
			t.Fatalf("shopspring refuses a plain decimal: %v", parseErr)
		}
		checkFixed(t, got, err, want)
		fromDecimal, fromErr := orderbook.FixedFromDecimal(want)
		checkFixed(t, fromDecimal, fromErr, want)
		if err != nil {
			return
		}
		if again, err := orderbook.ParseFixed(got.String()); err != nil || again != got {
			t.Fatalf("%q was written as %q and read as %v, %v", text, got, again, err)
		}
		if shortest := want.String(); shortest != got.String() && !want.IsZero() {
			t.Fatalf("written %q, by shopspring %q", got, shortest)
		}
	})
}

// checkFixed judges one conversion of want. A number that is both too large and too precise may be
// refused for either reason.
func checkFixed(t *testing.T, got orderbook.Fixed, err error, want decimal.Decimal) {
	t.Helper()
	units := want.Shift(orderbook.FractionDigits)
	tooPrecise := !units.Equal(units.Truncate(0))
	tooLarge := !units.BigInt().IsInt64()
	switch {
	case err == nil:
		if tooPrecise || tooLarge || !got.Decimal().Equal(want) {
			t.Fatalf("%v became %v", want, got)
		}
	case got != 0:
		t.Fatalf("%v gave %v beside the error %v", want, got, err)
	case tooPrecise && errors.Is(err, orderbook.ErrPrecision):
	case tooLarge && errors.Is(err, orderbook.ErrRange):
	default:
		t.Fatalf("%v was refused: %v", want, err)
	}
}
