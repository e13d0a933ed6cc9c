package orderbook_test

import (
	"encoding/json"
	"errors"
	"math"
	"regexp"
	"strings"
	"testing"

	"github.com/marketprism/marketprism/orderbook"
	"github.com/shopspring/decimal"
)

func TestParseFixed(t *testing.T) {
	tests := []struct {
		text string
		want orderbook.Fixed
		form string // of String; text itself if empty
	}{
		{"0", 0, ""},
		{"1", orderbook.One, ""},
		{"-1", -orderbook.One, ""},
		{"1.5", 150_000_000, ""},
		{"0.00000001", 1, ""},
		{"-0.00000001", -1, ""},
		{"12345.67891", 1_234_567_891_000, ""},
		{"92233720368.54775807", orderbook.MaxFixed, ""},
		{"-92233720368.54775808", orderbook.MinFixed, ""},
		{"92233720368", 9_223_372_036_800_000_000, ""},

		// All the ways in which venues write zero, and one price in several precisions.
		{"-0", 0, "0"},
		{"0.0", 0, "0"},
		{"0.000", 0, "0"},
		{"0.00000000", 0, "0"},
		{"00", 0, "0"},
		{"0.10", 10_000_000, "0.1"},
		{"0.1000", 10_000_000, "0.1"},
		{"0.10000000", 10_000_000, "0.1"},
		{"100", 100 * orderbook.One, ""},

		// Zeros change nothing, however many there are.
		{"1.00000000000000000000000000000", orderbook.One, "1"},
		{"92233720368.5477580700000", orderbook.MaxFixed, "92233720368.54775807"},
		{"00000000000000000000000000000000001", orderbook.One, "1"},
	}
	for _, test := range tests {
		got, err := orderbook.ParseFixed(test.text)
		if err != nil || got != test.want {
			t.Errorf("ParseFixed(%q) = %d, %v; want %d", test.text, got, err, test.want)
			continue
		}
		if bytes, err := orderbook.ParseFixed([]byte(test.text)); err != nil || bytes != got {
			t.Errorf("ParseFixed([]byte(%q)) = %d, %v; of the string %d", test.text, bytes, err, got)
		}
		form := test.form
		if form == "" {
			form = test.text
		}
		if s := got.String(); s != form {
			t.Errorf("ParseFixed(%q).String() = %q, want %q", test.text, s, form)
		}
	}
}

func TestParseFixedRefuses(t *testing.T) {
	tests := []struct {
		text string
		want error
	}{
		{"", orderbook.ErrSyntax},
		{"-", orderbook.ErrSyntax},
		{".", orderbook.ErrSyntax},
		{"-.", orderbook.ErrSyntax},
		{".5", orderbook.ErrSyntax},
		{"5.", orderbook.ErrSyntax},
		{"+1", orderbook.ErrSyntax},
		{"--1", orderbook.ErrSyntax},
		{"1.2.3", orderbook.ErrSyntax},
		{"1..2", orderbook.ErrSyntax},
		{"1e5", orderbook.ErrSyntax},
		{"1E-5", orderbook.ErrSyntax},
		{"0x10", orderbook.ErrSyntax},
		{"1_000", orderbook.ErrSyntax},
		{"1,5", orderbook.ErrSyntax},
		{" 1", orderbook.ErrSyntax},
		{"1 ", orderbook.ErrSyntax},
		{"1\n", orderbook.ErrSyntax},
		{"NaN", orderbook.ErrSyntax},
		{"Inf", orderbook.ErrSyntax},
		{"１", orderbook.ErrSyntax}, // a fullwidth digit
		{"99999999999999999999999999x", orderbook.ErrSyntax},
		{"0.000000001x", orderbook.ErrSyntax},

		{"92233720368.54775808", orderbook.ErrRange},
		{"-92233720368.54775809", orderbook.ErrRange},
		{"92233720369", orderbook.ErrRange},
		{"184467440737.09551616", orderbook.ErrRange}, // 2^64 units: must not wrap to 0
		{"184467440737.09551617", orderbook.ErrRange},
		{"922337203685.4775807", orderbook.ErrRange},
		{"99999999999999999999999999", orderbook.ErrRange},
		{"-99999999999999999999999999.5", orderbook.ErrRange},

		{"0.000000001", orderbook.ErrPrecision},
		{"-0.000000001", orderbook.ErrPrecision},
		{"1.123456789", orderbook.ErrPrecision},
		{"0.00000000000000000000000000001", orderbook.ErrPrecision},
		{"92233720368.547758071", orderbook.ErrPrecision},
	}
	for _, test := range tests {
		got, err := orderbook.ParseFixed(test.text)
		var number *orderbook.NumberError
		switch {
		case !errors.Is(err, test.want), !errors.As(err, &number):
			t.Errorf("ParseFixed(%q): %v, want %v in a *NumberError", test.text, err, test.want)
		case number.Input != test.text:
			t.Errorf("ParseFixed(%q): the error's Input is %q", test.text, number.Input)
		case got != 0:
			t.Errorf("ParseFixed(%q) = %d beside its error", test.text, got)
		}
	}
}

