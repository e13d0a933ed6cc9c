package scan

import "errors"

// The ways in which a text is not what the caller asked for. Numbers fail with an
// *orderbook.NumberError or with orderbook.ErrRange.
var (
	ErrTruncated = errors.New("JSON text ends too early")
	ErrMalformed = errors.New("not valid JSON")
	ErrType      = errors.New("JSON value of another type than expected")
	ErrDepth     = errors.New("JSON nested too deeply")
)

// MaxDepth is how deep Skip follows arrays and objects into each other.
const MaxDepth = 128

// A Scanner reads one JSON text from front to back. Reset starts it; the zero value reads an empty
// text. It is not safe for concurrent use.
//
// The first error stays: after it every method returns a zero value and every loop ends, so that a
// caller looks at Err once, when it is done.
type Scanner struct {
	data []byte
	pos  int
	open bool // an object or array has been opened and nothing of it read

	err   error
	errAt int

	unescaped []byte // room for the strings that have escapes

	// The forms of the last regular level, which the next one most likely shares.
	price, quantity form
	tail            [tailSize]byte
}

// Reset makes data the text to read. The Scanner keeps it until the next Reset.
func (s *Scanner) Reset(data []byte) {
	s.data, s.pos, s.open = data, 0, false
	s.err, s.errAt = nil, 0
}

// Err returns the first error, nil if there was none.
func (s *Scanner) Err() error { return s.err }

// Offset returns how many bytes have been read; after an error, where it was noticed.
func (s *Scanner) Offset() int {
	if s.err != nil {
		return s.errAt
	}
	return s.pos
}

// Fail makes err the error, found at offset, unless there is one already. It is for callers that
// find a well-formed text to be wrong.
func (s *Scanner) Fail(offset int, err error) {
	if s.err == nil {
		s.err, s.errAt = err, offset
	}
	s.data, s.pos, s.open = nil, 0, false // no method finds anything to read any more
}

// Seek continues reading at offset, which must be one that Offset returned before a value.
func (s *Scanner) Seek(offset int) {
	if s.err == nil {
		s.pos, s.open = offset, false
	}
}

// End fails unless only white space is left.
func (s *Scanner) End() {
	s.peek()
	if s.pos < len(s.data) {
		s.Fail(s.pos, ErrMalformed)
	}
}

// A Kind is the type of a JSON value.
type Kind byte

// The kinds. None means that no value begins here.
const (
	None   Kind = 0
	Object Kind = '{'
	Array  Kind = '['
	String Kind = '"'
	Number Kind = '0'
	Bool   Kind = 't'
	Null   Kind = 'n'
)

// Kind returns the type of the next value by its first byte, without reading it.
func (s *Scanner) Kind() Kind { return kindOf(s.peek()) }

func kindOf(c byte) Kind {
	switch c {
	case '{', '[', '"', 't', 'n':
		return Kind(c)
	case 'f':
		return Bool
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return Number
	}
	return None
}

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

// Key moves to the next member of the object and returns its name, valid until the next call; false
// at the object's end, which it reads, and after an error. The caller must read the member's value
// before the next Key.
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

// letterKey is Key where the next bytes are the usual ,"x": with x an ASCII letter, the first member
// without the comma. Where they are anything else it reads nothing and returns nil.
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

// Next moves to the next element of the array; false at the array's end, which it reads, and after
// an error. The caller must read the element before the next Next.
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

// peek skips white space and returns the next byte without reading it; 0 at the end.
func (s *Scanner) peek() byte {
	if s.pos < len(s.data) {
		if c := s.data[s.pos]; c > ' ' {
			return c
		}
	}
	return s.peekAfterSpace()
}

func (s *Scanner) peekAfterSpace() byte {
	for ; s.pos < len(s.data); s.pos++ {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// malformed fails because what comes next is not JSON, or because nothing comes.
func (s *Scanner) malformed() { s.malformedAt(s.pos) }

func (s *Scanner) malformedAt(at int) {
	if at >= len(s.data) {
		s.Fail(at, ErrTruncated)
	} else {
		s.Fail(at, ErrMalformed)
	}
}

// wrongType fails because another type of value comes next, or none at all.
func (s *Scanner) wrongType() {
	if s.Kind() != None {
		s.Fail(s.pos, ErrType)
	} else {
		s.malformed()
	}
}
