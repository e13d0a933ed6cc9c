package binancetest

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/shopspring/decimal"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// An encoder writes the payloads of one market.
type encoder struct {
	market marketprism.Market
	rules  *rules
	third  bool // levels carry an empty third element
	sbe    sbeStyle
}

func (e encoder) appendLevels(b []byte, f numberFormat, levels []orderbook.Level) []byte {
	b = append(b, '[')
	for i, l := range levels {
		if i > 0 {
			b = append(b, ',')
		}
		b = f.appendPrice(append(b, '['), l.Price)
		b = f.appendQuantity(append(b, ','), l.Quantity)
		if e.third {
			b = append(b, ",[]"...)
		}
		b = append(b, ']')
	}
	return append(b, ']')
}

// futuresTail appends the last fields of futures payloads since the integration of both futures markets,
// effective 2026-06-30.
func (e encoder) futuresTail(b []byte, sym *symbolState, pair bool) []byte {
	if pair {
		b = append(append(b, `,"ps":`...), sym.jsonPair...)
	}
	return append(appendInt(b, `,"st":`, int64(e.rules.instrumentTypeID)), '}')
}

// depth returns the depthUpdate of a batch. Spot events list levels from the best outwards; futures events
// by rising price on both sides, as recordings of the venue show.
func (e encoder) depth(sym *symbolState, bt *batch, now time.Time) payload {
	var levels [2][]orderbook.Level
	for p := range bt.changed {
		levels[p.side] = append(levels[p.side], orderbook.Level{Price: p.price, Quantity: sym.book.quantity(p)})
	}
	for _, side := range levels {
		slices.SortFunc(side, func(x, y orderbook.Level) int { return cmp.Compare(x.Price, y.Price) })
	}
	if e.market == marketprism.Spot {
		slices.Reverse(levels[bid])
	}
	return e.update(sym, bt, levels[bid], levels[ask], now)
}

// update returns a depthUpdate with these levels.
func (e encoder) update(sym *symbolState, bt *batch, bids, asks []orderbook.Level, now time.Time) payload {
	futures := e.market != marketprism.Spot
	first, last, prev, at := bt.first, bt.last, bt.prev, bt.at
	sbe := *bt
	return func(b []byte, as form) []byte {
		if as == inSBE {
			return append(b, e.sbeDepth(sym, &sbe, bids, asks, now)...)
		}
		b = appendTime(b, `{"e":"depthUpdate","E":`, now, as)
		if futures {
			b = appendTime(b, `,"T":`, at, as)
		}
		b = append(append(b, `,"s":`...), sym.jsonName...)
		b = appendInt(appendInt(b, `,"U":`, first), `,"u":`, last)
		if futures {
			b = appendInt(b, `,"pu":`, prev)
		}
		b = e.appendLevels(append(b, `,"b":`...), sym.format, bids)
		b = e.appendLevels(append(b, `,"a":`...), sym.format, asks)
		if futures {
			return e.futuresTail(b, sym, true)
		}
		return append(b, '}')
	}
}

// partial returns the event of a partial depth stream: on spot a snapshot without type, time and symbol, on
// futures a depthUpdate with the best levels.
func (e encoder) partial(sym *symbolState, bt *batch, limit int, now time.Time) payload {
	snap := orderbook.Snapshot{LastID: bt.last}
	snap.Bids, snap.Asks = sym.book.snapshot(limit)
	if e.market == marketprism.Spot {
		return func(b []byte, as form) []byte {
			if as == inSBE {
				return append(b, e.sbeSnapshot(sym, &snap, now)...)
			}
			return append(b, e.snapshot(sym, &snap, now)...)
		}
	}
	return e.update(sym, bt, snap.Bids, snap.Asks, now)
}

// ticker returns the bookTicker of the book at id. That of spot has neither an event type nor a time.
func (e encoder) ticker(sym *symbolState, id int64, t touch, now time.Time) payload {
	futures := e.market != marketprism.Spot
	return func(b []byte, as form) []byte {
		if as == inSBE {
			return append(b, e.sbeBest(sym, id, t, now)...)
		}
		b = append(b, '{')
		if futures {
			b = append(b, `"e":"bookTicker",`...)
		}
		b = appendInt(b, `"u":`, id)
		b = append(append(b, `,"s":`...), sym.jsonName...)
		b = sym.format.appendPrice(append(b, `,"b":`...), t.bid.Price)
		b = sym.format.appendQuantity(append(b, `,"B":`...), t.bid.Quantity)
		b = sym.format.appendPrice(append(b, `,"a":`...), t.ask.Price)
		b = sym.format.appendQuantity(append(b, `,"A":`...), t.ask.Quantity)
		if !futures {
			return append(b, '}')
		}
		b = appendTime(b, `,"T":`, now, as)
		b = appendTime(b, `,"E":`, now, as)
		return e.futuresTail(b, sym, true)
	}
}

