package binancetest

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// A numberFormat is how a symbol's numbers are written: with a fixed number of decimals, or more
// where a number has more.
type numberFormat struct {
	price, quantity int // decimals
}

// newNumberFormat gives spot numbers all eight decimals, and futures numbers those of the symbol's steps.
func newNumberFormat(r *rules, tick, step orderbook.Fixed) numberFormat {
	if r.paddedDecimals {
		return numberFormat{orderbook.FractionDigits, orderbook.FractionDigits}
	}
	return numberFormat{decimalsOf(tick), decimalsOf(step)}
}

func decimalsOf(f orderbook.Fixed) int {
	_, fraction, _ := strings.Cut(f.String(), ".")
	return len(fraction)
}

func appendNumber(b []byte, f orderbook.Fixed, decimals int) []byte {
	start := len(b)
	b, _ = f.AppendText(b) // never fails
	have := 0
	if point := slices.Index(b[start:], '.'); point >= 0 {
		have = len(b) - start - point - 1
	} else if decimals > 0 {
		b = append(b, '.')
	}
	for ; have < decimals; have++ {
		b = append(b, '0')
	}
	return b
}

func (f numberFormat) appendPrice(b []byte, p orderbook.Fixed) []byte {
	return append(appendNumber(append(b, '"'), p, f.price), '"')
}

func (f numberFormat) appendQuantity(b []byte, q orderbook.Fixed) []byte {
	return append(appendNumber(append(b, '"'), q, f.quantity), '"')
}

// A form is how a connection wants events.
type form uint8

// The forms.
const (
	inMillis form = iota // JSON, with times in milliseconds
	inMicros             // or in microseconds
	inSBE                // binary
)

// A payload writes the data of a stream event. It is nil in a form that the exchange does not have it in.
type payload func(b []byte, as form) []byte

func appendTime(b []byte, key string, t time.Time, as form) []byte {
	b = append(b, key...)
	if as == inMicros {
		return strconv.AppendInt(b, t.UnixMicro(), 10)
	}
	return strconv.AppendInt(b, t.UnixMilli(), 10)
}

func appendInt(b []byte, key string, v int64) []byte {
	return strconv.AppendInt(append(b, key...), v, 10)
}

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

// futuresTail is what futures payloads carry at their end since the integration of both futures
// markets, effective 2026-06-30.
func (e encoder) futuresTail(b []byte, y *symbolState, pair bool) []byte {
	if pair {
		b = append(append(b, `,"ps":`...), y.jsonPair...)
	}
	return append(appendInt(b, `,"st":`, int64(e.rules.instrumentTypeID)), '}')
}

// depth is the depthUpdate of the interval that b holds. Spot events go from the best level
// outwards; futures events by rising price on both sides, which recordings of the venue show.
func (e encoder) depth(y *symbolState, bt *batch, now time.Time) payload {
	var levels [2][]orderbook.Level
	for p := range bt.changed {
		levels[p.side] = append(levels[p.side], orderbook.Level{Price: p.price, Quantity: y.book.quantity(p)})
	}
	for _, side := range levels {
		slices.SortFunc(side, func(x, y orderbook.Level) int { return cmp.Compare(x.Price, y.Price) })
	}
	if e.market == marketprism.Spot {
		slices.Reverse(levels[bid])
	}
	return e.update(y, bt, levels[bid], levels[ask], now)
}

// update is a depthUpdate with these levels.
func (e encoder) update(y *symbolState, bt *batch, bids, asks []orderbook.Level, now time.Time) payload {
	futures := e.market != marketprism.Spot
	first, last, prev, at := bt.first, bt.last, bt.prev, bt.at
	sbe := *bt
	return func(b []byte, as form) []byte {
		if as == inSBE {
			return append(b, e.sbeDepth(y, &sbe, bids, asks, now)...)
		}
		b = appendTime(b, `{"e":"depthUpdate","E":`, now, as)
		if futures {
			b = appendTime(b, `,"T":`, at, as)
		}
		b = append(append(b, `,"s":`...), y.jsonName...)
		b = appendInt(appendInt(b, `,"U":`, first), `,"u":`, last)
		if futures {
			b = appendInt(b, `,"pu":`, prev)
		}
		b = e.appendLevels(append(b, `,"b":`...), y.format, bids)
		b = e.appendLevels(append(b, `,"a":`...), y.format, asks)
		if futures {
			return e.futuresTail(b, y, true)
		}
		return append(b, '}')
	}
}

