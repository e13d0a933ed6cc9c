package binance

import (
	"github.com/marketprism/marketprism"
	"github.com/marketprism/marketprism/internal/hook"
	"github.com/marketprism/marketprism/orderbook"
)

// A tickerCheck holds a book against the best prices that the exchange tells apart from its depth. It
// costs no request. Book and ticker are compared where both stand at one update id, whichever of them
// comes first: at that id there is one truth. The owner's alone.
type tickerCheck struct {
	last  marketprism.Ticker
	known bool // there is one
}

// checkTicker compares the book with a ticker that has come.
func (f *shard) checkTicker(y *symbolBook, t *marketprism.Ticker) {
	y.check.last, y.check.known = *t, true
	f.check(y)
}

// check compares the book, which may have changed, with the latest ticker.
func (f *shard) check(y *symbolBook) {
	if c := &y.check; c.known && c.last.UpdateID == y.syncer.Book().LastID() {
		f.compareTop(y, &c.last)
	}
}

// compareTop reports a book whose best levels are not the ticker's, and has it refreshed.
func (f *shard) compareTop(y *symbolBook, t *marketprism.Ticker) {
	book := y.syncer.Book()
	if y.syncer.State() != orderbook.Synced || !y.trading() || !book.KnowsTop(orderbook.Bid, 1) || !book.KnowsTop(orderbook.Ask, 1) {
		return
	}
	f.count.checks.Add(1)
	bid, _ := book.BestBid()
	ask, _ := book.BestAsk()
	if sameBest(bid, t.Bid) && sameBest(ask, t.Ask) {
		return
	}
	f.count.mismatches.Add(1)
	hook.Call(f.syncer.client.hooks.Mismatch, MismatchInfo{
		Instrument: y.instrument, LastID: book.LastID(), Bid: bid, Ask: ask, Ticker: *t,
	})
	if !f.now.Before(y.refresh.notBefore) {
		f.refresh(y)
	} else if due := y.refresh.notBefore; y.refresh.due.IsZero() || due.Before(y.refresh.due) {
		y.refresh.due = due
		f.arm(due)
	}
}

// sameBest compares best levels; a side without any has quantity 0, whatever its price.
func sameBest(a, b orderbook.Level) bool {
	return a == b || a.Quantity == 0 && b.Quantity == 0
}
