package scan

import "bytes"

// MaxDepth bounds how deeply Skip follows nested arrays and objects.
const MaxDepth = 128

// Object enters an object; Key then walks through it.
func (s *Scanner) Object() { s.enter('{') }

// Array enters an array; Next then walks through it.
func (s *Scanner) Array() { s.enter('[') }

func (s *Scanner) enter(bracket byte) {
	if s.peek() != bracket {
		s.wrongType()
		return
	}
	s.pos++
	s.open = true
}

// Key moves to the next member of the object and returns its name, valid until the next call. It
// returns false at the end of the object, which it reads, and after an error. The caller must read the
// member's value before the next Key.
func (s *Scanner) Key() (name []byte, ok bool) {
	if name := s.letterKey(); name != nil {
		return name, true
	}
	if !s.advance('}') {
		return nil, false
	}
	if s.peek() != '"' {
		s.malformed()
		return nil, false
	}
	name = s.String()
	if s.peek() != ':' {
		s.malformed()
		return nil, false
	}
	s.pos++
	return name, true
}

// letterKey is Key for the usual bytes ,"x": with x an ASCII letter, and no comma before the first member.
// If the next bytes are others it reads nothing and returns nil.
func (s *Scanner) letterKey() []byte {
	const (
		punctuation = 0xff_ff_00_ff_ff
		usual       = ',' | '"'<<8 | '"'<<24 | ':'<<32
	)
	if len(s.data)-s.pos < 8 {
		return nil
	}
	word, end := load8(s.data[s.pos:]), s.pos+5
	if s.open {
		word, end = word<<8|',', end-1
	}
	letter := byte(word >> 16)
	if word&punctuation != usual || letter|0x20-'a' > 'z'-'a' {
		return nil
	}
	s.pos, s.open = end, false
	return s.data[end-3 : end-2]
}

// Next moves to the next element of the array. It returns false at the end of the array, which it
// reads, and after an error. The caller must read the element before the next Next.
func (s *Scanner) Next() bool {
	if !s.advance(']') {
		return false
	}
	if kindOf(s.peek()) == None {
		s.malformed()
		return false
	}
	return true
}

// advance reads the comma before the next member or element, or the closing bracket.
func (s *Scanner) advance(closing byte) bool {
	c, first := s.peek(), s.open
	s.open = false
	switch {
	case c == closing:
		s.pos++
		return false
	case first:
		return true
	case c == ',':
		s.pos++
		return true
	}
	s.malformed()
	return false
}

// Bool reads true or false.
func (s *Scanner) Bool() bool {
	switch s.peek() {
	case 't':
		s.literal("true")
		return s.err == nil
	case 'f':
		s.literal("false")
	default:
		s.wrongType()
	}
	return false
}

// Null reads a null, if one comes next, and reports whether it did.
func (s *Scanner) Null() bool {
	if s.peek() != 'n' {
		return false
	}
	s.literal("null")
	return s.err == nil
}

// literal reads true, false or null.
func (s *Scanner) literal(word string) {
	for i := range len(word) {
		if s.pos+i >= len(s.data) || s.data[s.pos+i] != word[i] {
			s.malformedAt(s.pos + i)
			return
		}
	}
	s.pos += len(word)
}

// SkipLevels is Skip for an array of levels without nested arrays. It looks only for its end.
func (s *Scanner) SkipLevels() {
	s.peek()
	rest := s.data[min(s.pos, len(s.data)):]
	if end := bytes.Index(rest, []byte("]]")); end > 0 && rest[0] == '[' && rest[1] == '[' {
		s.pos += end + 2
		return
	}
	s.Skip()
}

// Skip skips a value of any type, which must be valid JSON. Nesting deeper than MaxDepth is ErrDepth.
func (s *Scanner) Skip() { s.skip(MaxDepth) }

func (s *Scanner) skip(depth int) {
	kind := s.Kind()
	if depth == 0 && (kind == Object || kind == Array) {
		s.Fail(s.pos, ErrDepth)
		return
	}
	switch kind {
	case Object:
		s.Object()
		for {
			if _, ok := s.Key(); !ok {
				return
			}
			s.skip(depth - 1)
		}
	case Array:
		s.Array()
		for s.Next() {
			s.skip(depth - 1)
		}
	case String:
		s.String()
	case Number:
		s.number()
	case Bool:
		s.Bool()
	case Null:
		s.Null()
	default:
		s.malformed()
	}
}
