package binance

import (
	"time"

	"github.com/marketprism/marketprism/internal/scan"
)

// A Decoder turns websocket frames, raw or combined, JSON or SBE, and REST depth answers into values. It is
// written by hand for this one purpose: it allocates nothing once it has seen the symbols and the
// Message has room for the levels. The zero value is ready to use. It is not safe for concurrent use.
//
// It reads fields in any order and reads over those it does not know, for the venue adds some every
// year. A field it needs that is missing or of the wrong type is an error, as is a known field that
// occurs twice, a quantity below zero, text that is not UTF-8, and everything encoding/json would
// refuse. Of SBE it reads what has the fields of version 0 of the streams' schema, whatever follows them in a newer one.
type Decoder struct {
	scan   scan.Scanner
	names  struct{ streams, symbols, tradeTypes scan.Intern }
	object survey // of the object whose first key does not tell what it is

	sbeKnown map[string]*sbeNames // by symbol
}

// Decode decodes one frame into m. What m holds is valid until m is decoded into again; nothing in it
// points into frame. An event that this package does not know is no error: m.Type is MessageUnknown.
//
// The error is a *DecodeError. m.Type is then MessageUnknown and the rest of m is not meaningful.
func (d *Decoder) Decode(frame []byte, m *Message) error {
	m.Type, m.Stream, m.Symbol, m.EventTime = MessageUnknown, "", "", time.Time{}
	m.RequestID, m.Result, m.Err, m.More = RequestID{}, nil, nil, m.More[:0]
	if isSBE(frame) {
		return d.sbe(frame, m)
	}

	d.scan.Reset(frame)
	d.frame(m)
	d.scan.End()
	if err := d.scan.Err(); err != nil {
		m.Type = MessageUnknown
		return newDecodeError(m.Stream, frame, d.scan.Offset(), err)
	}
	return nil
}

const combinedFields fieldSet = 1<<fieldStream | 1<<fieldData

// frame reads a whole frame.
func (d *Decoder) frame(m *Message) {
	s := &d.scan
	if s.Kind() == scan.Array { // what raw connections send of streams such as !miniTicker@arr
		s.Skip()
		return
	}
	start := s.Offset()
	var seen fieldSet
	s.Object()
	f, ok := d.next(&seen)
	switch {
	case !ok:
	case combinedFields.has(f):
		d.combined(m, f, seen)
	case f == fieldEvent:
		d.event(m, s.String(), seen)
	default:
		s.Seek(start)
		d.surveyed(m)
	}
}

// surveyed reads a frame whose first key does not tell what it is.
func (d *Decoder) surveyed(m *Message) {
	s := &d.scan
	v := &d.object
	switch {
	case !d.survey(v):
	case v.has(fieldStream), v.has(fieldData):
		var seen fieldSet
		s.Seek(v.start)
		s.Object()
		if f, ok := d.next(&seen); ok {
			d.combined(m, f, seen)
		}
	case v.has(fieldResult), v.has(fieldError), v.hasAll(flatErrorFields):
		d.answer(m, v)
	case v.has(fieldWrapped):
		end := v.end
		s.Seek(v.at[fieldWrapped])
		d.eventObject(m)
		s.Seek(end)
	default:
		d.surveyedEvent(m, v)
	}
}

// combined reads the rest of {"stream":NAME,"data":EVENT}, from the value of the member f on.
func (d *Decoder) combined(m *Message, f field, seen fieldSet) {
	s := &d.scan
	for ok := true; ok; f, ok = d.next(&seen) {
		switch f {
		case fieldStream:
			m.Stream = s.Interned(&d.names.streams)
		case fieldData:
			if s.Kind() == scan.Array { // streams such as !miniTicker@arr
				s.Skip()
			} else {
				d.eventObject(m)
			}
		default:
			s.Skip()
		}
	}
	d.require(seen, combinedFields)
}

// eventObject reads an event from its opening brace on.
func (d *Decoder) eventObject(m *Message) {
	s := &d.scan
	start := s.Offset()
	var seen fieldSet
	s.Object()
	switch f, ok := d.next(&seen); {
	case !ok:
	case f == fieldEvent:
		d.event(m, s.String(), seen)
	default:
		s.Seek(start)
		if d.survey(&d.object) {
			d.surveyedEvent(m, &d.object)
		}
	}
}

// surveyedEvent reads an event that does not begin with its name, or has none.
func (d *Decoder) surveyedEvent(m *Message, v *survey) {
	s := &d.scan
	switch {
	case v.has(fieldEvent):
		s.Seek(v.at[fieldEvent])
		name := s.String()
		s.Seek(v.start)
		s.Object()
		d.event(m, name, 0)
	case v.hasAll(tickerFields):
		// Spot's bookTicker is the one event without a name.
		s.Seek(v.start)
		s.Object()
		d.ticker(m, 0)
	}
}

// event reads the members, other than those seen, of the event of that name.
func (d *Decoder) event(m *Message, name []byte, seen fieldSet) {
	switch string(name) {
	case "depthUpdate":
		d.depth(m, seen)
	case "bookTicker":
		d.ticker(m, seen)
	case "trade":
		d.trade(m, seen)
	case "aggTrade":
		d.aggTrade(m, seen)
	case "serverShutdown":
		d.shutdown(m, seen)
	default:
		for _, ok := d.next(&seen); ok; _, ok = d.next(&seen) {
			d.scan.Skip()
		}
	}
}
