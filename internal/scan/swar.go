package scan

import (
	"encoding/binary"
	"math/bits"
)

// Eight bytes of text are looked at as one little-endian word: the first byte is the lowest. The
// functions here do to all eight what a loop would do to one after another.

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
	zeros = '0' * ones
)

func load8(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// find marks the bytes of x that equal the byte pattern is made of. The lowest mark is exact; a mark
// above it may be false.
func find(x, pattern uint64) uint64 {
	x ^= pattern
	return (x - ones) &^ x & highs
}

// notDigits is 0 if every byte of x is below ten. Otherwise its lowest mark is exact.
func notDigits(x uint64) uint64 { return notDigitsRaw(x) & highs }

// notDigitsRaw is notDigits with more in it than marks, for several words to be joined before & highs.
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
