// Package scan reads JSON of a known shape without allocating: the caller walks through objects and
// arrays and asks for the values it wants. It is strict: what it accepts, encoding/json accepts, and
// text that is not UTF-8 or is nested deeper than MaxDepth it refuses. Order book levels, the bulk of
// all market data, have a path of their own that reads eight bytes at a time.
//
//	var s scan.Scanner
//	s.Reset(text)
//	s.Object()
//	for key, ok := s.Key(); ok; key, ok = s.Key() {
//		switch string(key) {
//		case "id":
//			id = s.Int()
//		case "bids":
//			bids = s.Levels(bids[:0])
//		default:
//			s.Skip()
//		}
//	}
//	s.End()
//	return s.Err()
//
// A Scanner checks neither that a key occurs once nor that it occurs at all: the caller knows which
// ones it needs.
package scan
