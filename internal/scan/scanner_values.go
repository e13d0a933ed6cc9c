package scan

import (
	"unicode/utf16"
	"unicode/utf8"

	"github.com/marketprism/marketprism/orderbook"
)

// Fixed reads a decimal number in quotes, a price or the quantity of a trade. One below zero is
// orderbook.ErrRange.
func (s *Scanner) Fixed() orderbook.Fixed {
	at := s.pos
	f := s.fixed(orderbook.ParseFixed)
	if f < 0 {
		s.Fail(at, orderbook.ErrRange)
	}
	return f
}

// Quantity reads the quantity of a level, a number in quotes, as orderbook.ParseQuantity does. It counts those
// that are orderbook.MaxFixed: see Capped.
func (s *Scanner) Quantity() orderbook.Fixed {
	q := s.fixed(orderbook.ParseQuantity)
	if q == orderbook.MaxFixed {
		s.capped++
	}
	return q
}

// Capped returns how many quantities of levels were orderbook.MaxFixed since Reset.
func (s *Scanner) Capped() int { return s.capped }

// fixed reads a number in quotes. A regular one is neither negative nor near the largest, so parse reads the others.
func (s *Scanner) fixed(parse func([]byte) (orderbook.Fixed, error)) orderbook.Fixed {
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
	f, err := parse(text)
	if err != nil {
		s.Fail(at, err)
	}
	return f
}

// regularFixed reads a number in quotes of the form of regularNumber. It reads nothing if the number has another form.
func (s *Scanner) regularFixed() (f orderbook.Fixed, ok bool) {
	f, end := regularNumber(s.data, s.pos+1)
	if end > 0 {
		s.pos = end + 1
	}
	return f, end > 0
}

// regularNumber reads the number at p: one to seven digits, and a point and one to eight decimals where it has some. It
// returns the place of the quote that ends it; 0 if the number has another form.
func regularNumber(data []byte, p int) (f orderbook.Fixed, quote int) {
	const window = maxWhole + 1 + 8 + 8
	if len(data)-p < window {
		return 0, 0
	}
	w := (*[window]byte)(data[p:])
	word := load8(w[:]) - zeros
	end := notDigits(word)
	if end == 0 {
		return 0, 0
	}
	n, shift := leading(end)
	if n == 0 {
		return 0, 0
	}
	number := number8(word<<(shift&63)) * 1e8
	if w[n] == '.' {
		word = load8(w[n+1:]) - zeros
		decimals := 8
		if end = notDigits(word); end != 0 {
			decimals, shift = leading(end)
			word &= ^uint64(0) >> (shift & 63)
		}
		if decimals == 0 {
			return 0, 0
		}
		number += number8(word)
		n += 1 + decimals
	}
	if w[n] != '"' {
		return 0, 0
	}
	return orderbook.Fixed(number), p + n
}

// Int reads an integer, written without fraction and exponent. One that does not fit is
// orderbook.ErrRange.
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

// endInt returns the integer whose digits are from first to end, or fails.
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
		s.Fail(first+1, ErrMalformed) // JSON has no leading zeros
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

// number skips a number of any form: -1, 0.25, 1e9.
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

// digits returns the number of digits at p.
func (s *Scanner) digits(p int) int {
	n := 0
	for p+n < len(s.data) && s.data[p+n]-'0' <= 9 {
		n++
	}
	return n
}

// String reads a string and returns its text. The text is part of the data or, if it has escapes, of a
// buffer that the next String overwrites; a caller that keeps it must copy it.
//
// Text that is not UTF-8 is ErrMalformed. Half of a surrogate pair, written as an escape, becomes
// U+FFFD as with encoding/json.
func (s *Scanner) String() []byte {
	if s.peek() != '"' {
		s.wrongType()
		return nil
	}
	start := s.pos + 1
	p := start
	for ; len(s.data)-p >= 8; p += 8 {
		marks := notPlain(load8(s.data[p:]))
		if marks == 0 {
			continue
		}
		n, _ := leading(marks)
		if p += n; s.data[p] == '"' {
			s.pos = p + 1
			return s.data[start:p]
		}
		break
	}
	return s.stringFrom(start, p)
}

// notPlain marks the bytes of x that are a quote, a backslash, a control character or not ASCII. The
// lowest mark is exact.
func notPlain(x uint64) uint64 {
	return find(x, '"'*ones) | find(x, '\\'*ones) | (x-' '*ones)&^x&highs | x&highs
}

