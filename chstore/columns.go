package chstore

import (
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// own is the value of own_time for a payload whose event time is the record's.
const own = -1

// ownTime tells the event time inside an update or a snapshot, which is the record's but for a
// producer that sets only one of them.
func ownTime(r *marketprism.Record, payload time.Time) int64 {
	if payload.Equal(r.EventTime) {
		return own
	}
	return nanos(payload)
}

func depthColumns() []column {
	return recordColumns(
		times("transact_time", func(r *marketprism.Record) time.Time { return r.Update.TransactTime }),
		integers("own_time", func(r *marketprism.Record) int64 { return ownTime(r, r.Update.EventTime) }),
		integers("first_id", func(r *marketprism.Record) int64 { return r.Update.FirstID }),
		integers("last_id", func(r *marketprism.Record) int64 { return r.Update.LastID }),
		integers("prev_id", func(r *marketprism.Record) int64 { return r.Update.PrevLastID }),
		prices("bid_price_e8", func(r *marketprism.Record) []orderbook.Level { return r.Update.Bids }),
		quantities("bid_qty_e8", func(r *marketprism.Record) []orderbook.Level { return r.Update.Bids }),
		prices("ask_price_e8", func(r *marketprism.Record) []orderbook.Level { return r.Update.Asks }),
		quantities("ask_qty_e8", func(r *marketprism.Record) []orderbook.Level { return r.Update.Asks }),
	)
}

func snapshotColumns() []column {
	return recordColumns(
		times("transact_time", func(r *marketprism.Record) time.Time { return r.Snapshot.TransactTime }),
		integers("own_time", func(r *marketprism.Record) int64 { return ownTime(r, r.Snapshot.EventTime) }),
		integers("last_id", func(r *marketprism.Record) int64 { return r.Snapshot.LastID }),
		prices("bid_price_e8", func(r *marketprism.Record) []orderbook.Level { return r.Snapshot.Bids }),
		quantities("bid_qty_e8", func(r *marketprism.Record) []orderbook.Level { return r.Snapshot.Bids }),
		prices("ask_price_e8", func(r *marketprism.Record) []orderbook.Level { return r.Snapshot.Asks }),
		quantities("ask_qty_e8", func(r *marketprism.Record) []orderbook.Level { return r.Snapshot.Asks }),
		flags("bid_limited", func(r *marketprism.Record) bool { return r.Snapshot.BidBound.Limited }),
		integers("bid_bound_e8", func(r *marketprism.Record) int64 { return int64(r.Snapshot.BidBound.Price) }),
		flags("ask_limited", func(r *marketprism.Record) bool { return r.Snapshot.AskBound.Limited }),
		integers("ask_bound_e8", func(r *marketprism.Record) int64 { return int64(r.Snapshot.AskBound.Price) }),
	)
}

func tradeColumns() []column {
	return recordColumns(
		integers("id", func(r *marketprism.Record) int64 { return r.Trade.ID }),
		flags("aggregate", func(r *marketprism.Record) bool { return r.Trade.Aggregate }),
		integers("first_id", func(r *marketprism.Record) int64 { return r.Trade.FirstID }),
		integers("last_id", func(r *marketprism.Record) int64 { return r.Trade.LastID }),
		integers("price_e8", func(r *marketprism.Record) int64 { return int64(r.Trade.Price) }),
		integers("quantity_e8", func(r *marketprism.Record) int64 { return int64(r.Trade.Quantity) }),
		flags("buyer_maker", func(r *marketprism.Record) bool { return r.Trade.BuyerMaker }),
		flags("is_best_match", func(r *marketprism.Record) bool { return r.Trade.BestMatch }),
		times("trade_time", func(r *marketprism.Record) time.Time { return r.Trade.TradeTime }),
	)
}

func tickerColumns() []column {
	return recordColumns(
		times("transact_time", func(r *marketprism.Record) time.Time { return r.Ticker.TransactTime }),
		integers("update_id", func(r *marketprism.Record) int64 { return r.Ticker.UpdateID }),
		integers("bid_price_e8", func(r *marketprism.Record) int64 { return int64(r.Ticker.Bid.Price) }),
		integers("bid_qty_e8", func(r *marketprism.Record) int64 { return int64(r.Ticker.Bid.Quantity) }),
		integers("ask_price_e8", func(r *marketprism.Record) int64 { return int64(r.Ticker.Ask.Price) }),
		integers("ask_qty_e8", func(r *marketprism.Record) int64 { return int64(r.Ticker.Ask.Quantity) }),
	)
}

func gapColumns() []column {
	return recordColumns(
		integers("after_id", func(r *marketprism.Record) int64 { return r.Gap.After }),
		texts("reason", func(r *marketprism.Record) string { return r.Gap.Reason.String() }),
		sentences("error", func(r *marketprism.Record) string { return errorText(r.Gap.Err) }),
	)
}

// recordColumns returns the columns that every table has, then the given ones.
func recordColumns(payload ...column) []column {
	return append([]column{
		texts("exchange", func(r *marketprism.Record) string { return r.Instrument.Exchange }),
		texts("market", func(r *marketprism.Record) string { return string(r.Instrument.Market) }),
		texts("symbol", func(r *marketprism.Record) string { return r.Instrument.Symbol }),
		times("ts", (*marketprism.Record).Time),
		flags("timed", func(r *marketprism.Record) bool { return !r.EventTime.IsZero() }),
		times("received_at", func(r *marketprism.Record) time.Time { return r.ReceivedAt }),
		texts("src", func(r *marketprism.Record) string { return r.Origin.Source }),
		sequences("seq", func(r *marketprism.Record) uint64 { return r.Origin.Sequence }),
	}, payload...)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
