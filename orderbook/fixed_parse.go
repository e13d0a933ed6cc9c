package orderbook

import (
	"errors"
	"strconv"

	"github.com/shopspring/decimal"
)

// The ways in which a text or a decimal fails to be a Fixed. They come wrapped in a *NumberError.
var (
	ErrSyntax    = errors.New("not a plain decimal number")
	ErrRange     = errors.New("out of range")
	ErrPrecision = errors.New("more than eight decimals")
)

// A NumberError tells which input is not a Fixed and why: Err is ErrSyntax, ErrRange or
// ErrPrecision.
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

// ParseFixed reads a plain decimal: an optional minus, digits, and optionally a point and digits.
// Exponents, spaces, a plus sign and a bare point are syntax errors. Zeros beyond the eighth decimal
// are accepted, other digits there are ErrPrecision: nothing is rounded. The error is a *NumberError.
func ParseFixed[T []byte | string](s T) (Fixed, error) {
	rest := s
	negative := len(rest) > 0 && rest[0] == '-'
	if negative {
		rest = rest[1:]
	}
	mag, err := parseMagnitude(rest)
	switch {
	case err != nil:
		return 0, numberError(s, err)
	case negative && mag <= 1<<63:
		return Fixed(-mag), nil
	case mag <= uint64(MaxFixed):
		return Fixed(mag), nil
	}
	return 0, numberError(s, ErrRange)
}

// parseMagnitude reads digits with an optional fraction as hundred-millionths. A syntax error is
// reported in preference to the others, whatever comes first in the text.
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
			if digit != 0 && worst == nil {
				worst = ErrPrecision
			}
			continue
		case point >= 0:
			decimal++
		}
		if mag > limit {
			worst = ErrRange
			continue
		}
		mag = mag*10 + digit
	}
	if len(s) == 0 {
		return 0, ErrSyntax
	}
	for ; decimal < FractionDigits; decimal++ {
		if mag > limit {
			worst = ErrRange
			break
		}
		mag *= 10
	}
	return mag, worst
}

// FixedFromDecimal converts d exactly, or fails with a *NumberError: ErrPrecision where d has a
// digit beyond the eighth decimal, ErrRange where it is too large.
func FixedFromDecimal(d decimal.Decimal) (Fixed, error) {
	// The guards keep a hostile exponent from making a number of a billion digits.
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
