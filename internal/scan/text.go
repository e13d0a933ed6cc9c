package scan

import (
	"unicode/utf16"
	"unicode/utf8"
)

// String reads a string and returns its text. The text lies in the data that is read, or, where it
// has escapes, in memory of the Scanner's that the next String overwrites: it is to be copied by who
// keeps it.
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

// stringFrom is String with the opening quote and plain text up to p read.
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

// escape returns the character that the escape at p, behind its backslash, stands for, and the
// escape's length; 0 after an error.
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

// surrogate joins the first half of a pair, whose escape stands at p, with the second, if that
// follows.
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

// hex4 returns the number that the four hexadecimal digits at p stand for.
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
