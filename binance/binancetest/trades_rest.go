package binancetest

import (
	"net/url"
	"strconv"

	"github.com/shopspring/decimal"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// trades serves the last trades of a symbol.
func (s *Server) trades(query url.Values) *answer {
	return s.tradeRows(query, s.rules.trades)
}

// historicalTrades serves trades from an id on, or the last ones without it.
func (s *Server) historicalTrades(query url.Values) *answer {
	return s.tradeRows(query, s.rules.historicalTrades)
}

func (s *Server) tradeRows(query url.Values, page pageRules) *answer {
	y, limit, refusal := s.page(query, page)
	if refusal != nil {
		return refusal
	}
	from, refusal := longParam(query, "fromId", noTrade)
	if refusal != nil {
		return refusal
	}
	rows := make([]execution, 0, limit)
	for _, x := range y.tape.last() {
		if x.id != noTrade && x.id >= from {
			rows = append(rows, x)
		}
	}
	return ok(appendRows(pageOf(rows, limit, query.Has("fromId")), func(b []byte, x *execution) []byte {
		return s.encode.tradeRow(b, y, x)
	}))
}

// aggTrades serves aggregates from an id on, of a time, or the last ones.
//
// rest-api.md, "Compressed/Aggregate trades list": "If fromId, startTime, and endTime are not sent, the
// most recent aggregate trades will be returned." That an id and a time together are refused with -1128
// is this package's choice.
func (s *Server) aggTrades(query url.Values) *answer {
	y, limit, refusal := s.page(query, s.rules.aggTrades)
	if refusal != nil {
		return refusal
	}
	timed := query.Has("startTime") || query.Has("endTime")
	if timed && query.Has("fromId") {
		return badRequest(-1128, "Combination of optional parameters invalid.")
	}
	var bounds [3]int64
	for i, name := range [...]string{"fromId", "startTime", "endTime"} {
		if bounds[i], refusal = longParam(query, name, noTrade); refusal != nil {
			return refusal
		}
	}
	rows := make([]aggregate, 0, limit)
	for _, a := range y.tape.aggregates() {
		if a.id >= bounds[0] && a.millis >= bounds[1] && (bounds[2] < 0 || a.millis <= bounds[2]) {
			rows = append(rows, a)
		}
	}
	return ok(appendRows(pageOf(rows, limit, query.Has("fromId") || query.Has("startTime")), func(b []byte, a *aggregate) []byte {
		return s.encode.aggregateRow(b, y, a)
	}))
}

// page reads the symbol and the limit. A limit above the maximum is cut to it.
func (s *Server) page(query url.Values, page pageRules) (*symbolState, int, *answer) {
	y, refusal := s.symbolParam(query)
	if refusal != nil {
		return nil, 0, refusal
	}
	limit, refusal := longParam(query, "limit", int64(page.defaultLimit))
	switch {
	case refusal != nil:
		return nil, 0, refusal
	case limit < 1:
		return nil, 0, badRequest(-1130, "Data sent for parameter 'limit' is not valid.")
	}
	return y, int(min(limit, int64(page.maxLimit))), nil
}

// pageOf returns the first rows, or the last.
func pageOf[T any](rows []T, limit int, first bool) []T {
	switch {
	case len(rows) <= limit:
		return rows
	case first:
		return rows[:limit]
	}
	return rows[len(rows)-limit:]
}

// symbolParam reads the mandatory symbol.
func (s *Server) symbolParam(query url.Values) (*symbolState, *answer) {
	name := query.Get("symbol")
	if name == "" {
		return nil, badRequest(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
	}
	y := s.byName[name]
	if y == nil {
		return nil, badRequest(-1121, "Invalid symbol.")
	}
	return y, nil
}

// longParam reads a number without a sign.
func longParam(query url.Values, name string, def int64) (int64, *answer) {
	if !query.Has(name) {
		return def, nil
	}
	v, err := strconv.ParseInt(query.Get(name), 10, 64)
	if err != nil || v < 0 {
		return 0, badRequest(-1100, "Illegal characters found in parameter '%s'; legal range is '^[0-9]{1,20}$'.", name)
	}
	return v, nil
}

func appendRows[T any](rows []T, row func([]byte, *T) []byte) []byte {
	b := []byte{'['}
	for i := range rows {
		if i > 0 {
			b = append(b, ',')
		}
		b = row(b, &rows[i])
	}
	return append(b, ']')
}

// tradeRow is a row of trades and historicalTrades. The third number is what was paid, or on COIN-M,
// where quantities count contracts, what was got.
func (e encoder) tradeRow(b []byte, y *symbolState, x *execution) []byte {
	b = appendInt(b, `{"id":`, x.id)
	b = y.format.appendPrice(append(b, `,"price":`...), x.price)
	b = y.format.appendQuantity(append(b, `,"qty":`...), x.quantity)
	price, quantity := x.price.Decimal(), x.quantity.Decimal()
	switch paid := price.Mul(quantity).Truncate(orderbook.FractionDigits); {
	case e.market == marketprism.Spot:
		b = append(append(b, `,"quoteQty":"`...), paid.StringFixed(orderbook.FractionDigits)...)
	case e.market == marketprism.USDM:
		b = append(append(b, `,"quoteQty":"`...), paid.String()...)
	case price.IsZero():
		b = append(b, `,"baseQty":"0`...)
	default:
		got := quantity.Mul(decimal.New(contractSize, 0)).DivRound(price, 2*orderbook.FractionDigits)
		b = append(append(b, `,"baseQty":"`...), got.Truncate(orderbook.FractionDigits).String()...)
	}
	b = appendInt(b, `","time":`, x.millis)
	b = strconv.AppendBool(append(b, `,"isBuyerMaker":`...), x.buyerMaker)
	switch e.market {
	case marketprism.Spot:
		b = append(b, `,"isBestMatch":true`...)
	case marketprism.USDM:
		b = append(b, `,"isRPITrade":false`...)
	}
	return append(b, '}')
}

// aggregateRow is a row of aggTrades. One that has lost its trades has its numbers without decimals.
func (e encoder) aggregateRow(b []byte, y *symbolState, a *aggregate) []byte {
	b = appendInt(b, `{"a":`, a.id)
	if a.first == noTrade {
		b = append(b, `,"p":"0","q":"0"`...)
	} else {
		b = y.format.appendPrice(append(b, `,"p":`...), a.price)
		b = y.format.appendQuantity(append(b, `,"q":`...), a.quantity)
	}
	b = appendInt(appendInt(b, `,"f":`, a.first), `,"l":`, a.last)
	b = appendInt(b, `,"T":`, a.millis)
	b = strconv.AppendBool(append(b, `,"m":`...), a.buyerMaker)
	switch e.market {
	case marketprism.Spot:
		b = append(b, `,"M":true`...)
	case marketprism.USDM:
		b = y.format.appendQuantity(append(b, `,"nq":`...), a.quantity)
	}
	return append(b, '}')
}
