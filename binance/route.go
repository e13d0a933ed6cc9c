package binance

import (
	"context"
	"maps"

	"github.com/marketprism/marketprism"
)

// RouteSymbols returns a Handler that gives each record to the Handler of its symbol, spelled as the
// exchange does, and that of all other symbols to rest. A nil Handler ignores its records. The map is
// copied: later changes of it have no effect.
//
// Order, goroutine and errors are those of DepthConfig.Handler: one call at a time among all symbols, on
// the goroutine of a connection, so a slow one holds up the others; an error stops Run. A symbol's last
// record after DepthSyncer.Remove is the Gap of the reason GapRemoved, if its book was known; its route
// stays, and gets its records if the symbol is added again. Routing allocates nothing.
func RouteSymbols(routes map[string]Handler, rest Handler) Handler {
	routes = maps.Clone(routes)
	return func(ctx context.Context, rec *marketprism.Record) error {
		h, ok := routes[rec.Instrument.Symbol]
		if !ok {
			h = rest
		}
		if h == nil {
			return nil
		}
		return h(ctx, rec)
	}
}
