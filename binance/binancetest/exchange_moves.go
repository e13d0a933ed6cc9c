package binancetest

import (
	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// apply makes one change of a book under a new id, which it returns, and publishes a changed touch. The
// depth streams carry the change at the next border.
func (x *exchange) apply(sym *symbolState, changes ...change) int64 {
	id := max(sym.id, 0) + 1
	if !x.rules.contiguous {
		x.sharedID += 1 + x.ids.Int64N(futuresIDJump)
		id = x.sharedID - sym.idOffset
	}
	now := x.now()
	before := sym.book.touch()
	sym.change(id, now, x.rules.contiguous, changes...)
	if after := sym.book.touch(); after != before {
		x.publish(sym.lower+"@bookTicker", x.encode.ticker(sym, id, after, now))
	}
	x.arm()
	return id
}

// futuresIDJump bounds the step between two update ids of a futures symbol: the ids between belong to other
// symbols.
const futuresIDJump = 400

// execute publishes the executions of one taker order at a price, each as a trade and all as one aggregate,
// and returns the id of the first trade.
func (x *exchange) execute(sym *symbolState, price orderbook.Fixed, buyerMaker bool, quantities ...orderbook.Fixed) int64 {
	now := x.now()
	copies := sym.faults.tradeCopies()
	var sent []marketprism.Trade
	sym.aggTradeID++
	all := marketprism.Trade{
		ID: sym.aggTradeID, FirstID: sym.tradeID + 1, Price: price, BuyerMaker: buyerMaker, TradeTime: now,
	}
	for _, quantity := range quantities {
		sym.tradeID++
		all.Quantity += quantity
		sym.tape.add(execution{
			id: sym.tradeID, aggregate: sym.aggTradeID, price: price, quantity: quantity, millis: now.UnixMilli(), buyerMaker: buyerMaker,
		})
		one := marketprism.Trade{ID: sym.tradeID, Price: price, Quantity: quantity, BuyerMaker: buyerMaker, TradeTime: now}
		for range copies {
			x.publish(sym.lower+"@trade", x.encode.trade(sym, one, tradeMarket, now))
			sent = append(sent, one)
		}
	}
	x.publish(sym.lower+"@trade", x.encode.sbeTrades(sym, sent, now))
	all.LastID = sym.tradeID
	for range copies {
		x.publish(sym.lower+"@aggTrade", x.encode.aggTrade(sym, all, now))
	}
	return all.FirstID
}

// The types of trades on futures, of which only the first is one of the market.
const (
	tradeMarket    = "MARKET"
	tradeInsurance = "INSURANCE_FUND"
	tradeADL       = "ADL"
	tradeNA        = "NA"
)

// otherTrade publishes an execution outside the market, or none at all, under the next trade id. The frames of type NA are
// witnessed, of August 2025 and 2026; that the others have prices off the steps is a report of users.
func (x *exchange) otherTrade(sym *symbolState, kind string) {
	now := x.now()
	sym.tradeID++
	t := marketprism.Trade{ID: sym.tradeID, BuyerMaker: true, TradeTime: now}
	if kind != tradeNA {
		t.Price, t.Quantity = sym.Price+sym.TickSize/2, sym.StepSize
	}
	for range sym.faults.tradeCopies() {
		x.publish(sym.lower+"@trade", x.encode.trade(sym, t, kind, now))
	}
}

func (x *exchange) emptyBook(sym *symbolState) int64 {
	var changes []change
	for sd, levels := range sym.book {
		for _, l := range levels {
			changes = append(changes, change{place{side(sd), l.Price}, 0})
		}
	}
	return x.apply(sym, changes...)
}

func (x *exchange) movePrice(sym *symbolState, price orderbook.Fixed) int64 {
	sd, passed := ask, func(p orderbook.Fixed) bool { return p <= price }
	if sym.book.at(bid, 0).Price >= price {
		sd, passed = bid, func(p orderbook.Fixed) bool { return p >= price }
	}
	for best := sym.book.at(sd, 0); best.Quantity > 0 && passed(best.Price); best = sym.book.at(sd, 0) {
		x.apply(sym, change{place{sd, best.Price}, 0})
	}
	return x.apply(sym, change{place{1 - sd, price}, sym.randomQuantity()})
}

// walk makes the random changes of one interval in every book.
func (x *exchange) walk() {
	interval := defaultTick
	if x.cfg.Tick > 0 {
		interval = x.cfg.Tick
	}
	for _, sym := range x.symbols {
		if sym.Rate <= 0 || sym.quiet() {
			continue
		}
		for range sym.poisson(sym.Rate * interval.Seconds()) {
			x.step(sym)
		}
	}
}

// step makes one random change. Most are near the touch; about a third remove a level; a few are far away;
// some are executions against the best level.
func (x *exchange) step(sym *symbolState) {
	side := side(sym.rng.IntN(2))
	if len(sym.book[bid]) == 0 || len(sym.book[ask]) == 0 {
		if !sym.cancelOnly() {
			x.reopen(sym)
		}
		return
	}
	switch roll := sym.rng.Float64(); {
	case sym.cancelOnly():
		near := sym.book.at(side, sym.depth(len(sym.book[side])))
		x.apply(sym, change{place{side, near.Price}, 0})
	case roll < 0.08:
		x.stepTrade(sym, side)
	case roll < 0.44:
		// Removals and insertions balance when the side has as many levels as at the start.
		if sym.rng.Float64() < float64(len(sym.book[side]))/float64(2*sym.reach())+0.25 {
			near := sym.book.at(side, sym.depth(len(sym.book[side])))
			x.apply(sym, change{place{side, near.Price}, 0})
			return
		}
		x.stepInsert(sym, side, 1+sym.depth(sym.reach()))
	case roll < 0.68:
		near := sym.book.at(side, sym.depth(len(sym.book[side])))
		x.apply(sym, change{place{side, near.Price}, sym.randomQuantity()})
	case roll < 0.98:
		x.stepInsert(sym, side, 1+sym.depth(sym.reach()))
	default:
		x.stepInsert(sym, side, sym.reach()+sym.rng.IntN(10*sym.reach()))
	}
}

// stepInsert sets a level the given number of price steps away from the other side's best.
func (x *exchange) stepInsert(sym *symbolState, sd side, steps int) {
	price := sym.book.at(1-sd, 0).Price
	away := sym.TickSize * orderbook.Fixed(steps)
	if sd == bid {
		price -= away
	} else {
		price += away
	}
	if price > 0 {
		x.apply(sym, change{place{sd, price}, sym.randomQuantity()})
	}
}

// stepTrade executes against the best level of a side, in full or in part.
func (x *exchange) stepTrade(sym *symbolState, sd side) {
	best := sym.book.at(sd, 0)
	quantity := best.Quantity
	if quantity == orderbook.MaxFixed { // more than one order can take
		x.execute(sym, best.Price, sd == bid, sym.tradedQuantity())
		x.apply(sym, change{place{sd, best.Price}, sym.randomQuantity()})
		return
	}
	if steps := int64(quantity / sym.StepSize); steps > 1 && sym.rng.IntN(3) > 0 {
		quantity = sym.StepSize * orderbook.Fixed(1+sym.rng.Int64N(steps-1))
	}
	x.execute(sym, best.Price, sd == bid, quantity)
	x.apply(sym, change{place{sd, best.Price}, best.Quantity - quantity})
}

// reopen sets a level on an empty side, next to the other side's best, or at Price if both are empty.
func (x *exchange) reopen(sym *symbolState) {
	price, sd := sym.Price, bid
	switch {
	case len(sym.book[ask]) > 0:
		price = sym.book.at(ask, 0).Price - sym.TickSize
	case len(sym.book[bid]) > 0:
		price, sd = sym.book.at(bid, 0).Price+sym.TickSize, ask
	}
	if price <= 0 { // no room for bids below the asks
		x.apply(sym, change{place{ask, sym.book.at(ask, 0).Price}, 0})
		return
	}
	x.apply(sym, change{place{sd, price}, sym.randomQuantity()})
}
