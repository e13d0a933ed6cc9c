package binance

import (
	"errors"
	"sync"
	"time"

	"github.com/marketprism/marketprism/orderbook"
)

// A Top is the best levels of a book as they were at one update id. It never changes, and may be kept;
// its levels must not be changed.
type Top struct {
	State     orderbook.State // there are levels only if Synced
	LastID    int64           // update id of the book; the last one known if it is not Synced
	EventTime time.Time       // exchange clock of the book's last change; zero if it had none with a time
	UpdatedAt time.Time       // local clock of the same, UTC; zero if the book was never known

	Bids, Asks []orderbook.Level // best first, at most DepthConfig.TopLevels
}

// Age returns how long ago the book was changed last, by the local clock.
func (t *Top) Age() time.Duration { return time.Since(t.UpdatedAt) }

// ErrNoTop says that DepthConfig.TopLevels asks for no tops.
var ErrNoTop = errors.New("binance: tops are off: DepthConfig.TopLevels is 0")

// Top returns the best levels of the symbol's book, at most DepthConfig.TopLevels a side, without
// waiting for anything and without holding up anybody. The book's State is in it. The error is
// ErrUnknownSymbol or ErrNoTop.
func (d *DepthSyncer) Top(symbol string) (*Top, error) {
	y, err := d.topped(symbol)
	if err != nil {
		return nil, err
	}
	return y.tops.latest.Load(), nil
}

// Watch returns a channel that gets the symbol's Top now and whenever it has changed. It holds the
// latest one alone: who reads slowly misses what came between, and nobody waits for him. The channel
// is closed by stop, which is to be called in the end, and when the symbol is removed. Errors are
// those of Top.
func (d *DepthSyncer) Watch(symbol string) (tops <-chan *Top, stop func(), err error) {
	y, err := d.topped(symbol)
	if err != nil {
		return nil, nil, err
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	c := make(chan *Top, 1)
	if y.tops.ended {
		close(c)
		return c, func() {}, nil
	}
	c <- y.tops.latest.Load()
	y.tops.watchers = append(y.tops.watchers, c)
	return c, sync.OnceFunc(func() {
		y.mu.Lock()
		defer y.mu.Unlock()
		y.tops.drop(c)
	}), nil
}

func (d *DepthSyncer) topped(symbol string) (*symbolBook, error) {
	if d.cfg.TopLevels == 0 {
		return nil, ErrNoTop
	}
	return d.symbols.find(symbol)
}
