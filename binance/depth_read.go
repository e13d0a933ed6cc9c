package binance

import (
	"context"
	"fmt"
	"slices"

	"github.com/marketprism/marketprism/orderbook"
)

// View calls f with the symbol's book while nothing changes it. The book must not be used after f has
// returned, and f must not call View or Status, nor keep the feed waiting. The error is ErrUnknownSymbol,
// or a *NotSyncedError while the book is not known, when f is not called.
func (d *DepthSyncer) View(symbol string, f func(b *orderbook.Book, s Status)) error {
	y, err := d.symbols.find(symbol)
	if err != nil {
		return err
	}
	y.mu.RLock()
	defer y.mu.RUnlock()
	if state := y.syncer.State(); state != orderbook.Synced {
		return &NotSyncedError{Symbol: symbol, State: state}
	}
	f(y.syncer.Book(), y.status())
	return nil
}

// Status returns how the symbol's book stands; false if the symbol is not followed.
func (d *DepthSyncer) Status(symbol string) (Status, bool) {
	y := d.symbols.get(symbol)
	if y == nil {
		return Status{}, false
	}
	y.mu.RLock()
	defer y.mu.RUnlock()
	return y.status(), true
}

// Symbols returns the symbols followed, in the order they were added.
func (d *DepthSyncer) Symbols() []string { return slices.Clone(d.symbols.names()) }

// Stats returns the counters.
func (d *DepthSyncer) Stats() Stats {
	var s Stats
	for _, f := range d.allShards() {
		f.count.addTo(&s)
		f.queueStats(&s)
	}
	return s
}

// Ready waits until the books of the symbols, of all if none is named, are synced all at once. The
// error is ErrUnknownSymbol, also for a symbol that is removed meanwhile, ErrStopped with the error of
// Run if that has returned, or that of ctx with a symbol that is missing. It may be called before Run.
func (d *DepthSyncer) Ready(ctx context.Context, symbols ...string) error {
	for {
		d.mu.Lock()
		news, ended := d.news, d.ended
		d.mu.Unlock()
		missing, err := d.firstUnsynced(symbols)
		if missing == nil || err != nil {
			return err
		}
		if ended != nil {
			return ended
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", missing, ctx.Err())
		}
	}
}

// firstUnsynced returns nil if all are synced, and an error if one is not followed.
func (d *DepthSyncer) firstUnsynced(symbols []string) (missing *NotSyncedError, err error) {
	if len(symbols) == 0 {
		symbols = d.symbols.names()
		if d.cfg.AllTrading != nil && !d.listing.Load() {
			return &NotSyncedError{Symbol: "AllTrading"}, nil
		}
	}
	for _, symbol := range symbols {
		y, err := d.symbols.find(symbol)
		if err != nil {
			return nil, err
		}
		y.mu.RLock()
		state := y.syncer.State()
		y.mu.RUnlock()
		if state != orderbook.Synced && missing == nil {
			missing = &NotSyncedError{Symbol: symbol, State: state}
		}
	}
	return missing, nil
}
