package binancetest

import (
	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// An execution is one trade as the tape keeps it, with the aggregate it belongs to.
type execution struct {
	id, aggregate   int64 // id is noTrade for an aggregate that has lost its trades
	price, quantity orderbook.Fixed
	millis          int64 // exchange clock
	buyerMaker      bool
}

// noTrade is what the exchange's broken aggregates have as their first and last trade.
const noTrade = -1

// A tape holds the last executions of a symbol for REST.
type tape struct {
	keep int
	rows []execution // oldest first; up to a quarter more than keep
}

func (t *tape) add(x execution) {
	if len(t.rows) >= t.keep+t.keep/4+1 {
		t.rows = append(t.rows[:0], t.last()...)
	}
	t.rows = append(t.rows, x)
}

// last returns the executions that are kept.
func (t *tape) last() []execution {
	return t.rows[max(len(t.rows)-t.keep, 0):]
}

// aggregates returns the kept executions put together, a broken one with its numbers at 0 and its trade
// ids at noTrade. An aggregate that has lost trades at the old end of the tape is left out.
func (t *tape) aggregates() []aggregate {
	var list []aggregate
	for _, x := range t.last() {
		if n := len(list); n > 0 && list[n-1].id == x.aggregate {
			list[n-1].last = x.id
			list[n-1].quantity += x.quantity
			continue
		}
		list = append(list, aggregate{
			id: x.aggregate, first: x.id, last: x.id, price: x.price, quantity: x.quantity, millis: x.millis, buyerMaker: x.buyerMaker,
		})
	}
	if dropped := len(t.rows) - t.keep; dropped > 0 && len(list) > 0 && t.rows[dropped-1].aggregate == list[0].id {
		list = list[1:]
	}
	return list
}

// An aggregate is what one taker order executed at one price.
type aggregate struct {
	id, first, last int64
	price, quantity orderbook.Fixed
	millis          int64
	buyerMaker      bool
}

// execute tells of one taker order's executions at a price, as a trade each and as one aggregate, and
// returns the id of the first trade.
func (s *Server) execute(y *symbolState, price orderbook.Fixed, buyerMaker bool, quantities ...orderbook.Fixed) int64 {
	now := s.now()
	copies := y.faults.tradeCopies()
	var told []marketprism.Trade
	y.aggTradeID++
	all := marketprism.Trade{
		ID: y.aggTradeID, FirstID: y.tradeID + 1, Price: price, BuyerMaker: buyerMaker, TradeTime: now,
	}
	for _, quantity := range quantities {
		y.tradeID++
		all.Quantity += quantity
		y.tape.add(execution{
			id: y.tradeID, aggregate: y.aggTradeID, price: price, quantity: quantity, millis: now.UnixMilli(), buyerMaker: buyerMaker,
		})
		one := marketprism.Trade{ID: y.tradeID, Price: price, Quantity: quantity, BuyerMaker: buyerMaker, TradeTime: now}
		for range copies {
			s.publish(y.lower+"@trade", s.encode.trade(y, one, now))
			told = append(told, one)
		}
	}
	s.publish(y.lower+"@trade", s.encode.sbeTrades(y, told, now))
	all.LastID = y.tradeID
	for range copies {
		s.publish(y.lower+"@aggTrade", s.encode.aggTrade(y, all, now))
	}
	return all.FirstID
}
