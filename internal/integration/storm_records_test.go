package integration

import (
	"fmt"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// stormRecord returns record number i of an endless feed of 40 symbols; no two have the same Key. The
// id of its event is i+1.
func stormRecord(i int) marketprism.Record {
	at := time.UnixMicro(1_750_000_000_000_000 + int64(i)*250).UTC()
	id := int64(i) + 1
	rec := marketprism.Record{
		Instrument: marketprism.Instrument{Exchange: marketprism.Binance, Market: marketprism.Spot, Symbol: fmt.Sprintf("SYM%dUSDT", i*7%40)},
		EventTime:  at, ReceivedAt: at.Add(3 * time.Millisecond),
	}
	price, quantity := orderbook.Fixed(100+i%1000)*orderbook.One, orderbook.Fixed(id*1000)
	switch i % 5 {
	case 0:
		rec.Trade = &marketprism.Trade{ID: id, Price: price, Quantity: quantity, TradeTime: at}
	case 1:
		rec.Ticker = &marketprism.Ticker{
			UpdateID: id, Bid: orderbook.Level{Price: price, Quantity: quantity},
			Ask: orderbook.Level{Price: price + orderbook.One, Quantity: quantity},
		}
	default:
		rec.Update = &orderbook.Update{
			FirstID: id, LastID: id, EventTime: at,
			Bids: []orderbook.Level{{Price: price, Quantity: quantity}, {Price: price - 1}},
			Asks: []orderbook.Level{{Price: price + orderbook.One, Quantity: quantity}},
		}
	}
	return rec
}

// stormNumber returns the number of a record of stormRecord.
func stormNumber(r *marketprism.Record) int {
	switch {
	case r.Update != nil:
		return int(r.Update.LastID) - 1
	case r.Trade != nil:
		return int(r.Trade.ID) - 1
	case r.Ticker != nil:
		return int(r.Ticker.UpdateID) - 1
	}
	return -1
}

func stormRecords(first, last int) []marketprism.Record {
	recs := make([]marketprism.Record, 0, last-first)
	for i := first; i < last; i++ {
		recs = append(recs, stormRecord(i))
	}
	return recs
}
