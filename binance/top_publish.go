package binance

import (
	"slices"
	"sync/atomic"

	"github.com/marketprism/marketprism/orderbook"
)

// tops publish the best levels of one book. Their symbolBook's mu guards all but latest.
type tops struct {
	levels   int // a side; 0 means that nothing is published
	latest   atomic.Pointer[Top]
	watchers []chan *Top // of room for one, and nobody else sends
	ended    bool

	bids, asks []orderbook.Level // scratch
}

// publish makes the top anew and hands it to the watchers in place of the one they have not read. It
// allocates, since readers may keep what they got; levels that did not change are shared.
func (y *symbolBook) publish() {
	t := &y.tops
	if t.levels == 0 || t.ended {
		return
	}
	book := y.syncer.Book()
	next := &Top{State: y.syncer.State(), LastID: book.LastID(), EventTime: book.EventTime(), UpdatedAt: y.updatedAt}
	if next.State == orderbook.Synced {
		t.bids, t.asks = book.AppendBids(t.bids[:0], t.levels), book.AppendAsks(t.asks[:0], t.levels)
		last := t.latest.Load()
		next.Bids, next.Asks = shared(last.Bids, t.bids), shared(last.Asks, t.asks)
	}
	t.latest.Store(next)
	for _, c := range t.watchers {
		select {
		case <-c:
		default:
		}
		c <- next
	}
}

// shared returns have if it equals levels, otherwise a copy of these.
func shared(have, levels []orderbook.Level) []orderbook.Level {
	if slices.Equal(have, levels) {
		return have
	}
	return slices.Clone(levels)
}

func (t *tops) drop(c chan *Top) {
	if at := slices.Index(t.watchers, c); at >= 0 {
		t.watchers = slices.Delete(t.watchers, at, at+1)
		close(c)
	}
}

// end closes all watchers' channels; what they hold can still be read.
func (t *tops) end() {
	t.ended = true
	for _, c := range t.watchers {
		close(c)
	}
	t.watchers = nil
}
