package scan

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// The errors of a text that does not have the shape the caller asks for. Numbers fail with an
// *orderbook.NumberError or with orderbook.ErrRange.
var (
	ErrTruncated = errors.New("JSON text ends too early")
	ErrMalformed = errors.New("not valid JSON")
	ErrType      = errors.New("JSON value of another type than expected")
	ErrDepth     = errors.New("JSON nested too deeply")
)

// A Scanner reads one JSON text from front to back. Reset starts it; the zero value reads an empty
// text. It is not safe for concurrent use.
//
// The Scanner keeps the first error: after it every method returns a zero value and every loop ends, so
// that a caller checks Err once, at the end.
type Scanner struct {
	data []byte
	pos  int
	open bool // an object or array was entered and none of its members read

	capped int // quantities of levels that were orderbook.MaxFixed

	err   error
	errAt int

	unescaped []byte // room for the strings that have escapes

	// The forms of the last regular level, most likely those of the next one.
	price, quantity form
	tail            [tailSize]byte
}

// Reset starts reading data, which the Scanner keeps until the next Reset.
func (s *Scanner) Reset(data []byte) {
	s.data, s.pos, s.open, s.capped = data, 0, false, 0
	s.err, s.errAt = nil, 0
}

// Err returns the first error, nil if there was none.
func (s *Scanner) Err() error { return s.err }

// Offset returns how many bytes have been read; after an error, the offset at which it was noticed.
func (s *Scanner) Offset() int {
	if s.err != nil {
		return s.errAt
	}
	return s.pos
}

// Fail sets the error and its offset, unless there is one already. It is for callers that find a
// well-formed text to be wrong.
func (s *Scanner) Fail(offset int, err error) {
	if s.err == nil {
		s.err, s.errAt = err, offset
	}
	s.data, s.pos, s.open = nil, 0, false // so that no method reads on
}

// Seek continues reading at offset, which must be one that Offset returned before a value.
func (s *Scanner) Seek(offset int) {
	if s.err == nil {
		s.pos, s.open = offset, false
	}
}

// ExpectEnd fails unless the rest of the text is white space.
func (s *Scanner) ExpectEnd() {
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

// malformed fails because the next byte is not JSON, or because there is none.
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

// The functions below process eight bytes of text at a time as one little-endian word: the first byte
// is the lowest.

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
	zeros = '0' * ones
)

func load8(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// find marks the bytes of x that equal those of pattern, which are all the same. The lowest mark is
// exact; a mark above it may be false.
func find(x, pattern uint64) uint64 {
	x ^= pattern
	return (x - ones) &^ x & highs
}

// notDigits is 0 if every byte of x is below ten. Otherwise its lowest mark is exact.
func notDigits(x uint64) uint64 { return notDigitsRaw(x) & highs }

// notDigitsRaw is notDigits before & highs, so that several words can be combined first.
func notDigitsRaw(x uint64) uint64 { return x + 0x76*ones | x }

// number8 returns the number whose eight decimal digits are the bytes of x, the first one lowest,
// each below ten. It joins neighbours to pairs, pairs to fours and fours to eight.
func number8(x uint64) uint64 {
	const pairs = 0x000000ff000000ff
	x = x*10 + x>>8
	return (x&pairs*(100+1_000_000<<32) + x>>16&pairs*(1+10_000<<32)) >> 32
}

// leading returns how many bytes lie below the lowest mark, and the shift that moves them to the top
// of a word. There must be a mark.
func leading(marks uint64) (n int, shift uint) {
	z := uint(bits.TrailingZeros64(marks)) // 8n+7
	return int(z >> 3), 71 - z
}

var powersOfTen = [...]uint64{1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000}
