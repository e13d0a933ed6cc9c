package scan

import "github.com/marketprism/marketprism/orderbook"

// Levels reads an array of levels, each an array of a price and a quantity in quotes, such as
// [["65000.10","0.5"],["65000.00","0"]], and appends them to dst. It allocates nothing where dst has
// room. Elements after the quantity are read over: until 2019 Binance sent an empty array there.
//
// A quantity below zero is orderbook.ErrRange, a level without a quantity ErrType.
func (s *Scanner) Levels(dst []orderbook.Level) []orderbook.Level {
	s.Array()
	for s.Next() {
		start := s.pos
		if dst = s.regularLevels(dst); s.pos == start {
			dst = s.level(dst)
		}
	}
	return dst
}

// level reads one level in any form that JSON allows.
func (s *Scanner) level(dst []orderbook.Level) []orderbook.Level {
	var l orderbook.Level
	s.Array()
	if s.element() {
		l.Price = s.Fixed()
	}
	if s.element() {
		at := s.pos
		if l.Quantity = s.Fixed(); l.Quantity < 0 {
			s.Fail(at, orderbook.ErrRange)
		}
	}
	for s.Next() {
		s.Skip()
	}
	if s.err != nil {
		return dst
	}
	return append(dst, l)
}

// element is Next where there has to be another element.
func (s *Scanner) element() bool {
	at := s.pos
	ok := s.Next()
	if !ok {
		s.Fail(at, ErrType)
	}
	return ok
}
