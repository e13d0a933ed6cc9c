package scan

import "github.com/marketprism/marketprism/orderbook"

// Nearly all bytes of a depth frame are levels, and nearly all levels look alike. This file reads
// those: no white space, no escapes, no sign, one to seven digits before the point and as many
// decimals as the level before. Whatever differs is left to the general code, which decides what is
// wrong with it, if anything.

// A form is how a column of numbers is written. An exchange pads all prices, and all quantities, of an
// instrument to the same number of decimals.
type form struct {
	whole    int    // digits before the point; used of prices, since those of a side mostly agree in it
	stop     byte   // what ends them, the point or the closing quote; 0 for no form
	skip     int    // bytes of the fraction with its point
	decimals uint64 // all ones in the bytes of a word that are decimals
}

const (
	maxWhole = 7
	maxSkip  = 1 + orderbook.FractionDigits
	// window is the most bytes that reading a regular level touches from the first digit of its
	// price on: two numbers, what stands between them, and a word after them.
	window = maxWhole + maxSkip + 3 + maxWhole + maxSkip + 8
	// tailSize leaves a whole window after the last byte that lacks one.
	tailSize = 2*window + 4
)

// The text between and after numbers, as little-endian words.
const (
	betweenNumbers = '"' | ','<<8 | '"'<<16
	betweenLevels  = '"' | ']'<<8 | ','<<16 | '['<<24 | '"'<<32
	afterLevels    = '"' | ']'<<8 | ']'<<16
	levelStart     = '[' | '"'<<8
)

// regularLevels appends the regular levels from here on. It stops behind the last of them; where the
// next level is irregular it reads nothing.
func (s *Scanner) regularLevels(dst []orderbook.Level) []orderbook.Level {
	start := s.pos
	dst = s.runOfLevels(dst)
	if s.pos == start && s.learnForms() {
		dst = s.runOfLevels(dst)
	}
	return dst
}

// runOfLevels appends levels as long as they have the forms of the Scanner. The last ones, which lack
// a window, are read from a copy that has zeros behind it.
func (s *Scanner) runOfLevels(dst []orderbook.Level) []orderbook.Level {
	dst, n := appendLevels(dst, s.data[s.pos:], s.price, s.quantity)
	s.pos += n
	rest := s.data[s.pos:]
	if n > 0 && len(rest) > 0 && rest[0] == ',' {
		rest = rest[1:]
	}
	if len(rest) >= window+2 || len(rest) < 2 || rest[0] != '[' {
		return dst
	}
	clear(s.tail[copy(s.tail[:], rest):])
	dst, n = appendLevels(dst, s.tail[:], s.price, s.quantity)
	if n > 0 {
		s.pos = len(s.data) - len(rest) + n
	}
	return dst
}

// appendLevels appends the regular levels with which buf begins and returns how many bytes they are,
// without the comma after the last one. It looks only at levels with a window.
func appendLevels(dst []orderbook.Level, buf []byte, price, quantity form) ([]orderbook.Level, int) {
	if len(buf) < 8 || load8(buf)&0xffff != levelStart ||
		uint(price.whole) > maxWhole || uint(price.skip) > maxSkip || uint(quantity.skip) > maxSkip {
		return dst, 0
	}
	quantityAt := price.whole + price.skip + 3
	wholeShift := 64 - 8*uint(price.whole)
	quantityStop := uint64(quantity.stop) * ones
	done := 0
	for p := 2; len(buf)-p >= window; {
		w := (*[window]byte)(buf[p:]) // the one bounds check of a level

		// The price: its form says where everything stands.
		whole := (load8(w[:]) - zeros) << (wholeShift & 63)
		fraction := (load8(w[price.whole+1:]) - zeros) & price.decimals
		bad := notDigitsRaw(whole) | notDigitsRaw(fraction)
		l := orderbook.Level{Price: orderbook.Fixed(number8(whole)*1e8 + number8(fraction))}
		wrong := uint64(w[price.whole]^price.stop) | (load8(w[quantityAt-3:])&0xffffff ^ betweenNumbers)

		// The quantity: how many digits it has before the point differs from level to level.
		word := load8(w[quantityAt:])
		stop := find(word, quantityStop)
		if stop == 0 {
			break
		}
		n, shift := leading(stop)
		whole = (word - zeros) << (shift & 63)
		fraction = (load8(w[quantityAt+n+1:]) - zeros) & quantity.decimals
		bad |= notDigitsRaw(whole) | notDigitsRaw(fraction)
		l.Quantity = orderbook.Fixed(number8(whole)*1e8 + number8(fraction))

		end := quantityAt + n + quantity.skip
		word = load8(w[end:])
		if bad&highs|wrong != 0 {
			break
		}
		switch {
		case word&0xffffffffff == betweenLevels:
			dst = append(dst, l)
			p += end
			done = p + 2
			p += 5
		case word&0xffffff == afterLevels:
			return append(dst, l), p + end + 2
		default:
			return dst, done
		}
	}
	return dst, done
}

// learnForms takes the forms of the level that comes next; false if it is not regular or has the
// forms already known.
func (s *Scanner) learnForms() bool {
	price, n := formOf(s.data, s.pos+2)
	quantity, _ := formOf(s.data, n+3)
	if price.stop == 0 || quantity.stop == 0 {
		return false
	}
	quantity.whole = 0 // it varies
	if price == s.price && quantity == s.quantity {
		return false
	}
	s.price, s.quantity = price, quantity
	return true
}

// formOf returns the form of the number at p and where it ends; the zero form if it has none.
func formOf(data []byte, p int) (f form, end int) {
	for f.whole = 0; p < len(data) && data[p]-'0' <= 9; p++ {
		f.whole++
	}
	if p >= len(data) || f.whole == 0 || f.whole > maxWhole {
		return form{}, p
	}
	f.stop = data[p]
	switch f.stop {
	case '"':
		return f, p
	case '.':
		point := p
		for p++; p < len(data) && data[p]-'0' <= 9; p++ {
		}
		f.skip = p - point
		if 1 < f.skip && f.skip <= maxSkip {
			f.decimals = ^uint64(0) >> (64 - 8*(f.skip-1))
			return f, p
		}
	}
	return form{}, p
}
