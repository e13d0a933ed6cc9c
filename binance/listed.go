package binance

import (
	"context"
	"errors"
	"time"

	"github.com/marketprism/marketprism/internal/backoff"
)

// checkListed makes sure that the exchange lists every symbol: it acknowledges a subscription of one
// that does not exist, and then nothing comes. It asks again while the exchange cannot be reached or
// is busy.
func (d *DepthSyncer) checkListed(ctx context.Context) error {
	if d.cfg.SkipSymbolCheck {
		return nil
	}
	delays := backoff.Backoff{Min: d.cfg.ReconnectMin, Max: d.cfg.ReconnectMax}
	for {
		start := time.Now()
		info, err := d.client.ExchangeInfo(ctx)
		told := ListingInfo{Elapsed: time.Since(start), Err: err}
		if err == nil {
			told.Symbols = len(info.Symbols)
		}
		call(d.client.hooks.ListingDone, told)
		if err == nil {
			return d.compare(info)
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

func (d *DepthSyncer) compare(info *ExchangeInfo) error {
	listed := make(map[string]bool, len(info.Symbols))
	for _, s := range info.Symbols {
		listed[s.Symbol] = true
	}
	var missing []string
	for _, symbol := range d.cfg.Symbols {
		if !listed[symbol] {
			missing = append(missing, symbol)
		}
	}
	if missing != nil {
		return &UnknownSymbolsError{Market: d.client.market.name, Symbols: missing}
	}
	return nil
}
