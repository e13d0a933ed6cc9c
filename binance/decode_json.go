package binance

import (
	"slices"
	"strings"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/scan"
	"github.com/marketprism/marketprism/orderbook"
)

const combinedFields fieldSet = 1<<fieldStream | 1<<fieldData

// frame reads a frame.
func (d *Decoder) frame(m *Message) {
	s := &d.scan
	if s.Kind() == scan.Array { // raw connections send arrays for streams such as !miniTicker@arr
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

// surveyed reads a frame whose first key does not identify it.
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

// combined reads the rest of {"stream":NAME,"data":EVENT}, starting at the value of the member f.
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
	if d.require(seen, combinedFields) && m.Type == MessageDepth && !isDiffStream(m.Stream) {
		m.Type = MessageUnknown
	}
}

// isDiffStream reports whether the depthUpdate events of a stream are diffs of the whole book: "btcusdt@depth" or
// "btcusdt@depth@100ms".
func isDiffStream(name string) bool {
	at := strings.IndexByte(name, '@')
	kind := name[at+1:]
	return strings.HasPrefix(kind, "depth") && (len(kind) == len("depth") || kind[len("depth")] == '@')
}

// eventObject reads an event, starting at its opening brace.
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

// surveyedEvent reads an event whose name is not its first member, or that has none.
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
		// Only spot's bookTicker has no name.
		s.Seek(v.start)
		s.Object()
		d.ticker(m, 0)
	}
}

// event reads the remaining members of the named event; seen are those read before.
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

const flatErrorFields fieldSet = 1<<fieldCode | 1<<fieldMessage

// answer reads the answer to a request:
//
//	{"result":null,"id":1}                            done
//	{"result":["btcusdt@depth"],"id":3}               LIST_SUBSCRIPTIONS
//	{"error":{"code":2,"msg":"…"},"id":7}             refused, as the exchange sends it
//	{"code":2,"msg":"…"}                              refused, as the exchange documents it
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

// result reads a list of strings. It skips other results, such as null or a property's value.
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

// requestID reads an id. The exchange documents "INT / STRING / null" since 2023-12-04.
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

const depthFields fieldSet = 1<<fieldEventTime | 1<<fieldSymbol | 1<<fieldUpperU | 1<<fieldLowerU |
	1<<fieldLowerB | 1<<fieldLowerA

// depth reads a depthUpdate: {e,E,s,U,u,b,a}; futures add T, ps, pu and st.
func (d *Decoder) depth(m *Message, seen fieldSet) {
	s := &d.scan
	u := &m.Update
	u.PrevLastID, u.TransactTime = 0, time.Time{}
	for f, ok := d.next(&seen); ok; f, ok = d.next(&seen) {
		switch f {
		case fieldEventTime:
			m.EventTime = d.time()
		case fieldTime:
			u.TransactTime = d.time()
		case fieldSymbol:
			d.symbol(m)
		case fieldUpperU:
			u.FirstID = s.Int()
		case fieldLowerU:
			u.LastID = s.Int()
		case fieldPrevious:
			u.PrevLastID = s.Int()
		case fieldLowerB:
			u.Bids = s.Levels(u.Bids[:0])
		case fieldLowerA:
			u.Asks = s.Levels(u.Asks[:0])
		default:
			s.Skip()
		}
	}
	wanted := depthFields
	if d.linked {
		wanted |= 1 << fieldPrevious
	}
	if d.require(seen, wanted) {
		u.EventTime = m.EventTime
		m.Type = MessageDepth
	}
}

const tickerFields fieldSet = 1<<fieldSymbol | 1<<fieldLowerU |
	1<<fieldLowerB | 1<<fieldUpperB | 1<<fieldLowerA | 1<<fieldUpperA

// ticker reads a bookTicker: {u,s,b,B,a,A}; futures add e, E, T, ps and st.
func (d *Decoder) ticker(m *Message, seen fieldSet) {
	s := &d.scan
	t := &m.Ticker
	*t = marketprism.Ticker{}
	for f, ok := d.next(&seen); ok; f, ok = d.next(&seen) {
		switch f {
		case fieldEventTime:
			m.EventTime = d.time()
		case fieldTime:
			t.TransactTime = d.time()
		case fieldSymbol:
			d.symbol(m)
		case fieldLowerU:
			t.UpdateID = s.Int()
		case fieldLowerB:
			t.Bid.Price = s.Fixed()
		case fieldUpperB:
			t.Bid.Quantity = s.Quantity()
		case fieldLowerA:
			t.Ask.Price = s.Fixed()
		case fieldUpperA:
			t.Ask.Quantity = s.Quantity()
		default:
			s.Skip()
		}
	}
	if d.require(seen, tickerFields) {
		m.Type = MessageTicker
	}
}

