package chstore

import (
	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

type tradeRow struct {
	trade           marketprism.Trade
	price, quantity int64
	time            int64
}

func (r *tradeRow) scanned() []target {
	return []target{
		{"id", &r.trade.ID},
		{"aggregate", &r.trade.Aggregate},
		{"first_id", &r.trade.FirstID},
		{"last_id", &r.trade.LastID},
		{"price_e8", &r.price},
		{"quantity_e8", &r.quantity},
		{"buyer_maker", &r.trade.BuyerMaker},
		{"is_best_match", &r.trade.BestMatch},
		{"toUnixTimestamp64Nano(trade_time)", &r.time},
	}
}

func (r *tradeRow) payload(rec *marketprism.Record) (rank, error) {
	trade := r.trade
	trade.Price, trade.Quantity = orderbook.Fixed(r.price), orderbook.Fixed(r.quantity)
	trade.TradeTime = fromNanos(r.time)
	rec.Trade = &trade
	return rank{kind: rec.Kind(), id: trade.ID}, nil
}

type tickerRow struct {
	updateID, transact                 int64
	bidPrice, bidQty, askPrice, askQty int64
}

func (r *tickerRow) scanned() []target {
	return []target{
		{"toUnixTimestamp64Nano(transact_time)", &r.transact},
		{"update_id", &r.updateID},
		{"bid_price_e8", &r.bidPrice},
		{"bid_qty_e8", &r.bidQty},
		{"ask_price_e8", &r.askPrice},
		{"ask_qty_e8", &r.askQty},
	}
}

func (r *tickerRow) payload(rec *marketprism.Record) (rank, error) {
	rec.Ticker = &marketprism.Ticker{
		UpdateID: r.updateID, TransactTime: fromNanos(r.transact),
		Bid: orderbook.Level{Price: orderbook.Fixed(r.bidPrice), Quantity: orderbook.Fixed(r.bidQty)},
		Ask: orderbook.Level{Price: orderbook.Fixed(r.askPrice), Quantity: orderbook.Fixed(r.askQty)},
	}
	return rank{kind: marketprism.KindTicker, id: r.updateID}, nil
}
