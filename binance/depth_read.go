package binance

import (
	"context"
	"fmt"

	"github.com/marketprism/marketprism/orderbook"
)

// View calls f with the symbol's book while nothing changes it. The book must not be used after f has
// returned, and f must not call View or Status, nor keep the feed waiting. The error is ErrUnknownSymbol,
// or a *NotSyncedError while the book is not known, when f is not called.
func (d *DepthSyncer) View(symbol string, f func(b *orderbook.Book, s Status)) error {
	y, ok := d.symbols[symbol]
	if !ok {
		return fmt.Errorf("%w: %q", ErrUnknownSymbol, symbol)
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
	y, ok := d.symbols[symbol]
	if !ok {
		return Status{}, false
	}
	y.mu.RLock()
	defer y.mu.RUnlock()
	return y.status(), true
}

// Symbols returns the symbols followed, in the order of DepthConfig.
func (d *DepthSyncer) Symbols() []string { return append([]string(nil), d.cfg.Symbols...) }

// Stats returns the counters.
func (d *DepthSyncer) Stats() Stats {
	var s Stats
	for _, f := range d.feeds {
		f.count.addTo(&s)
	}
	return s
}

// Ready waits until the books of the symbols, of all if none is named, are synced all at once. The
// error is ErrUnknownSymbol, ErrStopped with the error of Run if that has returned, or that of ctx with
// a symbol that is missing. It may be called before Run.
func (d *DepthSyncer) Ready(ctx context.Context, symbols ...string) error {
	if len(symbols) == 0 {
		symbols = d.cfg.Symbols
	}
	for _, symbol := range symbols {
		if d.symbols[symbol] == nil {
			return fmt.Errorf("%w: %q", ErrUnknownSymbol, symbol)
		}
	}
	for {
		d.mu.Lock()
		news, ended := d.news, d.ended
		d.mu.Unlock()
		missing, state := d.firstUnsynced(symbols)
		if missing == "" {
			return nil
		}
		if ended != nil {
			return ended
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", &NotSyncedError{Symbol: missing, State: state}, ctx.Err())
		}
	}
}

func (d *DepthSyncer) firstUnsynced(symbols []string) (string, orderbook.State) {
	for _, symbol := range symbols {
		y := d.symbols[symbol]
		y.mu.RLock()
		state := y.syncer.State()
		y.mu.RUnlock()
		if state != orderbook.Synced {
			return symbol, state
		}
	}
	return "", orderbook.Synced
}