// partial is the event of a partial depth stream. That of spot has a shape of its own, without type,
// time and symbol; that of futures is a depthUpdate with the best levels.
func (e encoder) partial(y *symbolState, bt *batch, limit int, now time.Time) payload {
	snap := orderbook.Snapshot{LastID: bt.last}
	snap.Bids, snap.Asks = y.book.snapshot(limit)
	if e.market == marketprism.Spot {
		return func(b []byte, as form) []byte {
			if as == inSBE {
				return append(b, e.sbeSnapshot(y, &snap, now)...)
			}
			return append(b, e.snapshot(y, &snap, now)...)
		}
	}
	return e.update(y, bt, snap.Bids, snap.Asks, now)
}

// ticker is the bookTicker of the book at id. That of spot has neither an event type nor a time.
func (e encoder) ticker(y *symbolState, id int64, t touch, now time.Time) payload {
	futures := e.market != marketprism.Spot
	return func(b []byte, as form) []byte {
		if as == inSBE {
			return append(b, e.sbeBest(y, id, t, now)...)
		}
		b = append(b, '{')
		if futures {
			b = append(b, `"e":"bookTicker",`...)
		}
		b = appendInt(b, `"u":`, id)
		b = append(append(b, `,"s":`...), y.jsonName...)
		b = y.format.appendPrice(append(b, `,"b":`...), t.bid.Price)
		b = y.format.appendQuantity(append(b, `,"B":`...), t.bid.Quantity)
		b = y.format.appendPrice(append(b, `,"a":`...), t.ask.Price)
		b = y.format.appendQuantity(append(b, `,"A":`...), t.ask.Quantity)
		if !futures {
			return append(b, '}')
		}
		b = appendTime(b, `,"T":`, now, as)
		b = appendTime(b, `,"E":`, now, as)
		return e.futuresTail(b, y, true)
	}
}

// trade is the payload of the trade stream. Futures add the kind of execution, "X".
func (e encoder) trade(y *symbolState, t marketprism.Trade, now time.Time) payload {
	return func(b []byte, as form) []byte {
		if as == inSBE {
			return nil // see sbeTrades
		}
		b = appendTime(b, `{"e":"trade","E":`, now, as)
		if e.market != marketprism.Spot {
			b = appendTime(b, `,"T":`, t.TradeTime, as)
		}
		b = append(append(b, `,"s":`...), y.jsonName...)
		b = appendInt(b, `,"t":`, t.ID)
		b = y.format.appendPrice(append(b, `,"p":`...), t.Price)
		b = y.format.appendQuantity(append(b, `,"q":`...), t.Quantity)
		if e.market != marketprism.Spot {
			b = append(b, `,"X":"MARKET","m":`...)
			return append(strconv.AppendBool(b, t.BuyerMaker), '}')
		}
		b = appendTime(b, `,"T":`, t.TradeTime, as)
		b = strconv.AppendBool(append(b, `,"m":`...), t.BuyerMaker)
		return append(b, `,"M":true}`...)
	}
}

// aggTrade is the payload of the aggTrade stream. USDⓈ-M adds "nq", the quantity without the retail
// orders, of which the fake has none.
func (e encoder) aggTrade(y *symbolState, t marketprism.Trade, now time.Time) payload {
	return func(b []byte, as form) []byte {
		if as == inSBE {
			return nil
		}
		b = appendTime(b, `{"e":"aggTrade","E":`, now, as)
		b = append(append(b, `,"s":`...), y.jsonName...)
		b = appendInt(b, `,"a":`, t.ID)
		b = y.format.appendPrice(append(b, `,"p":`...), t.Price)
		b = y.format.appendQuantity(append(b, `,"q":`...), t.Quantity)
		if e.market == marketprism.USDM {
			b = y.format.appendQuantity(append(b, `,"nq":`...), t.Quantity)
		}
		b = appendInt(appendInt(b, `,"f":`, t.FirstID), `,"l":`, t.LastID)
		b = appendTime(b, `,"T":`, t.TradeTime, as)
		b = strconv.AppendBool(append(b, `,"m":`...), t.BuyerMaker)
		if e.market != marketprism.Spot {
			return e.futuresTail(b, y, false)
		}
		return append(b, `,"M":true}`...)
	}
}

// snapshot is the answer to a depth request. USDⓈ-M adds its times, COIN-M the symbol and pair as well.
func (e encoder) snapshot(y *symbolState, s *orderbook.Snapshot, now time.Time) []byte {
	b := appendInt(nil, `{"lastUpdateId":`, s.LastID)
	if e.market == marketprism.COINM {
		b = append(append(b, `,"symbol":`...), y.jsonName...)
		b = append(append(b, `,"pair":`...), y.jsonPair...)
	}
	if e.market != marketprism.Spot {
		b = appendTime(b, `,"E":`, now, inMillis)
		b = appendTime(b, `,"T":`, now, inMillis)
	}
	b = e.appendLevels(append(b, `,"bids":`...), y.format, s.Bids)
	b = e.appendLevels(append(b, `,"asks":`...), y.format, s.Asks)
	return append(b, '}')
}
