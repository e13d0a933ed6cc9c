package binance

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// A Top is the best levels of a book as they were at one update id. It never changes and may be kept;
// its levels must not be changed.
type Top struct {
	State     orderbook.State // there are levels only if Synced
	LastID    int64           // update id of the book; of the last synced one if it is not Synced
	EventTime time.Time       // exchange clock of the book's last change; zero if it had none with a time
	UpdatedAt time.Time       // local clock of the same, UTC; zero if the book was never synced

	Bids, Asks []orderbook.Level // best first, at most DepthConfig.TopLevels
}

// Age returns the time since the book's last change, by the local clock.
func (t *Top) Age() time.Duration { return time.Since(t.UpdatedAt) }

// ErrNoTop says that DepthConfig.TopLevels is 0, so no tops are published.
var ErrNoTop = errors.New("binance: tops are off: DepthConfig.TopLevels is 0")

// tops publishes the best levels of one book. The book's lock guards all but latest.
type tops struct {
	levels   int // a side; 0 means that nothing is published
	latest   atomic.Pointer[Top]
	watchers []topWatcher
	ended    bool

	bids, asks []orderbook.Level // scratch
}

// A topWatcher is one call of Watch.
type topWatcher struct {
	tops chan *Top // holds one value; publish is the only sender
	stop func() bool
}

// publish makes a Top of the book and gives it to the watchers in place of one they have not read.
// It allocates, since readers may keep a Top; a side that has not changed is shared with the last one.
func (t *tops) publish(s *orderbook.Syncer, updatedAt time.Time) {
	if t.levels == 0 || t.ended {
		return
	}
	book := s.Book()
	next := &Top{State: s.State(), LastID: book.LastID(), EventTime: book.EventTime(), UpdatedAt: updatedAt}
	if next.State == orderbook.Synced {
		t.bids, t.asks = book.AppendBids(t.bids[:0], t.levels), book.AppendAsks(t.asks[:0], t.levels)
		last := t.latest.Load()
		next.Bids, next.Asks = shared(last.Bids, t.bids), shared(last.Asks, t.asks)
	}
	t.latest.Store(next)
	for _, w := range t.watchers {
		select {
		case <-w.tops:
		default:
		}
		w.tops <- next
	}
}

// shared returns have if it equals levels, otherwise a copy of levels.
func shared(have, levels []orderbook.Level) []orderbook.Level {
	if slices.Equal(have, levels) {
		return have
	}
	return slices.Clone(levels)
}

func (t *tops) remove(c chan *Top) {
	at := slices.IndexFunc(t.watchers, func(w topWatcher) bool { return w.tops == c })
	if at >= 0 {
		t.watchers = slices.Delete(t.watchers, at, at+1)
		close(c)
	}
}

// end closes the channels of all watchers. A value they hold can still be read.
func (t *tops) end() {
	t.ended = true
	for _, w := range t.watchers {
		w.stop()
		close(w.tops)
	}
	t.watchers = nil
}