// stringFrom is String after the opening quote at start-1 and plain text up to p.
func (s *Scanner) stringFrom(start, p int) []byte {
	var wide byte
	for ; p < len(s.data); p++ {
		switch c := s.data[p]; {
		case c == '"':
			text := s.data[start:p]
			if wide >= utf8.RuneSelf && !utf8.Valid(text) {
				s.Fail(start, ErrMalformed)
				return nil
			}
			s.pos = p + 1
			return text
		case c == '\\':
			return s.unescape(start, p)
		case c < ' ':
			s.Fail(p, ErrMalformed)
			return nil
		default:
			wide |= c
		}
	}
	s.Fail(len(s.data), ErrTruncated)
	return nil
}

// unescape reads the string that begins at start and has its first escape at p.
func (s *Scanner) unescape(start, p int) []byte {
	out := append(s.unescaped[:0], s.data[start:p]...)
	for p < len(s.data) {
		c := s.data[p]
		p++
		switch {
		case c == '"':
			s.unescaped = out
			if !utf8.Valid(out) {
				s.Fail(start, ErrMalformed)
				return nil
			}
			s.pos = p
			return out
		case c < ' ':
			s.Fail(p-1, ErrMalformed)
			return nil
		case c != '\\':
			out = append(out, c)
		default:
			r, n := s.escape(p)
			if n == 0 {
				return nil
			}
			out = utf8.AppendRune(out, r)
			p += n
		}
	}
	s.Fail(len(s.data), ErrTruncated)
	return nil
}

// escape returns the character of the escape at p, the byte after the backslash, and the escape's
// length, 0 after an error.
func (s *Scanner) escape(p int) (r rune, n int) {
	if p >= len(s.data) {
		s.malformedAt(p)
		return 0, 0
	}
	switch c := s.data[p]; c {
	case '"', '\\', '/':
		return rune(c), 1
	case 'b':
		return '\b', 1
	case 'f':
		return '\f', 1
	case 'n':
		return '\n', 1
	case 'r':
		return '\r', 1
	case 't':
		return '\t', 1
	case 'u':
		r, ok := s.hex4(p + 1)
		if !ok {
			return 0, 0
		}
		if utf16.IsSurrogate(r) {
			return s.surrogate(p, r)
		}
		return r, 5
	}
	s.malformedAt(p)
	return 0, 0
}

// surrogate combines the first half of a surrogate pair, whose escape is at p, with the second half, if
// that follows.
func (s *Scanner) surrogate(p int, first rune) (r rune, n int) {
	if p+6 < len(s.data) && s.data[p+5] == '\\' && s.data[p+6] == 'u' {
		second, ok := s.hex4(p + 7)
		if !ok {
			return 0, 0
		}
		if r := utf16.DecodeRune(first, second); r != utf8.RuneError {
			return r, 11
		}
	}
	return utf8.RuneError, 5
}

// hex4 returns the value of the four hexadecimal digits at p.
func (s *Scanner) hex4(p int) (r rune, ok bool) {
	for end := p + 4; p < end; p++ {
		if p >= len(s.data) {
			s.malformedAt(p)
			return 0, false
		}
		c := s.data[p]
		lower := c | 0x20
		switch {
		case c-'0' <= 9:
			r = r<<4 | rune(c-'0')
		case 'a' <= lower && lower <= 'f':
			r = r<<4 | rune(lower-'a'+10)
		default:
			s.malformedAt(p)
			return 0, false
		}
	}
	return r, true
}

// MaxInterned is how many strings an Intern keeps.
const MaxInterned = 65_536

// An Intern returns the same string for the same text, so that recurring names are allocated once. The
// zero value is ready to use. It is not safe for concurrent use.
//
// It keeps at most MaxInterned strings; others are allocated each time.
type Intern struct {
	last  name
	known map[string]name // by quoted
}

// A name is a string and its form in JSON. Equal forms mean equal strings, so a name is found without
// parsing it.
type name struct {
	text, quoted string
}

// Interned is String, returning the string of in for a name that it has.
func (s *Scanner) Interned(in *Intern) string {
	if last := in.last; len(s.data)-s.pos >= len(last.quoted) && last.quoted != "" &&
		string(s.data[s.pos:s.pos+len(last.quoted)]) == last.quoted {
		s.pos += len(last.quoted)
		return last.text
	}
	s.peek()
	start := s.pos
	text := s.String()
	if s.err != nil {
		return ""
	}
	in.last = in.name(text, s.data[start:s.pos])
	return in.last.text
}

func (in *Intern) name(text, quoted []byte) name {
	n, ok := in.known[string(quoted)]
	if ok {
		return n
	}
	n.quoted = string(quoted)
	if n.text = n.quoted[1 : len(n.quoted)-1]; n.text != string(text) {
		n.text = string(text) // written with escapes
	}
	switch {
	case in.known != nil:
	case in.last.quoted == "": // last is enough for the first one, and for all that a decoder of one message meets
		return n
	default:
		in.known = make(map[string]name)
	}
	if len(in.known) < MaxInterned {
		in.known[n.quoted] = n
	}
	return n
}
