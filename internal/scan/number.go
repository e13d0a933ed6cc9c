package scan

import "github.com/marketprism/marketprism/orderbook"

// Fixed reads a decimal number in quotes.
func (s *Scanner) Fixed() orderbook.Fixed {
	if s.peek() != '"' {
		s.wrongType()
		return 0
	}
	if f, ok := s.regularFixed(); ok {
		return f
	}
	at := s.pos
	text := s.String()
	if s.err != nil {
		return 0
	}
	f, err := orderbook.ParseFixed(text)
	if err != nil {
		s.Fail(at, err)
	}
	return f
}

// regularFixed reads a number in quotes of one to seven digits, a point and one to eight decimals. Where
// one stands in any other form it reads nothing.
func (s *Scanner) regularFixed() (f orderbook.Fixed, ok bool) {
	const window = 1 + maxWhole + 1 + 8 + 8
	if len(s.data)-s.pos < window {
		return 0, false
	}
	w := (*[window]byte)(s.data[s.pos:])
	word := load8(w[1:])
	point := find(word, '.'*ones)
	if point == 0 {
		return 0, false
	}
	n, shift := leading(point)
	whole := (word - zeros) << (shift & 63)

	word = load8(w[1+n+1:])
	decimals, mask := 8, ^uint64(0)
	if quote := find(word, '"'*ones); quote != 0 {
		decimals, shift = leading(quote)
		if decimals == 0 {
			return 0, false
		}
		mask >>= shift & 63
	}
	fraction := (word - zeros) & mask
	if notDigits(whole)|notDigits(fraction) != 0 || w[1+n+1+decimals] != '"' {
		return 0, false
	}
	s.pos += 1 + n + 1 + decimals + 1
	return orderbook.Fixed(number8(whole)*1e8 + number8(fraction)), true
}

// Int reads a number that is an integer: without fraction and exponent, as an id is written. One that
// does not fit is orderbook.ErrRange.
func (s *Scanner) Int() int64 {
	negative := s.peek() == '-'
	p := s.pos
	if negative {
		p++
	}
	var mag uint64
	first := p
	for p+8 <= len(s.data) && p-first < 16 {
		word := load8(s.data[p:]) - zeros
		bad := notDigits(word)
		if bad == 0 {
			mag = mag*1e8 + number8(word)
			p += 8
			continue
		}
		n, shift := leading(bad)
		if n > 0 {
			mag = mag*powersOfTen[n] + number8(word<<(shift&63))
			p += n
		}
		return s.endInt(first, p, mag, negative)
	}
	for ; p < len(s.data) && s.data[p]-'0' <= 9 && p-first < maxDigits; p++ {
		mag = mag*10 + uint64(s.data[p]-'0')
	}
	return s.endInt(first, p, mag, negative)
}

// maxDigits is how many digits the largest integer has. A number of so many fits a uint64.
const maxDigits = 19

// endInt returns the integer whose digits lie from first to end, or fails with what is wrong.
func (s *Scanner) endInt(first, end int, mag uint64, negative bool) int64 {
	var next byte
	if end < len(s.data) {
		next = s.data[end]
	}
	switch {
	case first == end && (negative || kindOf(next) == None):
		s.malformedAt(end)
	case first == end:
		s.wrongType()
	case s.data[first] == '0' && (end > first+1 || next-'0' <= 9):
		s.Fail(first+1, ErrMalformed) // JSON knows no leading zeros
	case next-'0' <= 9:
		s.Fail(s.pos, orderbook.ErrRange)
	case next == '.' || next == 'e' || next == 'E':
		s.number()
		s.Fail(first, ErrType)
	case mag > 1<<63 || mag == 1<<63 && !negative:
		s.Fail(s.pos, orderbook.ErrRange)
	case negative:
		s.pos = end
		return -int64(mag)
	default:
		s.pos = end
		return int64(mag)
	}
	return 0
}

// number reads over a number of any form: -1, 0.25, 1e9.
func (s *Scanner) number() {
	p := s.pos
	if s.data[p] == '-' {
		p++
	}
	digits := s.digits(p)
	if digits > 1 && s.data[p] == '0' {
		s.Fail(p+1, ErrMalformed)
		return
	}
	ok := digits > 0
	p += digits
	if ok && p < len(s.data) && s.data[p] == '.' {
		digits = s.digits(p + 1)
		ok = digits > 0
		p += 1 + digits
	}
	if ok && p < len(s.data) && s.data[p]|0x20 == 'e' {
		p++
		if p < len(s.data) && (s.data[p] == '+' || s.data[p] == '-') {
			p++
		}
		digits = s.digits(p)
		ok = digits > 0
		p += digits
	}
	if !ok {
		s.malformedAt(p)
		return
	}
	s.pos = p
}

// digits counts the digits from p on.
func (s *Scanner) digits(p int) int {
	n := 0
	for p+n < len(s.data) && s.data[p+n]-'0' <= 9 {
		n++
	}
	return n
}
