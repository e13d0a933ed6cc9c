package orderbook

import (
	"strconv"

	"github.com/shopspring/decimal"
)

// Fixed is an exact decimal number with eight fractional digits, held as an integer number of
// hundred-millionths: 1.5 is Fixed(150_000_000). The zero value is 0. Fixed values compare, add and
// subtract with the ordinary operators; nothing in this package ever rounds one.
//
// Eight digits are what Binance spot quotes, and its largest quantity, 92233720368.54775807, is
// MaxFixed (binance-spot-api-docs CHANGELOG, 2022-05-23).
type Fixed int64

const (
	// FractionDigits is the number of decimal digits after the point.
	FractionDigits = 8
	// One is the number 1.
	One Fixed = 100_000_000
	// MaxFixed is 92233720368.54775807, the largest Fixed.
	MaxFixed Fixed = 1<<63 - 1
	// MinFixed is -92233720368.54775808, the smallest Fixed.
	MinFixed Fixed = -1 << 63
)

// String returns the shortest plain decimal: no exponent, no trailing zeros, no bare point.
func (f Fixed) String() string {
	var buf [24]byte
	return string(f.append(buf[:0]))
}

// AppendText appends the form of String to b. It never fails.
func (f Fixed) AppendText(b []byte) ([]byte, error) { return f.append(b), nil }

// MarshalText returns the form of String. With it a Fixed is a string in JSON, so no reader that
// holds numbers as floats can damage it.
func (f Fixed) MarshalText() ([]byte, error) { return f.append(nil), nil }

// UnmarshalText is ParseFixed. It leaves f alone on error.
func (f *Fixed) UnmarshalText(b []byte) error {
	v, err := ParseFixed(b)
	if err == nil {
		*f = v
	}
	return err
}

// Decimal returns f as a shopspring decimal, exactly.
func (f Fixed) Decimal() decimal.Decimal { return decimal.New(int64(f), -FractionDigits) }

// Float64 returns the float nearest to f, or from 2^53 hundred-millionths (about 90 million) on one next
// to that. It is for display and statistics: it rounds.
func (f Fixed) Float64() float64 { return float64(f) / float64(One) }

// append writes the digits of the magnitude from the unsigned value, since -MinFixed is not an int64.
func (f Fixed) append(b []byte) []byte {
	mag := uint64(f)
	if f < 0 {
		b = append(b, '-')
		mag = -mag
	}
	b = strconv.AppendUint(b, mag/uint64(One), 10)
	frac := mag % uint64(One)
	if frac == 0 {
		return b
	}
	// The divisors are constants, which compile to multiplications.
	var digits [FractionDigits]byte
	for i := FractionDigits - 2; i >= 0; i -= 2 {
		pair := frac % 100
		digits[i], digits[i+1] = byte('0'+pair/10), byte('0'+pair%10)
		frac /= 100
	}
	n := FractionDigits
	for digits[n-1] == '0' {
		n--
	}
	return append(append(b, '.'), digits[:n]...)
}
