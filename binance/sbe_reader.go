package binance

import (
	"encoding/binary"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/marketprism/marketprism/orderbook"
)

// sbeHeader is the length of what every message begins with: blockLength, templateId, schemaId, version.
const sbeHeader = 8

// An sbeReader goes through a message. After an error, which is the first one, what it gives is zero.
type sbeReader struct {
	data []byte
	at   int
	err  error
}

func (r *sbeReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// take returns the next n bytes.
func (r *sbeReader) take(n int) []byte {
	if r.err != nil || n > len(r.data)-r.at {
		r.fail(ErrTruncated)
		return nil
	}
	r.at += n
	return r.data[r.at-n : r.at]
}

func (r *sbeReader) header() (kind template, root []byte, version uint16) {
	h := r.take(sbeHeader)
	if r.err != nil {
		return 0, nil, 0
	}
	if binary.LittleEndian.Uint16(h[4:]) != sbeSchema {
		r.fail(ErrSchema)
		return 0, nil, 0
	}
	root = r.take(int(binary.LittleEndian.Uint16(h)))
	return template(binary.LittleEndian.Uint16(h[2:])), root, binary.LittleEndian.Uint16(h[6:])
}

// want makes sure that a block has the fields of this package's version of the schema.
func (r *sbeReader) want(block []byte, n int) bool {
	if r.err == nil && len(block) < n {
		r.fail(ErrMissingField)
	}
	return r.err == nil
}

// group reads the head of a group whose count has that many bytes: 4 for trades, 2 for levels. Its entries have
// want bytes at least; n of them are there.
func (r *sbeReader) group(want, countBytes int) (size, n int) {
	h := r.take(2 + countBytes)
	if r.err != nil {
		return 0, 0
	}
	size, n = int(binary.LittleEndian.Uint16(h)), int(binary.LittleEndian.Uint16(h[2:]))
	if countBytes == 4 {
		n = int(binary.LittleEndian.Uint32(h[2:]))
	}
	switch {
	case size < want:
		r.fail(ErrMissingField)
	case n > (len(r.data)-r.at)/size:
		r.fail(ErrTruncated)
	default:
		return size, n
	}
	return 0, 0
}

// levels appends a group of levels: price 0, qty 8.
func (r *sbeReader) levels(dst []orderbook.Level, price, quantity scale) []orderbook.Level {
	size, n := r.group(16, 2)
	body := r.take(size * n)
	dst = slices.Grow(dst, n)
	if !price.unit() || !quantity.unit() {
		for ; len(body) > 0; body = body[size:] {
			dst = append(dst, orderbook.Level{Price: r.fixed(body, price), Quantity: r.positive(body[8:], quantity)})
		}
		return dst
	}
	var signs int64 // below zero if any quantity is
	for ; len(body) > 0; body = body[size:] {
		q := number(body[8:])
		signs |= q
		dst = append(dst, orderbook.Level{Price: orderbook.Fixed(number(body)), Quantity: orderbook.Fixed(q)})
	}
	if signs < 0 {
		r.fail(orderbook.ErrRange)
	}
	return dst
}

// text reads a varString8, which may not be empty.
func (r *sbeReader) text() []byte {
	n := r.take(1)
	if r.err != nil {
		return nil
	}
	text := r.take(int(n[0]))
	if r.err == nil && (len(text) == 0 || !utf8.Valid(text)) {
		r.fail(ErrMalformed)
	}
	return text
}

// time reads microseconds since 1970.
func (r *sbeReader) time(b []byte) time.Time {
	t := number(b)
	if t < 0 || t > maxMicros {
		r.fail(orderbook.ErrRange)
		return time.Time{}
	}
	return time.UnixMicro(t).UTC()
}

func (r *sbeReader) fixed(b []byte, s scale) orderbook.Fixed {
	v, err := s.fixed(number(b))
	if err != nil {
		r.fail(err)
	}
	return v
}

func (r *sbeReader) positive(b []byte, s scale) orderbook.Fixed {
	v := r.fixed(b, s)
	if v < 0 {
		r.fail(orderbook.ErrRange)
	}
	return v
}

func number(b []byte) int64 { return int64(binary.LittleEndian.Uint64(b)) }

// A scale makes a Fixed of a mantissa: it is multiplied by one of the two, and divided by the other, which is 1.
// The exponents belong to a message, not to a symbol.
type scale struct{ up, down int64 }

// unit tells that mantissas are a Fixed already.
func (s scale) unit() bool { return s == scale{1, 1} }

// scaleOf returns the scale of an exponent of ten. A Fixed has the exponent -8.
func scaleOf(exponent byte) scale {
	shift := int(int8(exponent)) + 8
	const most = 18 // digits after the first of an int64
	switch {
	case shift > most:
		return scale{0, 1} // of 0 alone
	case shift < -most:
		return scale{1, 0}
	}
	s := scale{1, 1}
	for ; shift > 0; shift-- {
		s.up *= 10
	}
	for ; shift < 0; shift++ {
		s.down *= 10
	}
	return s
}

func (s scale) fixed(mantissa int64) (orderbook.Fixed, error) {
	switch {
	case s.unit(), mantissa == 0:
		return orderbook.Fixed(mantissa), nil
	case s.up == 0:
		return 0, orderbook.ErrRange
	case s.down == 0 || mantissa%s.down != 0:
		return 0, orderbook.ErrPrecision
	}
	v := mantissa / s.down * s.up
	if v/s.up != mantissa/s.down {
		return 0, orderbook.ErrRange
	}
	return orderbook.Fixed(v), nil
}
