package scan

import "github.com/marketprism/marketprism/orderbook"

// Levels reads an array of levels, each an array of a price and a quantity in quotes, such as
// [["65000.10","0.5"],["65000.00","0"]], and appends them to dst. It allocates nothing where dst has
// room. Elements after the quantity are skipped: until 2019 Binance sent an empty array there.
//
// Numbers are read as by Fixed and Quantity. A level without a quantity is ErrType.
func (s *Scanner) Levels(dst []orderbook.Level) []orderbook.Level {
	s.Array()
	for s.Next() {
		start := s.pos
		if dst = s.regularLevels(dst); s.pos != start {
			continue
		}
		if l, ok := s.ShortLevel(); ok {
			dst = append(dst, l)
		} else {
			dst = s.level(dst)
		}
	}
	return dst
}

// ShortLevel reads a level whose numbers are written without more zeros than they need, such as ["65000.1","0"], and
// reports whether the next value is one. It reads nothing otherwise. Unlike those that Levels expects, such levels differ in
// their decimals.
func (s *Scanner) ShortLevel() (l orderbook.Level, ok bool) {
	p := s.pos
	if len(s.data)-p < 2 || s.data[p] != '[' || s.data[p+1] != '"' {
		return l, false
	}
	price, quote := regularNumber(s.data, p+2)
	if quote == 0 || load8(s.data[quote:])&0xffffff != betweenNumbers {
		return l, false
	}
	quantity, quote := regularNumber(s.data, quote+3)
	if quote == 0 || s.data[quote+1] != ']' {
		return l, false
	}
	s.pos = quote + 2
	return orderbook.Level{Price: price, Quantity: quantity}, true
}

// level reads one level in any form that JSON allows.
func (s *Scanner) level(dst []orderbook.Level) []orderbook.Level {
	var l orderbook.Level
	s.Array()
	if s.element() {
		l.Price = s.Fixed()
	}
	if s.element() {
		l.Quantity = s.Quantity()
	}
	for s.Next() {
		s.Skip()
	}
	if s.err != nil {
		return dst
	}
	return append(dst, l)
}

// element is Next for an element that must exist.
func (s *Scanner) element() bool {
	at := s.pos
	ok := s.Next()
	if !ok {
		s.Fail(at, ErrType)
	}
	return ok
}

// Nearly all bytes of a depth frame are levels, and nearly all levels are regular: no white space, no
// escapes, no sign, one to seven digits before the point and as many decimals as the level before. The
// code below reads those. It leaves all others to level, which accepts or rejects them.

// A form is the format of a column of numbers. An exchange pads all prices, and all quantities, of an
// instrument to the same number of decimals.
type form struct {
	whole    int    // digits before the point; of prices only, where it is mostly the same within a side
	stop     byte   // the byte after them, the point or the closing quote; 0 for no form
	skip     int    // bytes of the point and the fraction
	decimals uint64 // all ones in the bytes of a word that are decimals
}

const (
	maxWhole = 7
	maxSkip  = 1 + orderbook.FractionDigits
	// window is the most bytes that reading a regular level touches, from the first digit of its
	// price: two numbers, the bytes between them, and a word after them.
	window = maxWhole + maxSkip + 3 + maxWhole + maxSkip + 8
	// tailSize has room for a whole window after every byte that has none in the data.
	tailSize = 2*window + 4
)

// The text between and after numbers, as little-endian words.
const (
	betweenNumbers = '"' | ','<<8 | '"'<<16
	betweenLevels  = '"' | ']'<<8 | ','<<16 | '['<<24 | '"'<<32
	afterLevels    = '"' | ']'<<8 | ']'<<16
	levelStart     = '[' | '"'<<8
)

// regularLevels appends the regular levels that come next and stops after the last of them. It reads
// nothing if the next level is irregular.
func (s *Scanner) regularLevels(dst []orderbook.Level) []orderbook.Level {
	start := s.pos
	dst = s.runOfLevels(dst)
	if s.pos == start && s.learnForms() {
		dst = s.runOfLevels(dst)
	}
	return dst
}

// runOfLevels appends levels as long as they have the forms of the Scanner. The last ones, after which
// there is less than a window, are read from a copy followed by zeros.
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

// appendLevels appends the regular levels at the beginning of buf and returns their length in bytes,
// without the comma after the last one. It reads only levels within a window.
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

		// The price: its form gives the offset of each part.
		whole := (load8(w[:]) - zeros) << (wholeShift & 63)
		fraction := (load8(w[price.whole+1:]) - zeros) & price.decimals
		bad := notDigitsRaw(whole) | notDigitsRaw(fraction)
		l := orderbook.Level{Price: orderbook.Fixed(number8(whole)*1e8 + number8(fraction))}
		wrong := uint64(w[price.whole]^price.stop) | (load8(w[quantityAt-3:])&0xffffff ^ betweenNumbers)

		// The quantity: its number of digits before the point differs from level to level.
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

// learnForms adopts the forms of the next level. It returns false if that is not regular or has the
// same forms.
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

// formOf returns the form of the number at p and its end; the zero form if it is irregular.
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
