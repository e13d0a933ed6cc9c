package natsbus

import (
	"strconv"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

func (d *Decoder) version() {
	s := &d.scan
	s.Kind() // reads over white space, so that the offset is the value's
	at := s.Offset()
	if v := s.Int(); v != CodecVersion {
		s.Fail(at, ErrVersion)
	}
	d.body.seen |= hasVersion
}

func (d *Decoder) kind() {
	s := &d.scan
	at := s.Offset()
	kind, err := marketprism.ParseKind(s.Interned(&d.kinds))
	if err != nil {
		s.Fail(at, err)
	}
	d.body.kind = kind
	d.body.seen |= hasKind
}

func (d *Decoder) reason() {
	s := &d.scan
	at := s.Offset()
	reason, err := orderbook.ParseGapReason(s.Interned(&d.kinds))
	if err != nil {
		s.Fail(at, err)
	}
	d.body.reason = reason
	d.body.seen |= hasReason
}

// time reads nanoseconds since the epoch in quotes.
func (d *Decoder) time() time.Time {
	s := &d.scan
	at := s.Offset()
	return d.parseTime(at, s.String())
}

// bookEventTime is time, or "" for the zero Time.
func (d *Decoder) bookEventTime() time.Time {
	s := &d.scan
	at := s.Offset()
	text := s.String()
	if len(text) == 0 {
		return time.Time{}
	}
	return d.parseTime(at, text)
}

func (d *Decoder) parseTime(at int, text []byte) time.Time {
	if d.scan.Err() != nil {
		return time.Time{}
	}
	nanos, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		d.scan.Fail(at, ErrTime)
		return time.Time{}
	}
	return time.Unix(0, nanos).UTC()
}

// side reads the levels of one side into the Decoder's memory.
func (d *Decoder) side() []orderbook.Level {
	s := &d.scan
	start := len(d.levels)
	s.Array()
	for s.Next() {
		d.levels = append(d.levels, d.level())
	}
	if len(d.levels) == start {
		return nil
	}
	return d.levels[start:len(d.levels):len(d.levels)]
}

// level reads a price and a quantity.
func (d *Decoder) level() (l orderbook.Level) {
	s := &d.scan
	s.Array()
	n := 0
	for s.Next() {
		switch n++; n {
		case 1:
			l.Price = s.Fixed()
		case 2:
			l.Quantity = s.Fixed()
		default:
			s.Skip()
		}
	}
	if n < 2 {
		s.Fail(s.Offset(), ErrValue)
	}
	return l
}
