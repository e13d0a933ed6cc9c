package binance

import (
	"github.com/marketprism/marketprism/internal/scan"
	"github.com/marketprism/marketprism/orderbook"
)

const flatErrorFields fieldSet = 1<<fieldCode | 1<<fieldMessage

// answer reads the answer to a request, from what a survey found:
//
//	{"result":null,"id":1}                            done
//	{"result":["btcusdt@depth"],"id":3}               the list asked for
//	{"error":{"code":2,"msg":"…"},"id":7}             refused, as it is sent
//	{"code":2,"msg":"…"}                              refused, as it is documented
func (d *Decoder) answer(m *Message, v *survey) {
	s := &d.scan
	m.Type = MessageAck
	m.RequestID.Null = true
	switch {
	case v.has(fieldError):
		s.Seek(v.at[fieldError])
		var inner survey
		if d.survey(&inner) && d.require(inner.fieldSet, flatErrorFields) {
			d.refusal(m, &inner)
		}
	case v.hasAll(flatErrorFields):
		d.refusal(m, v)
	default:
		s.Seek(v.at[fieldResult])
		d.result(m)
	}
	if v.has(fieldID) {
		s.Seek(v.at[fieldID])
		d.requestID(m)
	}
	s.Seek(v.end)
}

func (d *Decoder) refusal(m *Message, v *survey) {
	s := &d.scan
	s.Seek(v.at[fieldCode])
	code := s.Int()
	if code != int64(int32(code)) {
		s.Fail(v.at[fieldCode], orderbook.ErrRange)
	}
	s.Seek(v.at[fieldMessage])
	m.Type, m.Err = MessageError, &StreamError{Code: int(code), Message: string(s.String())}
}

// result reads a list of strings; other results, such as null or a property's value, say nothing that
// is needed.
func (d *Decoder) result(m *Message) {
	s := &d.scan
	if s.Kind() != scan.Array {
		s.Skip()
		return
	}
	m.Result = []string{}
	s.Array()
	for s.Next() {
		m.Result = append(m.Result, string(s.String()))
	}
}

// requestID reads an id. The venue documents "INT / STRING / null" since 2023-12-04.
func (d *Decoder) requestID(m *Message) {
	s := &d.scan
	m.RequestID.Null = s.Null()
	switch {
	case m.RequestID.Null:
	case s.Kind() == scan.String:
		m.RequestID.Text = string(s.String())
	default:
		m.RequestID.Number = s.Int()
	}
}