const tradeFields fieldSet = 1<<fieldEventTime | 1<<fieldSymbol | 1<<fieldLowerT | 1<<fieldPrice |
	1<<fieldQuantity | 1<<fieldTime | 1<<fieldMaker

// trade reads a trade: {e,E,s,t,p,q,T,m,M} on spot, until 2024 also the order ids b and a; futures have
// X in place of M.
func (d *Decoder) trade(m *Message, seen fieldSet) {
	m.Trade, m.TradeType = marketprism.Trade{}, ""
	for f, ok := d.next(&seen); ok; f, ok = d.next(&seen) {
		switch f {
		case fieldLowerT:
			m.Trade.ID = d.scan.Int()
		case fieldTradeType:
			m.TradeType = d.scan.Interned(&d.names.tradeTypes)
		default:
			d.tradeMember(m, f)
		}
	}
	if d.require(seen, tradeFields) {
		m.Type = MessageTrade
	}
}

const aggTradeFields fieldSet = 1<<fieldEventTime | 1<<fieldSymbol | 1<<fieldLowerA | 1<<fieldPrice |
	1<<fieldQuantity | 1<<fieldFirst | 1<<fieldLast | 1<<fieldTime | 1<<fieldMaker

// aggTrade reads an aggTrade: {e,E,s,a,p,q,f,l,T,m}; spot adds M, futures nq and st.
func (d *Decoder) aggTrade(m *Message, seen fieldSet) {
	m.Trade, m.TradeType = marketprism.Trade{Aggregate: true}, ""
	for f, ok := d.next(&seen); ok; f, ok = d.next(&seen) {
		switch f {
		case fieldLowerA:
			m.Trade.ID = d.scan.Int()
		case fieldFirst:
			m.Trade.FirstID = d.scan.Int()
		case fieldLast:
			m.Trade.LastID = d.scan.Int()
		default:
			d.tradeMember(m, f)
		}
	}
	if d.require(seen, aggTradeFields) {
		m.Type = MessageTrade
	}
}

// tradeMember reads a member that trade and aggTrade share.
func (d *Decoder) tradeMember(m *Message, f field) {
	s := &d.scan
	switch f {
	case fieldEventTime:
		m.EventTime = d.time()
	case fieldSymbol:
		d.symbol(m)
	case fieldPrice:
		m.Trade.Price = s.Fixed()
	case fieldQuantity:
		m.Trade.Quantity = s.Fixed()
	case fieldTime:
		m.Trade.TradeTime = d.time()
	case fieldMaker:
		m.Trade.BuyerMaker = s.Bool()
	case fieldBestMatch:
		m.Trade.BestMatch = s.Bool()
	default:
		s.Skip()
	}
}

// shutdown reads a serverShutdown: {e,E}. E may be missing: the event alone is the message.
func (d *Decoder) shutdown(m *Message, seen fieldSet) {
	for f, ok := d.next(&seen); ok; f, ok = d.next(&seen) {
		if f == fieldEventTime {
			m.EventTime = d.time()
		} else {
			d.scan.Skip()
		}
	}
	if d.require(seen, 0) {
		m.Type = MessageShutdown
	}
}

const snapshotFields fieldSet = 1<<fieldLastID | 1<<fieldBids | 1<<fieldAsks

func (d *Decoder) snapshot(snap *orderbook.Snapshot) (symbol string) {
	s := &d.scan
	var seen fieldSet
	s.Object()
	for f, ok := d.next(&seen); ok; f, ok = d.next(&seen) {
		switch f {
		case fieldLastID:
			snap.LastID = s.Int()
		case fieldBids:
			snap.Bids = withoutEmpty(s.Levels(snap.Bids))
		case fieldAsks:
			snap.Asks = withoutEmpty(s.Levels(snap.Asks))
		case fieldEventTime:
			snap.EventTime = d.time()
		case fieldTime:
			snap.TransactTime = d.time()
		case fieldLongSymbol:
			symbol = s.Interned(&d.names.symbols)
		default:
			s.Skip()
		}
	}
	d.require(seen, snapshotFields)
	return symbol
}

func withoutEmpty(levels []orderbook.Level) []orderbook.Level {
	return slices.DeleteFunc(levels, func(l orderbook.Level) bool { return l.Quantity == 0 })
}
