package binance

import (
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

const depthFields fieldSet = 1<<fieldEventTime | 1<<fieldSymbol | 1<<fieldUpperU | 1<<fieldLowerU |
	1<<fieldLowerB | 1<<fieldLowerA

// depth reads a depthUpdate: of spot {e,E,s,U,u,b,a}, of futures also T, ps, pu and st.
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
	if d.require(seen, depthFields) {
		u.EventTime = m.EventTime
		m.Type = MessageDepth
	}
}

const tickerFields fieldSet = 1<<fieldSymbol | 1<<fieldLowerU |
	1<<fieldLowerB | 1<<fieldUpperB | 1<<fieldLowerA | 1<<fieldUpperA

// ticker reads a bookTicker: of spot {u,s,b,B,a,A}, of futures also e, E, T, ps and st.
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
			t.Bid.Quantity = d.quantity()
		case fieldLowerA:
			t.Ask.Price = s.Fixed()
		case fieldUpperA:
			t.Ask.Quantity = d.quantity()
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

// trade reads a trade: of spot {e,E,s,t,p,q,T,m,M}, until 2024 also the order ids b and a; of futures
// X for M.
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

// aggTrade reads an aggTrade: {e,E,s,a,p,q,f,l,T,m}, of spot also M, of futures also nq and st.
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

// tradeMember reads a member that trade and aggTrade have in common.
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
		m.Trade.Quantity = d.quantity()
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

// shutdown reads a serverShutdown: {e,E}. What counts is that it came, so E may be missing.
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

func (d *Decoder) symbol(m *Message) { m.Symbol = d.scan.Interned(&d.names.symbols) }

// quantity reads a decimal that must not be below zero.
func (d *Decoder) quantity() orderbook.Fixed {
	at := d.scan.Offset()
	q := d.scan.Fixed()
	if q < 0 {
		d.scan.Fail(at, orderbook.ErrRange)
	}
	return q
}

// Times are milliseconds, or microseconds where the connection was opened with timeUnit=MICROSECOND
// (web-socket-streams.md, General WSS information). Nothing in a frame says which, but 10^14 is the
// year 5138 in the one and 1973 in the other. Times must fit time.Time.UnixNano.
const (
	firstMicros = 100_000_000_000_000
	maxMillis   = (1<<63 - 1) / 1_000_000
	maxMicros   = (1<<63 - 1) / 1_000
)

func (d *Decoder) time() time.Time {
	at := d.scan.Offset()
	switch t := d.scan.Int(); {
	case 0 <= t && t <= maxMillis:
		return time.UnixMilli(t).UTC()
	case firstMicros < t && t <= maxMicros:
		return time.UnixMicro(t).UTC()
	}
	d.scan.Fail(at, orderbook.ErrRange)
	return time.Time{}
}
