package binance

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/hook"
)

// listingNumber is the number, beside those of connections, from which the delays of the first listing are drawn.
const listingNumber = math.MaxUint64

// A SymbolFilter chooses symbols by the exchange's listing. The zero value chooses all that trade.
type SymbolFilter struct {
	QuoteAssets []string                 // "USDT"; empty means all
	Statuses    []string                 // empty means TRADING alone
	Keep        func(s *SymbolInfo) bool // called for what the others choose, must not change s; nil means all
}

// Match reports whether the filter chooses a symbol.
func (f *SymbolFilter) Match(s *SymbolInfo) bool {
	switch {
	case len(f.QuoteAssets) > 0 && !slices.Contains(f.QuoteAssets, s.QuoteAsset):
		return false
	case len(f.Statuses) == 0 && !s.Trading():
		return false
	case len(f.Statuses) > 0 && !slices.Contains(f.Statuses, s.Status):
		return false
	}
	return f.Keep == nil || f.Keep(s)
}

// firstListing makes sure that the exchange lists every symbol, since it acknowledges a subscription of
// one that does not exist and then sends nothing. It asks again while the exchange cannot be reached or
// is busy.
func (d *DepthSyncer) firstListing(ctx context.Context) error {
	if d.cfg.SkipSymbolCheck && d.cfg.AllTrading == nil {
		return nil
	}
	delays := backoff.Backoff{Min: d.cfg.ReconnectMin, Max: d.cfg.ReconnectMax, Rand: d.cfg.random(listingNumber)}
	for {
		info, err := d.list(ctx, PriorityCall)
		if err == nil {
			if !d.cfg.SkipSymbolCheck {
				err = d.unlisted(info, d.named())
			}
			if err == nil {
				err = d.applyListing(info)
			}
			return err
		}
		var refused *APIError
		var unread *DecodeError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &refused) && !refused.Temporary(), errors.As(err, &unread), errors.Is(err, ErrBodyTooLarge):
			return err
		}
		if err := backoff.Sleep(ctx, delays.Next()); err != nil {
			return err
		}
	}
}

// list asks the exchange which symbols it lists.
func (d *DepthSyncer) list(ctx context.Context, p Priority) (*ExchangeInfo, error) {
	start := time.Now()
	info, err := d.client.exchangeInfo(ctx, p, nil)
	done := ListingInfo{Elapsed: time.Since(start), Err: err}
	if err == nil {
		done.Symbols = len(info.Symbols)
	}
	hook.Call(d.client.hooks.ListingDone, done)
	return info, err
}

// poll lists the symbols every PollEvery until ctx ends: spot has no stream of their statuses. Failures
// are reported by Hooks.ListingDone.
func (d *DepthSyncer) poll(ctx context.Context) {
	if d.cfg.PollEvery < 0 {
		return
	}
	for backoff.Sleep(ctx, d.cfg.PollEvery) == nil {
		info, err := d.list(ctx, PriorityPoll)
		if err != nil {
			continue
		}
		if d.applyListing(info) != nil {
			return // Run ends
		}
	}
}

// applyListing notes the statuses of the symbols, and with AllTrading adds and removes symbols.
func (d *DepthSyncer) applyListing(info *ExchangeInfo) error {
	statuses := statusesOf(info)
	for _, b := range d.books.All() {
		d.noteStatus(b, statuses[b.instrument.Symbol])
	}
	if d.cfg.AllTrading == nil {
		return nil
	}
	added, removed := d.diffSymbols(info)
	if err := d.add(added, false); err != nil {
		return err
	}
	for _, symbol := range added {
		if b := d.books.Get(symbol); b != nil {
			d.noteStatus(b, statuses[symbol])
		}
	}
	d.changing.Lock()
	d.remove(removed)
	d.changing.Unlock()
	d.listed.Store(true)
	d.books.Changed()
	if len(added)+len(removed) > 0 {
		hook.Call(d.client.hooks.SymbolsChanged, SymbolsInfo{Added: added, Removed: removed, Symbols: len(d.books.Keys())})
	}
	return nil
}

// diffSymbols compares the symbols with those that the filter chooses.
func (d *DepthSyncer) diffSymbols(info *ExchangeInfo) (added, removed []string) {
	d.changing.Lock()
	defer d.changing.Unlock()
	chosen := make(map[string]bool)
	for i := range info.Symbols {
		s := &info.Symbols[i]
		if !d.cfg.AllTrading.Match(s) {
			continue
		}
		chosen[s.Symbol] = true
		if d.books.Get(s.Symbol) == nil {
			added = append(added, s.Symbol)
		}
	}
	for _, b := range d.books.All() {
		if symbol := b.instrument.Symbol; !b.named && !chosen[symbol] {
			removed = append(removed, symbol)
		}
	}
	return added, removed
}

// noteStatus reports a change of a symbol's status; "" means that it is not listed. What the exchange
// does to update ids during a halt is not documented, so a book is refreshed when trading starts again.
func (d *DepthSyncer) noteStatus(b *symbolBook, status string) {
	old := b.listing.Swap(&status)
	if old == nil || *old == status {
		return
	}
	hook.Call(d.client.hooks.StatusChanged, StatusInfo{Instrument: b.instrument, From: *old, To: status})
	if status == statusTrading {
		_ = d.Refresh(b.instrument.Symbol) // not if it is not synced, or was removed
	}
}

// named returns the symbols that the program named.
func (d *DepthSyncer) named() (names []string) {
	d.changing.Lock()
	defer d.changing.Unlock()
	for _, b := range d.books.All() {
		if b.named {
			names = append(names, b.instrument.Symbol)
		}
	}
	return names
}
