package sinktest

import (
	"fmt"
	"time"

	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/orderbook"
)

// Equal reports whether a and b are the same record: it compares every field but Origin. Times are the same
// if they are the same instant, sides if they hold the same levels in the same order (nil or empty),
// and the errors of gaps if they have the same text, where nil counts as "".
func Equal(a, b *marketprism.Record) bool { return Diff(a, b) == "" }

// Diff returns the first field in which b differs from a, as "Update.Bids[3].Price: 1 became 2", and
// "" if Equal is true.
func Diff(a, b *marketprism.Record) string {
	var d diff
	d.value("Instrument", a.Instrument, b.Instrument)
	d.value("Kind", a.Kind(), b.Kind())
	d.time("EventTime", a.EventTime, b.EventTime)
	d.time("ReceivedAt", a.ReceivedAt, b.ReceivedAt)
	if both(&d, "Update", a.Update, b.Update) {
		d.update(a.Update, b.Update)
	}
	if both(&d, "Snapshot", a.Snapshot, b.Snapshot) {
		d.snapshot(a.Snapshot, b.Snapshot)
	}
	if both(&d, "Gap", a.Gap, b.Gap) {
		d.value("Gap.After", a.Gap.After, b.Gap.After)
		d.value("Gap.Reason", a.Gap.Reason, b.Gap.Reason)
		d.value("Gap.Err", text(a.Gap.Err), text(b.Gap.Err))
	}
	if both(&d, "Trade", a.Trade, b.Trade) {
		d.trade(a.Trade, b.Trade)
	}
	if both(&d, "Ticker", a.Ticker, b.Ticker) {
		d.value("Ticker.UpdateID", a.Ticker.UpdateID, b.Ticker.UpdateID)
		d.time("Ticker.TransactTime", a.Ticker.TransactTime, b.Ticker.TransactTime)
		d.level("Ticker.Bid", a.Ticker.Bid, b.Ticker.Bid)
		d.level("Ticker.Ask", a.Ticker.Ask, b.Ticker.Ask)
	}
	return d.first
}

// A diff keeps the first difference found.
type diff struct{ first string }

func (d *diff) found(name string, a, b any) {
	if d.first == "" {
		d.first = fmt.Sprintf("%s: %v became %v", name, a, b)
	}
}

func (d *diff) value(name string, a, b any) {
	if a != b {
		d.found(name, a, b)
	}
}

func (d *diff) time(name string, a, b time.Time) {
	if !a.Equal(b) {
		d.found(name, a.Format(time.RFC3339Nano), b.Format(time.RFC3339Nano))
	}
}

func (d *diff) level(name string, a, b orderbook.Level) {
	d.value(name+".Price", a.Price, b.Price)
	d.value(name+".Quantity", a.Quantity, b.Quantity)
}

func (d *diff) side(name string, a, b []orderbook.Level) {
	if len(a) != len(b) {
		d.found(name, fmt.Sprint(len(a), " levels"), fmt.Sprint(len(b), " levels"))
		return
	}
	for i := range a {
		if a[i] != b[i] {
			d.level(fmt.Sprintf("%s[%d]", name, i), a[i], b[i])
		}
	}
}

func (d *diff) update(a, b *orderbook.Update) {
	d.value("Update.FirstID", a.FirstID, b.FirstID)
	d.value("Update.LastID", a.LastID, b.LastID)
	d.value("Update.PrevLastID", a.PrevLastID, b.PrevLastID)
	d.time("Update.EventTime", a.EventTime, b.EventTime)
	d.time("Update.TransactTime", a.TransactTime, b.TransactTime)
	d.side("Update.Bids", a.Bids, b.Bids)
	d.side("Update.Asks", a.Asks, b.Asks)
}

func (d *diff) snapshot(a, b *orderbook.Snapshot) {
	d.value("Snapshot.LastID", a.LastID, b.LastID)
	d.time("Snapshot.EventTime", a.EventTime, b.EventTime)
	d.time("Snapshot.TransactTime", a.TransactTime, b.TransactTime)
	d.side("Snapshot.Bids", a.Bids, b.Bids)
	d.side("Snapshot.Asks", a.Asks, b.Asks)
	d.value("Snapshot.BidBound.Price", a.BidBound.Price, b.BidBound.Price)
	d.value("Snapshot.BidBound.Limited", a.BidBound.Limited, b.BidBound.Limited)
	d.value("Snapshot.AskBound.Price", a.AskBound.Price, b.AskBound.Price)
	d.value("Snapshot.AskBound.Limited", a.AskBound.Limited, b.AskBound.Limited)
}

func (d *diff) trade(a, b *marketprism.Trade) {
	d.value("Trade.ID", a.ID, b.ID)
	d.value("Trade.Aggregate", a.Aggregate, b.Aggregate)
	d.value("Trade.FirstID", a.FirstID, b.FirstID)
	d.value("Trade.LastID", a.LastID, b.LastID)
	d.value("Trade.Price", a.Price, b.Price)
	d.value("Trade.Quantity", a.Quantity, b.Quantity)
	d.value("Trade.BuyerMaker", a.BuyerMaker, b.BuyerMaker)
	d.value("Trade.BestMatch", a.BestMatch, b.BestMatch)
	d.time("Trade.TradeTime", a.TradeTime, b.TradeTime)
}

// both reports whether there are two payloads to compare; one without the other is a difference.
func both[T any](d *diff, name string, a, b *T) bool {
	d.value(name+" set", a != nil, b != nil)
	return a != nil && b != nil
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