// MustParse is for numbers in the text of a program: a wrong one is a mistake of the programmer.
func TestMustParse(t *testing.T) {
	if got := orderbook.MustParse("0.015"); got != orderbook.One*15/1000 {
		t.Errorf("MustParse = %v", got)
	}
	defer func() {
		if err, ok := recover().(error); !ok || !errors.Is(err, orderbook.ErrPrecision) {
			t.Errorf("it panics with %v", err)
		}
	}()
	orderbook.MustParse("0.123456789")
}

func TestNumberErrorIsShort(t *testing.T) {
	_, err := orderbook.ParseFixed(strings.Repeat("9", 1_000_000))
	var number *orderbook.NumberError
	if !errors.As(err, &number) || len(number.Input) != 64 {
		t.Errorf("err = %.200v", err)
	}
}

func TestFixedText(t *testing.T) {
	type quote struct{ Price, Quantity orderbook.Fixed }
	in := quote{Price: 6_500_012_000_000, Quantity: orderbook.MaxFixed}
	data, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"Price":"65000.12","Quantity":"92233720368.54775807"}`; string(data) != want {
		t.Errorf("JSON is %s, want %s", data, want)
	}
	var out quote
	if err := json.Unmarshal(data, &out); err != nil || out != in {
		t.Errorf("read back: %+v, %v", out, err)
	}
	if err := out.Price.UnmarshalText([]byte("1e3")); !errors.Is(err, orderbook.ErrSyntax) || out != in {
		t.Errorf("after a bad text: %+v, %v", out, err)
	}
	if got, err := orderbook.Fixed(-1).AppendText([]byte("x")); err != nil || string(got) != "x-0.00000001" {
		t.Errorf("AppendText = %q, %v", got, err)
	}
}

func TestFixedFromDecimal(t *testing.T) {
	for _, f := range []orderbook.Fixed{0, 1, -1, orderbook.One, orderbook.MaxFixed, orderbook.MinFixed} {
		if got, err := orderbook.FixedFromDecimal(f.Decimal()); err != nil || got != f {
			t.Errorf("FixedFromDecimal(%v.Decimal()) = %v, %v", f, got, err)
		}
	}
	tests := []struct {
		mantissa int64
		exponent int32
		want     orderbook.Fixed
		err      error
	}{
		{15, -1, 150_000_000, nil},
		{3, 2, 300 * orderbook.One, nil},
		{1_000_000, -14, 1, nil}, // its last six digits are zeros
		{0, math.MaxInt32, 0, nil},
		{0, math.MinInt32, 0, nil},
		{1, -9, 0, orderbook.ErrPrecision},
		{1, 11, 0, orderbook.ErrRange},
		{1, 19, 0, orderbook.ErrRange},
		{-1, 18, 0, orderbook.ErrRange},
		{math.MaxInt64, 0, 0, orderbook.ErrRange},
		{1, math.MaxInt32, 0, orderbook.ErrRange},     // must answer at once
		{1, math.MinInt32, 0, orderbook.ErrPrecision}, // likewise
	}
	for _, test := range tests {
		got, err := orderbook.FixedFromDecimal(decimal.New(test.mantissa, test.exponent))
		if got != test.want || !errors.Is(err, test.err) {
			t.Errorf("FixedFromDecimal(%de%d) = %v, %v; want %v, %v",
				test.mantissa, test.exponent, got, err, test.want, test.err)
		}
	}
}

func TestFixedFloat64(t *testing.T) {
	for _, test := range []struct {
		f    orderbook.Fixed
		want float64
	}{{0, 0}, {150_000_000, 1.5}, {-1, -1e-8}, {orderbook.MaxFixed, 92233720368.54775807}} {
		if got := test.f.Float64(); got != test.want {
			t.Errorf("%v.Float64() = %v, want %v", test.f, got, test.want)
		}
	}
}

func TestFixedAllocatesNothing(t *testing.T) {
	text, buf := []byte("65000.12345678"), make([]byte, 0, 32)
	var f orderbook.Fixed
	if n := testing.AllocsPerRun(100, func() { f, _ = orderbook.ParseFixed(text) }); n != 0 {
		t.Errorf("ParseFixed allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() { buf, _ = f.AppendText(buf[:0]) }); n != 0 {
		t.Errorf("AppendText allocates %v times", n)
	}
	if string(buf) != string(text) {
		t.Errorf("the text became %s", buf)
	}
}

func BenchmarkParseFixed(b *testing.B) {
	for _, text := range []string{"0.00000000", "65000.12000000", "12345.67891"} {
		b.Run(text, func(b *testing.B) {
			data := []byte(text)
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := orderbook.ParseFixed(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkFixedAppendText(b *testing.B) {
	for _, f := range []orderbook.Fixed{6_500_012_345_678, 6_500_012_000_000, 1_234_500, 150_000_000, 0} {
		b.Run(f.String(), func(b *testing.B) {
			buf := make([]byte, 0, 32)
			b.ReportAllocs()
			for b.Loop() {
				buf, _ = f.AppendText(buf[:0])
			}
		})
	}
}

// Every number of digits before and after the point, and every digit at every place, is written as by shopspring/decimal.
func TestFixedTextOfEveryLength(t *testing.T) {
	check := func(f orderbook.Fixed) {
		if got, want := f.String(), f.Decimal().String(); got != want {
			t.Errorf("Fixed(%d) is written %q, by shopspring %q", int64(f), got, want)
		}
	}
	for unit := orderbook.Fixed(1); unit > 0 && unit <= orderbook.MaxFixed/10; unit *= 10 {
		for digit := orderbook.Fixed(1); digit <= 9; digit++ {
			for _, f := range []orderbook.Fixed{digit * unit, digit*unit - 1, digit*unit + 1, digit * (unit + orderbook.One), digit * (unit + 1)} {
				check(f)
				check(-f)
			}
		}
	}
	for f := orderbook.Fixed(0); f < 20_000; f++ {
		check(f)
		check(f * 10_000)
		check(f * orderbook.One)
		check(-f * 12_345_678)
	}
	check(orderbook.MaxFixed)
	check(orderbook.MinFixed)
}

// FuzzFixedText compares the text of every Fixed with that of shopspring/decimal.
func FuzzFixedText(f *testing.F) {
	for _, seed := range []int64{0, 1, -1, 10, 100_000_000, -150_000_000, 99_999_999, 6_500_012_345_678, math.MaxInt64, math.MinInt64} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, n int64) {
		number := orderbook.Fixed(n)
		text, err := number.AppendText([]byte("x"))
		if want := "x" + number.Decimal().String(); err != nil || string(text) != want {
			t.Fatalf("Fixed(%d) is written %q, %v; by shopspring %q", n, text, err, want)
		}
		if again, err := orderbook.ParseFixed(number.String()); err != nil || again != number {
			t.Fatalf("Fixed(%d) is read back as %d, %v", n, int64(again), err)
		}
	})
}

// Reading a quantity beyond MaxFixed allocates nothing: such levels come with every update of some books.
func TestParseQuantityAllocatesNothing(t *testing.T) {
	text := []byte("310000000000.0")
	if n := testing.AllocsPerRun(100, func() {
		if q, err := orderbook.ParseQuantity(text); q != orderbook.MaxFixed || err != nil {
			t.Fatal(q, err)
		}
	}); n != 0 {
		t.Errorf("ParseQuantity allocates %v times", n)
	}
}

// FuzzParseFixed compares ParseFixed and ParseQuantity with shopspring/decimal: for every plain decimal number both
// give the same value, or the right error.
func FuzzParseFixed(f *testing.F) {
	for _, seed := range []string{
		"0", "-0", "0.0", "1.5", "-1.50", "92233720368.54775807", "92233720368.54775808", "-92233720368.54775808",
		"-92233720368.54775809", "184467440737.09551616", "0.000000001", "0.0000000010", "1e5", "+1", ".5", "5.", "", "-", "1..2",
		"922337203690.123456789", "92233720369.123456789", "00000000000000000000001", "1.000000000000000000000",
		"310000000000.0", "922337203685477580.7", "92233720368.547758071", "-310000000000.0", "99999999999999999999.000000001",
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
			_, err2 := orderbook.ParseQuantity(text)
			if !errors.Is(err, orderbook.ErrSyntax) || !errors.Is(err2, orderbook.ErrSyntax) {
				t.Fatalf("ParseFixed = %v, %v, ParseQuantity %v; want ErrSyntax", got, err, err2)
			}
			return
		}
		want, parseErr := decimal.NewFromString(text)
		if parseErr != nil {
			t.Fatalf("shopspring refuses a plain decimal: %v", parseErr)
		}
		checkFixed(t, got, err, want)
		quantity, err2 := orderbook.ParseQuantity(text)
		checkQuantity(t, quantity, err2, want)
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

// checkQuantity checks ParseQuantity by want, the number as it is written.
func checkQuantity(t *testing.T, got orderbook.Fixed, err error, want decimal.Decimal) {
	t.Helper()
	switch {
	case !want.Equal(want.Truncate(orderbook.FractionDigits)):
		if !errors.Is(err, orderbook.ErrPrecision) || got != 0 {
			t.Fatalf("the quantity %v gave %v, %v; want ErrPrecision", want, got, err)
		}
	case want.IsNegative():
		if !errors.Is(err, orderbook.ErrRange) || got != 0 {
			t.Fatalf("the quantity %v gave %v, %v; want ErrRange", want, got, err)
		}
	case err != nil || !got.Decimal().Equal(decimal.Min(want, orderbook.MaxFixed.Decimal())):
		t.Fatalf("the quantity %v gave %v, %v", want, got, err)
	}
}

// checkFixed checks one conversion of want. A number that is too precise is refused for that, whether or not it is
// too large as well.
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
	case !tooPrecise && tooLarge && errors.Is(err, orderbook.ErrRange):
	default:
		t.Fatalf("%v was refused: %v", want, err)
	}
}
