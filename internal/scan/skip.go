package scan

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

// Skip reads over a value of any type, which has to be valid JSON. Deeper than MaxDepth it fails with
// ErrDepth.
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

// literal reads one of JSON's words.
func (s *Scanner) literal(word string) {
	for i := range len(word) {
		if s.pos+i >= len(s.data) || s.data[s.pos+i] != word[i] {
			s.malformedAt(s.pos + i)
			return
		}
	}
	s.pos += len(word)
}
