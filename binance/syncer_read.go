package binance

import (
	"context"
	"fmt"
	"slices"

	"github.com/marketprism/marketprism/internal/bookset"
	"github.com/marketprism/marketprism/orderbook"
)

func newBooks() *bookset.Set[string, Status, *symbolBook] {
	return bookset.New[string, Status, *symbolBook](bookset.Errors[string]{
		Unknown: func(symbol string) error { return fmt.Errorf("%w: %q", ErrUnknownSymbol, symbol) },
		NotSynced: func(symbol string, state orderbook.State) error {
			return &NotSyncedError{Symbol: symbol, State: state}
		},
		Stopped: ErrStopped,
	})
}

// View calls f with the symbol's book while nothing changes it. The book must not be used after f has
// returned, and f must return soon and not call View or Status. The error is ErrUnknownSymbol, or a
// *NotSyncedError while the book is not synced; f is not called then.
func (d *DepthSyncer) View(symbol string, f func(b *orderbook.Book, s Status)) error {
	return d.books.View(symbol, f)
}

// Status returns the status of the symbol's book, and whether the DepthSyncer has the symbol.
func (d *DepthSyncer) Status(symbol string) (Status, bool) { return d.books.Status(symbol) }

// Symbols returns the symbols in the order they were added.
func (d *DepthSyncer) Symbols() []string { return slices.Clone(d.books.Keys()) }

// Stats returns the counters.
func (d *DepthSyncer) Stats() Stats {
	var s Stats
	for _, f := range d.allShards() {
		f.count.addTo(&s)
		f.conns.queueStats(&s)
	}
	return s
}

// Ready blocks until the books of the symbols, of all if none is named, are synced at once. The error
// is ErrUnknownSymbol, also for a symbol that is removed meanwhile; ErrStopped with the error of Run
// if that has returned; or that of ctx with a symbol that is not synced. It may be called before Run.
func (d *DepthSyncer) Ready(ctx context.Context, symbols ...string) error {
	return d.books.Ready(ctx, d.unlistedYet, symbols...)
}

// unlistedYet returns an error while it is not known which symbols AllTrading chooses.
func (d *DepthSyncer) unlistedYet() error {
	if d.cfg.AllTrading == nil || d.listed.Load() {
		return nil
	}
	return &NotSyncedError{Symbol: "AllTrading"}
}

// Top returns the best levels of the symbol's book, at most DepthConfig.TopLevels a side, with the
// book's State. It takes no lock. The error is ErrUnknownSymbol or ErrNoTop.
func (d *DepthSyncer) Top(symbol string) (*Top, error) {
	b, err := d.bookWithTop(symbol)
	if err != nil {
		return nil, err
	}
	return b.tops.latest.Load(), nil
}

// Watch returns a channel that gets the symbol's Top now and after each change. It holds the latest
// one only: a slow reader skips values; it never blocks the feed. The channel is closed when ctx ends
// and when the symbol is removed. Errors are those of Top.
func (d *DepthSyncer) Watch(ctx context.Context, symbol string) (<-chan *Top, error) {
	b, err := d.bookWithTop(symbol)
	if err != nil {
		return nil, err
	}
	return b.watch(ctx), nil
}

func (d *DepthSyncer) bookWithTop(symbol string) (*symbolBook, error) {
	if d.cfg.TopLevels == 0 {
		return nil, ErrNoTop
	}
	return d.books.Find(symbol)
}

// allShards returns the shards, for reading only.
func (d *DepthSyncer) allShards() []*shard {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.shards
}