// trade returns the event of the trade stream. Futures add the kind of execution, "X"; what is no trade has numbers
// without decimals.
func (e encoder) trade(sym *symbolState, t marketprism.Trade, kind string, now time.Time) payload {
	return func(b []byte, as form) []byte {
		if as == inSBE {
			return nil // see sbeTrades
		}
		b = appendTime(b, `{"e":"trade","E":`, now, as)
		if e.market != marketprism.Spot {
			b = appendTime(b, `,"T":`, t.TradeTime, as)
		}
		b = append(append(b, `,"s":`...), sym.jsonName...)
		b = appendInt(b, `,"t":`, t.ID)
		if kind == tradeNA {
			b = append(b, `,"p":"0","q":"0"`...)
		} else {
			b = sym.format.appendPrice(append(b, `,"p":`...), t.Price)
			b = sym.format.appendQuantity(append(b, `,"q":`...), t.Quantity)
		}
		if e.market != marketprism.Spot {
			b = append(append(append(b, `,"X":"`...), kind...), `","m":`...)
			return append(strconv.AppendBool(b, t.BuyerMaker), '}')
		}
		b = appendTime(b, `,"T":`, t.TradeTime, as)
		b = strconv.AppendBool(append(b, `,"m":`...), t.BuyerMaker)
		return append(b, `,"M":true}`...)
	}
}

// aggTrade returns the event of the aggTrade stream. USDⓈ-M adds "nq", the quantity without retail orders,
// of which the fake has none.
func (e encoder) aggTrade(sym *symbolState, t marketprism.Trade, now time.Time) payload {
	return func(b []byte, as form) []byte {
		if as == inSBE {
			return nil
		}
		b = appendTime(b, `{"e":"aggTrade","E":`, now, as)
		b = append(append(b, `,"s":`...), sym.jsonName...)
		b = appendInt(b, `,"a":`, t.ID)
		b = sym.format.appendPrice(append(b, `,"p":`...), t.Price)
		b = sym.format.appendQuantity(append(b, `,"q":`...), t.Quantity)
		if e.market == marketprism.USDM {
			b = sym.format.appendQuantity(append(b, `,"nq":`...), t.Quantity)
		}
		b = appendInt(appendInt(b, `,"f":`, t.FirstID), `,"l":`, t.LastID)
		b = appendTime(b, `,"T":`, t.TradeTime, as)
		b = strconv.AppendBool(append(b, `,"m":`...), t.BuyerMaker)
		if e.market != marketprism.Spot {
			return e.futuresTail(b, sym, false)
		}
		return append(b, `,"M":true}`...)
	}
}

// snapshot returns the answer to a depth request. USDⓈ-M adds times, COIN-M also symbol and pair.
func (e encoder) snapshot(sym *symbolState, s *orderbook.Snapshot, now time.Time) []byte {
	b := appendInt(nil, `{"lastUpdateId":`, s.LastID)
	if e.market == marketprism.COINM {
		b = append(append(b, `,"symbol":`...), sym.jsonName...)
		b = append(append(b, `,"pair":`...), sym.jsonPair...)
	}
	if e.market != marketprism.Spot {
		b = appendTime(b, `,"E":`, now, inMillis)
		b = appendTime(b, `,"T":`, now, inMillis)
	}
	b = e.appendLevels(append(b, `,"bids":`...), sym.format, s.Bids)
	b = e.appendLevels(append(b, `,"asks":`...), sym.format, s.Asks)
	return append(b, '}')
}

// tradeRow appends a row of trades and historicalTrades. The third number is the quote quantity, or on
// COIN-M, where quantities count contracts, the base quantity.
func (e encoder) tradeRow(b []byte, sym *symbolState, x *execution) []byte {
	b = appendInt(b, `{"id":`, x.id)
	b = sym.format.appendPrice(append(b, `,"price":`...), x.price)
	b = sym.format.appendQuantity(append(b, `,"qty":`...), x.quantity)
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

// aggregateRow appends a row of aggTrades. An aggregate without trades has its numbers without decimals.
func (e encoder) aggregateRow(b []byte, sym *symbolState, a *aggregate) []byte {
	b = appendInt(b, `{"a":`, a.id)
	if a.first == noTrade {
		b = append(b, `,"p":"0","q":"0"`...)
	} else {
		b = sym.format.appendPrice(append(b, `,"p":`...), a.price)
		b = sym.format.appendQuantity(append(b, `,"q":`...), a.quantity)
	}
	b = appendInt(appendInt(b, `,"f":`, a.first), `,"l":`, a.last)
	b = appendInt(b, `,"T":`, a.millis)
	b = strconv.AppendBool(append(b, `,"m":`...), a.buyerMaker)
	switch e.market {
	case marketprism.Spot:
		b = append(b, `,"M":true`...)
	case marketprism.USDM:
		b = sym.format.appendQuantity(append(b, `,"nq":`...), a.quantity)
	}
	return append(b, '}')
}

// contractSize is the value of one COIN-M contract of the fake, in quote units.
const contractSize = 10
