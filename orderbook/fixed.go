package orderbook

import (
	"errors"
	"strconv"

	"github.com/shopspring/decimal"
)

// Fixed is an exact decimal number with eight fractional digits, held as an integer number of
// hundred-millionths: 1.5 is Fixed(150_000_000). The zero value is 0. Fixed values compare, add and
// subtract with the ordinary operators; nothing in this package ever rounds one. The one number that is not
// exact is a Level's quantity of MaxFixed.
//
// Eight digits are what Binance spot quotes.
type Fixed int64

const (
	// FractionDigits is the number of decimal digits after the point.
	FractionDigits = 8
	// One is the number 1.
	One Fixed = 100_000_000
	// MaxFixed is 92233720368.54775807, the largest Fixed. As the quantity of a Level it means this or more.
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

// Float64 returns the float nearest to f or, from 2^53 hundred-millionths (about 90 million) on, one next
// to it. It rounds: use it for display and statistics only.
func (f Fixed) Float64() float64 { return float64(f) / float64(One) }

// textSize is the size of the longest text: a sign, eleven digits, the point and eight digits.
const textSize = 1 + wholeDigits + 1 + FractionDigits

// wholeDigits is the number of digits before the point of MaxFixed.
const wholeDigits = 11

// append writes the fraction and then, from its end, the whole number around the place of the point, and copies
// both at once. It formats the magnitude as an unsigned number, since -MinFixed is not an int64.
func (f Fixed) append(b []byte) []byte {
	mag := uint64(f)
	if f < 0 {
		mag = -mag
	}
	const point = 1 + wholeDigits
	var text [textSize]byte
	whole, start, end := mag/uint64(One), point, point
	if frac := uint32(mag - whole*uint64(One)); frac != 0 {
		high, low := frac/10_000, frac%10_000 // most numbers have four decimals at most
		text[point] = '.'
		putPair(text[point+1:], high/100)
		putPair(text[point+3:], high%100)
		end = point + 5
		if low != 0 {
			putPair(text[point+5:], low/100)
			putPair(text[point+7:], low%100)
			end = point + 9
		}
		for text[end-1] == '0' {
			end--
		}
	}
	for whole >= 100 {
		rest := whole / 100
		start -= 2
		putPair(text[start:], uint32(whole-rest*100))
		whole = rest
	}
	if whole >= 10 {
		start -= 2
		putPair(text[start:], uint32(whole))
	} else {
		start--
		text[start] = byte('0' + whole)
	}
	if f < 0 {
		start--
		text[start] = '-'
	}
	return append(b, text[start:end]...)
}

// pairs has the two digits of every number below 100.
const pairs = "0001020304050607080910111213141516171819" +
	"2021222324252627282930313233343536373839" +
	"4041424344454647484950515253545556575859" +
	"6061626364656667686970717273747576777879" +
	"8081828384858687888990919293949596979899"

// putPair writes the two digits of a number below 100.
func putPair(text []byte, n uint32) {
	_ = text[1]
	pair := pairs[2*n : 2*n+2]
	text[0], text[1] = pair[0], pair[1]
}

// The causes in a *NumberError.
var (
	ErrSyntax    = errors.New("not a plain decimal number")
	ErrRange     = errors.New("out of range")
	ErrPrecision = errors.New("more than eight decimals")
)

// A NumberError names an input that is not a Fixed. Err is ErrSyntax, ErrRange or ErrPrecision.
type NumberError struct {
	Input string // the offending text, cut to 64 bytes
	Err   error
}

func (e *NumberError) Error() string {
	return "orderbook: number " + strconv.Quote(e.Input) + ": " + e.Err.Error()
}

func (e *NumberError) Unwrap() error { return e.Err }

const maxErrorInput = 64

func numberError[T []byte | string](s T, err error) error {
	if len(s) > maxErrorInput {
		s = s[:maxErrorInput]
	}
	return &NumberError{Input: string(s), Err: err}
}

// MustParse is ParseFixed for a number written in the program, such as MustParse("0.015"). It panics if s is no Fixed.
func MustParse(s string) Fixed {
	f, err := ParseFixed(s)
	if err != nil {
		panic(err)
	}
	return f
}

// ParseFixed reads a plain decimal: an optional minus, digits, and optionally a point and digits.
// Exponents, spaces, a plus sign and a bare point are syntax errors. Zeros beyond the eighth decimal
// are accepted, other digits there are ErrPrecision: nothing is rounded. The error is a *NumberError.
func ParseFixed[T []byte | string](s T) (Fixed, error) {
	f, err := parse(s)
	if err != nil {
		return 0, numberError(s, err)
	}
	return f, nil
}

// ParseQuantity reads the quantity of a Level as ParseFixed reads a number, but one beyond MaxFixed is MaxFixed,
// and one below zero is ErrRange.
//
// Binance spot caps such quantities itself where a base asset has eight decimals: "This means that the depth level
// is at max value or more" (binance-spot-api-docs CHANGELOG, 2022-05-23). Assets of fewer decimals have larger
// quantities: BTTC has one decimal, SHIB, PEPE, FLOKI and XEC have two (baseAssetPrecision of exchangeInfo).
func ParseQuantity[T []byte | string](s T) (Fixed, error) {
	f, err := parse(s)
	negative := len(s) > 0 && s[0] == '-'
	switch {
	case err == ErrRange && !negative:
		return MaxFixed, nil
	case err == nil && f < 0:
		err = ErrRange
	}
	if err != nil {
		return 0, numberError(s, err)
	}
	return f, nil
}

// parse is ParseFixed with a bare cause as its error.
func parse[T []byte | string](s T) (Fixed, error) {
	negative := len(s) > 0 && s[0] == '-'
	if negative {
		s = s[1:]
	}
	mag, err := parseMagnitude(s)
	switch {
	case err != nil:
		return 0, err
	case negative && mag <= 1<<63:
		return Fixed(-mag), nil
	case mag <= uint64(MaxFixed):
		return Fixed(mag), nil
	}
	return 0, ErrRange
}

// parseMagnitude reads digits with an optional fraction as hundred-millionths. Of several errors, ErrSyntax takes
// precedence, then ErrPrecision.
func parseMagnitude[T []byte | string](s T) (uint64, error) {
	const limit = 1<<63/10 + 1 // a magnitude above it overflows, and below it ×10 does not wrap
	var (
		mag     uint64
		worst   error
		point   = -1
		decimal int
	)
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '.' && point < 0 && i > 0 && i+1 < len(s) {
			point = i
			continue
		}
		digit := uint64(c - '0')
		if digit > 9 {
			return 0, ErrSyntax
		}
		switch {
		case point >= 0 && decimal == FractionDigits:
			if digit != 0 {
				worst = ErrPrecision
			}
			continue
		case point >= 0:
			decimal++
		}
		if mag > limit {
			worst = ErrRange // a precision error, if any, comes after the last digit that is read here
			continue
		}
		mag = mag*10 + digit
	}
	if len(s) == 0 {
		return 0, ErrSyntax
	}
	for ; decimal < FractionDigits; decimal++ {
		if mag > limit {
			worst = ErrRange // with fewer than eight decimals there is no other error
			break
		}
		mag *= 10
	}
	return mag, worst
}

// FixedFromDecimal converts d exactly, or fails with a *NumberError: ErrPrecision where d has a
// digit beyond the eighth decimal, ErrRange where it is too large.
func FixedFromDecimal(d decimal.Decimal) (Fixed, error) {
	// The bounds keep a hostile exponent from making a number of a billion digits.
	switch exp := d.Exponent(); {
	case d.IsZero():
		return 0, nil
	case exp > 18:
		return 0, numberError(d.Coefficient().String()+"e"+strconv.Itoa(int(exp)), ErrRange)
	case exp < -1024:
		return 0, numberError(d.Coefficient().String()+"e"+strconv.Itoa(int(exp)), ErrPrecision)
	}
	scaled := d.Shift(FractionDigits)
	switch {
	case !scaled.IsInteger():
		return 0, numberError(d.String(), ErrPrecision)
	case !scaled.BigInt().IsInt64():
		return 0, numberError(d.String(), ErrRange)
	}
	return Fixed(scaled.IntPart()), nil
}
