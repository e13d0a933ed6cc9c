package binance

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/marketprism/marketprism/internal/backoff"
	"github.com/marketprism/marketprism/internal/hook"
)

// A SymbolFilter chooses symbols by what the exchange says of them. The zero value is all that trade.
type SymbolFilter struct {
	QuoteAssets []string                 // "USDT"; empty means all
	Statuses    []string                 // empty means TRADING alone
	Keep        func(s *SymbolInfo) bool // asked after the others, must not change s; nil means all
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

// begin makes sure that the exchange lists every symbol: it acknowledges a subscription of one that
// does not exist, and then nothing comes. It asks again while the exchange cannot be reached or is
// busy.
func (d *DepthSyncer) begin(ctx context.Context) error {
	if d.cfg.SkipSymbolCheck && d.cfg.AllTrading == nil {
		return nil
	}
	delays := backoff.Backoff{Min: d.cfg.ReconnectMin, Max: d.cfg.ReconnectMax, Rand: d.cfg.random(listing)}
	for {
		info, err := d.ask(ctx, PriorityCall)
		if err == nil {
			if !d.cfg.SkipSymbolCheck {
				err = d.unlisted(info, d.named())
			}
			if err == nil {
				err = d.heed(info)
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

// ask asks the exchange what it lists.
func (d *DepthSyncer) ask(ctx context.Context, p Priority) (*ExchangeInfo, error) {
	start := time.Now()
	info, err := d.client.exchangeInfo(ctx, p, nil)
	told := ListingInfo{Elapsed: time.Since(start), Err: err}
	if err == nil {
		told.Symbols = len(info.Symbols)
	}
	hook.Call(d.client.hooks.ListingDone, told)
	return info, err
}

// unlisted returns an *UnknownSymbolsError of the symbols that the exchange does not list, if any.
func (d *DepthSyncer) unlisted(info *ExchangeInfo, symbols []string) error {
	listed := make(map[string]bool, len(info.Symbols))
	for _, s := range info.Symbols {
		listed[s.Symbol] = true
	}
	var missing []string
	for _, symbol := range symbols {
		if !listed[symbol] {
			missing = append(missing, symbol)
		}
	}
	if missing != nil {
		return &UnknownSymbolsError{Market: d.client.market.name, Symbols: missing}
	}
	return nil
}

// poll asks again and again until ctx ends. Spot has no stream that tells of a symbol's status. What
// keeps an answer from coming is in the ListingDone hook.
func (d *DepthSyncer) poll(ctx context.Context) {
	if d.cfg.PollEvery < 0 {
		return
	}
	for backoff.Sleep(ctx, d.cfg.PollEvery) == nil {
		info, err := d.ask(ctx, PriorityPoll)
		if err != nil {
			continue
		}
		if d.heed(info) != nil {
			return // Run ends
		}
	}
}
